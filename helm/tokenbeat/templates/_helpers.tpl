{{/* Name of the chart, in the form of a label value. What is one already stays as it is: selectors contain it. */}}
{{- define "tokenbeat.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- regexReplaceAll "[^A-Za-z0-9._-]+" $name "-" | trimPrefix "-" | trunc 63 | trimAll "._-" | default .Chart.Name -}}
{{- end -}}

{{/* A text in the form of a DNS label, as the name of a Service must be; names of releases and overrides may have dots. */}}
{{- define "tokenbeat.dnsLabel" -}}
{{- $label := regexReplaceAll "[^a-z0-9-]+" (lower .) "-" | trimPrefix "-" | trunc 63 | trimAll "-" -}}
{{- required (printf "the name %q has no letter and no digit" .) $label -}}
{{- end -}}

{{/* Name of all objects that exist once. */}}
{{- define "tokenbeat.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- include "tokenbeat.dnsLabel" .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "tokenbeat.name" . -}}
{{- if contains $name .Release.Name -}}
{{- include "tokenbeat.dnsLabel" .Release.Name -}}
{{- else -}}
{{- include "tokenbeat.dnsLabel" (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails if the name cannot be that of a Service, which begins with a letter. */}}
{{- define "tokenbeat.checkServiceName" -}}
{{- if regexMatch "^[0-9]" . -}}
{{- fail (printf "the name of a Service must begin with a letter, and %q does not: set fullnameOverride" .) -}}
{{- end -}}
{{- end -}}

{{- define "tokenbeat.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Value as YAML, after `tpl`: (dict "value" ... "context" $). */}}
{{- define "tokenbeat.tpl" -}}
{{- tpl (kindIs "string" .value | ternary .value (toYaml .value)) .context -}}
{{- end -}}

{{/* Labels that select the pods of the daemon. They never change. */}}
{{- define "tokenbeat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tokenbeat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: daemon
{{- end -}}

{{/* Labels as a map; later ones take precedence: (dict "context" $ "component" "daemon" "more" (list map ...) "pod"
     true). Those of a pod do not include the chart's version, so that a new chart alone starts no new pod. */}}
{{- define "tokenbeat.labels" -}}
{{- $context := .context -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $context.Chart.Name ($context.Chart.Version | replace "+" "_") | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/managed-by" $context.Release.Service
  "app.kubernetes.io/part-of" (include "tokenbeat.name" $context)
  "app.kubernetes.io/version" ($context.Values.image.tag | default $context.Chart.AppVersion | replace "+" "_" | trunc 63)
-}}
{{- range prepend (.more | default list) $context.Values.commonLabels -}}
{{- $labels = mustMergeOverwrite $labels (include "tokenbeat.tpl" (dict "value" . "context" $context) | fromYaml) -}}
{{- end -}}
{{- $fixed := dict
  "app.kubernetes.io/name" (include "tokenbeat.name" $context)
  "app.kubernetes.io/instance" $context.Release.Name
  "app.kubernetes.io/component" (.component | default "daemon")
-}}
{{- if .pod }}{{ $labels = omit $labels "helm.sh/chart" }}{{ end -}}
{{- mustMergeOverwrite $labels $fixed | toYaml -}}
{{- end -}}

{{/* Annotations as a map, or nothing; later ones take precedence: (dict "context" $ "more" (list map ...)). */}}
{{- define "tokenbeat.annotations" -}}
{{- $context := .context -}}
{{- $annotations := dict -}}
{{- range prepend (.more | default list) $context.Values.commonAnnotations -}}
{{- $annotations = mustMergeOverwrite $annotations (include "tokenbeat.tpl" (dict "value" . "context" $context) | fromYaml) -}}
{{- end -}}
{{- with $annotations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The content of `metadata`: (dict "context" $ "name" ... "namespace" ... "component" ... "labels" (list ...)
     "annotations" (list ...)). */}}
{{- define "tokenbeat.metadata" -}}
name: {{ .name | default (include "tokenbeat.fullname" .context) }}
namespace: {{ tpl (.namespace | default "") .context | default (include "tokenbeat.namespace" .context) }}
labels:
  {{- include "tokenbeat.labels" (dict "context" .context "component" .component "more" .labels) | nindent 2 }}
{{- with include "tokenbeat.annotations" (dict "context" .context "more" .annotations) }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The label by which a Prometheus of kube-prometheus-stack selects an object. */}}
{{- define "tokenbeat.releaseLabel" -}}
{{- with .Values.releaseLabel }}{{ dict "release" . | toYaml }}{{ else }}{}{{ end -}}
{{- end -}}

{{/* Reference of an image: (dict "context" $ "image" map). */}}
{{- define "tokenbeat.image" -}}
{{- $registry := .context.Values.global.imageRegistry | default .image.registry -}}
{{- $name := ternary (printf "%s/%s" (trimSuffix "/" $registry) .image.repository) .image.repository (not (empty $registry)) -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .context.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "tokenbeat.pullSecrets" -}}
{{- $names := list -}}
{{- range concat .Values.global.imagePullSecrets .Values.image.pullSecrets -}}
{{- $names = append $names (dict "name" (tpl . $)) -}}
{{- end -}}
{{- with $names | uniq }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "tokenbeat.serviceAccountName" -}}
{{- $own := ternary (include "tokenbeat.fullname" .) "default" .Values.serviceAccount.create -}}
{{- tpl .Values.serviceAccount.name . | default $own -}}
{{- end -}}

{{/* The Secret or ConfigMap with the config if it is not the chart's own; otherwise nothing. */}}
{{- define "tokenbeat.existingConfig" -}}
{{- $names := compact (list (tpl .Values.configExistingConfigMapName .) (tpl .Values.configExistingSecretName .)) -}}
{{- if gt (len $names) 1 -}}
{{- fail "set one of configExistingConfigMapName and configExistingSecretName, not both" -}}
{{- end -}}
{{- if and $names (or .Values.config .Values.configFiles) -}}
{{- fail "config and configFiles must be empty if an existing ConfigMap or Secret contains the config" -}}
{{- end -}}
{{- join "" $names -}}
{{- end -}}

{{/* The config, with an `agent.id` that does not change with the pod. */}}
{{- define "tokenbeat.config" -}}
{{- $agent := dict "id" (include "tokenbeat.fullname" .) -}}
{{- if .Values.persistence.enabled -}}
{{- $folder := .Values.persistence.mountPath -}}
{{- $state := (.Values.config.agent | default dict).state | default $folder -}}
{{- if not (or (eq $state $folder) (hasPrefix (printf "%s/" $folder) $state)) -}}
{{- fail (printf "config.agent.state must be in persistence.mountPath, %s" $folder) -}}
{{- end -}}
{{- $agent = set $agent "state" $state -}}
{{- end -}}
{{- mustMergeOverwrite (dict "agent" $agent) (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{/* The files of the config folder as a map of texts. */}}
{{- define "tokenbeat.configData" -}}
{{- if hasKey .Values.configFiles "tokenbeat.yaml" -}}
{{- fail "configFiles must not contain tokenbeat.yaml: the chart writes that file from config" -}}
{{- end -}}
{{- set (deepCopy .Values.configFiles) "tokenbeat.yaml" (include "tokenbeat.config" .) | toYaml -}}
{{- end -}}

{{- define "tokenbeat.configVolume" -}}
{{- $existing := include "tokenbeat.existingConfig" . -}}
name: config
{{- if or .Values.configExistingSecretName (and .Values.secretConfig (not $existing)) }}
secret:
  secretName: {{ $existing | default (include "tokenbeat.fullname" .) }}
{{- else }}
configMap:
  name: {{ $existing | default (include "tokenbeat.fullname" .) }}
{{- end }}
{{- end -}}

{{/* All volumes of a pod that reads the config. */}}
{{- define "tokenbeat.volumes" -}}
- {{ include "tokenbeat.configVolume" . | nindent 2 | trim }}
{{- range .Values.extraSecretMounts }}
- name: {{ tpl .name $ }}
  secret:
    secretName: {{ tpl .secretName $ }}
    defaultMode: {{ .defaultMode | default 288 }}
    {{- with .items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .optional }}
    optional: {{ . }}
    {{- end }}
{{- end }}
{{- range .Values.extraConfigmapMounts }}
- name: {{ tpl .name $ }}
  configMap:
    name: {{ tpl .configMap $ }}
    {{- with .defaultMode }}
    defaultMode: {{ . }}
    {{- end }}
    {{- with .items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .optional }}
    optional: {{ . }}
    {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ include "tokenbeat.tpl" (dict "value" . "context" $) }}
{{- end }}
{{- end -}}

{{/* Their mounts. No subPath: a file that is mounted with it never changes. */}}
{{- define "tokenbeat.volumeMounts" -}}
- name: config
  mountPath: /etc/tokenbeat
  readOnly: true
{{- range concat .Values.extraSecretMounts .Values.extraConfigmapMounts }}
- name: {{ tpl .name $ }}
  mountPath: {{ tpl .mountPath $ }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ include "tokenbeat.tpl" (dict "value" . "context" $) }}
{{- end }}
{{- end -}}

{{/* The claim of the state file's volume. */}}
{{- define "tokenbeat.claim" -}}
{{- tpl .Values.persistence.existingClaim . | default (include "tokenbeat.fullname" .) -}}
{{- end -}}

{{/* The spec of a claim, from `persistence`. */}}
{{- define "tokenbeat.claimSpec" -}}
accessModes: [{{ .accessMode }}]
{{- if eq .storageClass "-" }}
storageClassName: ""
{{- else if .storageClass }}
storageClassName: {{ .storageClass }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}

{{/* Whether several pods play one schedule in shares. */}}
{{- define "tokenbeat.sharded" -}}
{{- gt (int .Values.shards) 1 -}}
{{- end -}}

{{- define "tokenbeat.workloadKind" -}}
{{- ternary "StatefulSet" "Deployment" (eq (include "tokenbeat.sharded" .) "true") -}}
{{- end -}}

{{/* Name of the Deployment or StatefulSet. The names of a StatefulSet's pods end with an ordinal, and are labels. */}}
{{- define "tokenbeat.workloadName" -}}
{{- $most := ternary 52 63 (eq (include "tokenbeat.sharded" .) "true") -}}
{{- include "tokenbeat.fullname" . | trunc $most | trimAll "-" -}}
{{- end -}}

{{/* Name of the Service that gives each shard a name of its own. */}}
{{- define "tokenbeat.shardsService" -}}
{{- printf "%s-shards" (include "tokenbeat.workloadName" .) -}}
{{- end -}}

{{/* Environment of a container that reads the config. Each shard has an `agent.id` of its own, the name of its pod. */}}
{{- define "tokenbeat.environment" -}}
{{- $parts := dict }}
{{- $env := list }}
{{- if eq (include "tokenbeat.sharded" .) "true" }}
{{- $pod := dict "fieldRef" (dict "fieldPath" "metadata.name") }}
{{- $env = list
  (dict "name" "POD_NAME" "valueFrom" $pod)
  (dict "name" "TOKENBEAT__AGENT__ID" "valueFrom" $pod)
  (dict "name" "TOKENBEAT_SHARD" "value" (printf "ordinal/%d" (int .Values.shards)))
}}
{{- end }}
{{- with .Values.extraEnv }}{{ $env = concat $env (tpl (toYaml .) $ | fromYamlArray) }}{{ end }}
{{- with $env }}{{ $parts = set $parts "env" . }}{{ end }}
{{- with .Values.extraEnvFrom }}{{ $parts = set $parts "envFrom" (tpl (toYaml .) $ | fromYamlArray) }}{{ end }}
{{- with $parts }}{{ toYaml . }}{{ end }}
{{- end -}}

{{/* A probe; an HTTP probe uses the scheme of the port unless it has its own: (dict "context" $ "probe" map). */}}
{{- define "tokenbeat.probe" -}}
{{- $probe := deepCopy .probe -}}
{{- if $probe.httpGet -}}
{{- $_ := set $probe "httpGet" (mustMerge $probe.httpGet (dict "scheme" (upper .context.Values.web.scheme))) -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/* The common parts of ServiceMonitor and PodMonitor: (dict "context" $ "monitor" map). */}}
{{- define "tokenbeat.endpoint" -}}
port: http
path: {{ .monitor.path }}
scheme: {{ .monitor.scheme | default .context.Values.web.scheme }}
honorLabels: {{ .monitor.honorLabels }}
{{- with .monitor.interval }}
interval: {{ . }}
{{- end }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- range $key := list "tlsConfig" "basicAuth" "authorization" "relabelings" }}
{{- with get $.monitor $key }}
{{ $key }}:
  {{- include "tokenbeat.tpl" (dict "value" . "context" $.context) | nindent 2 }}
{{- end }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- include "tokenbeat.tpl" (dict "value" . "context" $.context) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Keys of a monitor's spec that follow its endpoint. */}}
{{- define "tokenbeat.monitorSpec" -}}
jobLabel: {{ .monitor.jobLabel }}
namespaceSelector:
  matchNames: [{{ include "tokenbeat.namespace" .context }}]
selector:
  matchLabels:
    {{- include "tokenbeat.selectorLabels" .context | nindent 4 }}
{{- with .monitor.scrapeProtocols }}
scrapeProtocols:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.sampleLimit }}
sampleLimit: {{ int64 . }}
{{- end }}
{{- end -}}
