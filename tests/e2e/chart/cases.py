"""The charts that the suite helm renders, and the expected results."""

ALWAYS = {"ConfigMap", "Deployment", "Pod", "Service", "ServiceAccount"}

# Rendered kinds in addition to ALWAYS, or missing from it.
KINDS = {
    "availability": {"+PodDisruptionBudget", "+VerticalPodAutoscaler"},
    "closed-networkpolicy": {"+NetworkPolicy", "-Pod"},
    "default": set(),
    "existing-claim": set(),
    "existing-configmap": {"-ConfigMap"},
    "full-config": set(),
    "host-network": set(),
    "ingress": {"+Ingress"},
    "monitoring": {"+ServiceMonitor", "+PrometheusRule", "+GrafanaDashboard"},
    "names": {"+PodDisruptionBudget"},
    "networkpolicy": {"+NetworkPolicy"},
    "otlp": {"+NetworkPolicy", "-Service"},
    "paused": set(),
    "persistence": {"+PersistentVolumeClaim"},
    "podmonitor": {"+PodMonitor", "-Service"},
    "podmonitoring": {"+PodMonitoring"},
    "route": {"+HTTPRoute"},
    "shards": {"+StatefulSet", "-Deployment", "+ServiceMonitor", "+VerticalPodAutoscaler"},
    "secret-config": {"+Secret", "-ConfigMap"},
    "spelling": set(),
    "tls": {"+ServiceMonitor", "-ConfigMap"},
    "workload": {"+Secret"},
    "readme": {"+NetworkPolicy", "+PrometheusRule", "+ServiceMonitor"},
    "eu-west-1": {"+NetworkPolicy", "+PodMonitor", "+PrometheusRule"},
    "us-east-1": {"+NetworkPolicy", "+PodMonitor"},
}

MINIMAL = {
    "targets": {"llama": {"api": "openai-chat", "base_url": "http://llama:8000/v1"}},
    "profiles": {"chat": {"targets": ["llama"], "schedule": {"every": "1m"}, "workload": {"prompts": ["x"]}}},
}

# Values that Helm must reject, and a text that its message must contain.
REFUSED = {
    "a second replica": ({"replicas": 2}, "/replicas"),
    "a Service whose name begins with a digit": ({"fullnameOverride": "2-probes"}, "must begin with a letter"),
    "a Service of shards whose name begins with a digit": (
        {"fullnameOverride": "2-probes", "shards": 2, "service": {"enabled": False}},
        "must begin with a letter",
    ),
    "a name of dashes": ({"fullnameOverride": "-_-"}, "no letter and no digit"),
    "no shards": ({"shards": 0}, "/shards"),
    "one volume for all shards": (
        {"shards": 3, "persistence": {"enabled": True, "existingClaim": "a"}},
        "each shard needs its own",
    ),
    "a rolling update": ({"strategy": {"type": "RollingUpdate"}}, "strategy"),
    "a key that is none": ({"replicaCount": 1}, "replicaCount"),
    "a misspelt key below": ({"service": {"prot": 80}}, "prot"),
    "a grace of text": ({"shutdownGraceSeconds": "30s"}, "/shutdownGraceSeconds"),
    "a privileged port": ({"web": {"port": 80}}, "/web/port"),
    "a misspelt key of the config": ({"config": {"agent": {"loaction": "here"}}}, "loaction"),
    "a dialect that is none": (
        {"config": {"targets": {"llama": {"api": "openai-chatt", "base_url": "http://llama/v1"}}}},
        "/config/targets/llama/api",
    ),
    "a number that should be text": ({"config": {"agent": {"id": 7}}}, "/config/agent/id"),
    "a secret as text": (
        {"config": MINIMAL | {"targets": {"llama": {"api": "openai-chat", "base_url": "x", "auth": {"bearer": "k"}}}}},
        "/config/targets/llama/auth",
    ),
    "a secret by subPath": (
        {"extraSecretMounts": [{"name": "a", "secretName": "b", "mountPath": "/c", "subPath": "d"}]},
        "subPath",
    ),
    "a state file beside the volume": (
        {"persistence": {"enabled": True}, "config": {"agent": {"state": "/var/lib/tokenbeats"}}},
        "config.agent.state must be in",
    ),
    "a volume of no size": ({"persistence": {"enabled": True, "size": "much"}}, "/persistence/size"),
    "both monitors": ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "enable one"),
    "a monitor of a Service that is not there": (
        {"serviceMonitor": {"enabled": True}, "service": {"enabled": False}},
        "needs service.enabled",
    ),
    "an ingress to a Service that is not there": (
        {"ingress": {"enabled": True}, "service": {"enabled": False}},
        "needs service.enabled",
    ),
    "two existing configs": (
        {"configExistingSecretName": "a", "configExistingConfigMapName": "b"},
        "not both",
    ),
    "a config beside an existing one": ({"configExistingSecretName": "a", "config": MINIMAL}, "must be empty"),
    "a file over the config": ({"configFiles": {"tokenbeat.yaml": "agent: {}"}}, "tokenbeat.yaml"),
    "a disruption budget both ways": ({"podDisruptionBudget": {"enabled": True, "minAvailable": 1}}, "set one"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "/image/digest"),
}
