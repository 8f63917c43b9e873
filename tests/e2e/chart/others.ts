// Kinds whose definitions no package has: what the chart writes of them, after the documents of their projects.

interface Metadata {
  name: string;
  namespace: string;
  labels: Record<string, string>;
  annotations?: Record<string, string>;
}

type Resources = { cpu?: string | number; memory?: string | number };

export interface VerticalPodAutoscaler {
  apiVersion: "autoscaling.k8s.io/v1";
  kind: "VerticalPodAutoscaler";
  metadata: Metadata;
  spec: {
    targetRef: { apiVersion: string; kind: string; name: string };
    updatePolicy?: { updateMode: "Off" | "Initial" | "Recreate" | "InPlaceOrRecreate" | "Auto"; minReplicas?: number };
    resourcePolicy?: {
      containerPolicies: {
        containerName: string;
        mode?: "Auto" | "Off";
        minAllowed?: Resources;
        maxAllowed?: Resources;
        controlledResources?: ("cpu" | "memory")[];
        controlledValues?: "RequestsAndLimits" | "RequestsOnly";
      }[];
    };
  };
}

export interface PodMonitoring {
  apiVersion: "monitoring.googleapis.com/v1";
  kind: "PodMonitoring";
  metadata: Metadata;
  spec: {
    selector: { matchLabels?: Record<string, string>; matchExpressions?: object[] };
    endpoints: {
      port: string | number;
      path?: string;
      scheme?: "http" | "https";
      interval: string;
      timeout?: string;
      params?: Record<string, string[]>;
      metricRelabeling?: {
        action?: string;
        sourceLabels?: string[];
        separator?: string;
        regex?: string;
        modulus?: number;
        targetLabel?: string;
        replacement?: string;
      }[];
    }[];
    targetLabels?: { metadata?: string[]; fromPod?: { from: string; to?: string }[] };
    limits?: { samples?: number; labels?: number };
  };
}

export interface GrafanaDashboard {
  apiVersion: "grafana.integreatly.org/v1beta1";
  kind: "GrafanaDashboard";
  metadata: Metadata;
  spec: {
    allowCrossNamespaceImport?: boolean;
    configMapRef?: { name: string; key: string; optional?: boolean };
    folder?: string;
    folderUID?: string;
    instanceSelector: { matchLabels?: Record<string, string>; matchExpressions?: object[] };
    json?: string;
    resyncPeriod?: string;
    uid?: string;
  };
}

export interface ScaledObject {
  apiVersion: "keda.sh/v1alpha1";
  kind: "ScaledObject";
  metadata: { name: string; namespace: string };
  spec: {
    scaleTargetRef: { apiVersion?: string; kind?: string; name: string; envSourceContainerName?: string };
    pollingInterval?: number;
    cooldownPeriod?: number;
    initialCooldownPeriod?: number;
    idleReplicaCount?: number;
    minReplicaCount?: number;
    maxReplicaCount?: number;
    triggers: {
      type: "prometheus";
      name?: string;
      metricType?: "AverageValue" | "Value";
      useCachedMetrics?: boolean;
      metadata: {
        serverAddress: string;
        query: string;
        threshold: string;
        activationThreshold?: string;
        ignoreNullValues?: "true" | "false";
      };
    }[];
    advanced?: {
      restoreToOriginalReplicaCount?: boolean;
      horizontalPodAutoscalerConfig?: { name?: string; behavior?: { scaleUp?: Scaling; scaleDown?: Scaling } };
    };
  };
}

interface Scaling {
  stabilizationWindowSeconds?: number;
  selectPolicy?: "Max" | "Min" | "Disabled";
  policies?: { type: "Pods" | "Percent"; value: number; periodSeconds: number }[];
}
