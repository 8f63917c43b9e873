//! Targets whose replicas are discovered, and the plan with the replicas that were found: each is a target of its own,
//! with the settings of the target that it belongs to. Knows nothing about how replicas are found.

use super::{BackendOptions, PairPlan, Plan, Target, serialize};
use crate::event::replica_name;
use crate::vocabulary::DnsRecord;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// How the replicas of a target are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where their addresses come from.
    pub source: DiscoverySource,
    /// How often the source is asked.
    pub refresh: Duration,
    /// Maximum number of replicas.
    pub max: usize,
    /// The port of an address without one.
    pub port: u16,
}

/// Where the addresses of replicas come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// Files in the format of Prometheus' `file_sd_configs`.
    Files(Vec<PathBuf>),
    /// A URL with a list in the same format.
    Http(Url),
    /// The records of a name.
    Dns {
        /// The name; absolute if it ends with a dot.
        name: String,
        /// The kind of records.
        record: DnsRecord,
        /// The port of addresses without one, in place of that of the target.
        port: Option<u16>,
    },
    /// The endpoints of a Kubernetes Service.
    Kubernetes(KubernetesService),
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesService {
    /// Its name.
    pub name: String,
    /// Its namespace; `None` for that of the pod.
    pub namespace: Option<String>,
    /// The port of its endpoints; `None` for the only one that it has.
    pub port: Option<u16>,
}

/// A replica of a target. They are ordered by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Replica {
    /// Its name, a label value: unique among the replicas of its target.
    pub name: Arc<str>,
    /// The host to connect to. TLS and the `Host` header keep the host of the target's base URL.
    #[serde(serialize_with = "serialize::text")]
    pub host: Host<String>,
    /// The port to connect to.
    pub port: u16,
}

/// The replicas of each target that discovers some, by the name of the target.
pub type FoundReplicas = BTreeMap<Arc<str>, Vec<Replica>>;

impl Replica {
    /// A replica that is named by its address.
    pub fn new(host: Host<String>, port: u16) -> Self {
        Self { name: format!("{host}:{port}").into(), host, port }
    }
}

impl Plan {
    /// The same plan with these replicas in place of the targets that discover them. A target without replicas has no
    /// pairs.
    #[must_use]
    pub fn with_replicas(&self, found: &FoundReplicas) -> Self {
        let (discovered, plain): (Vec<_>, Vec<_>) =
            self.targets.iter().cloned().partition(|target| target.discovery.is_some());
        let replicas: BTreeMap<&str, Vec<Arc<Target>>> = discovered
            .iter()
            .map(|target| {
                let found = found.get(&target.name).map(Vec::as_slice).unwrap_or_default();
                (&*target.name, found.iter().map(|replica| Arc::new(target.replica(replica))).collect())
            })
            .collect();
        let pairs = self.pairs.iter().flat_map(|pair| match replicas.get(&*pair.target.name) {
            None => vec![Arc::clone(pair)],
            Some(replicas) => replicas.iter().map(|replica| pair.of_replica(replica)).collect(),
        });
        let pairs = pairs.collect();
        let mut targets = plain;
        targets.extend(replicas.into_values().flatten());
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        Self { targets, discovered, pairs, ..self.clone() }
    }

    /// The same plan with as many replicas of each target as it may have, to see how large the plan can become.
    #[must_use]
    pub fn with_most_replicas(&self) -> Self {
        let most = |discovery: &Discovery| {
            let number = |number: usize| {
                let host = Ipv6Addr::from(u128::try_from(number).unwrap_or_default());
                Replica::new(Host::Ipv6(host), discovery.port)
            };
            (1..=discovery.max).map(number).collect()
        };
        let found = self
            .targets
            .iter()
            .filter_map(|target| Some((Arc::clone(&target.name), target.discovery.as_deref().map(most)?)));
        self.with_replicas(&found.collect())
    }
}

impl PairPlan {
    /// The most pairs that this one can become: one for each replica of its target.
    pub fn most_replicas(&self) -> Option<usize> {
        self.target.discovery.as_ref().map(|discovery| discovery.max)
    }

    fn of_replica(&self, replica: &Arc<Target>) -> Arc<Self> {
        Arc::new(Self::new(Arc::clone(&self.profile), Arc::clone(replica), Arc::clone(&self.revision)))
    }
}

impl Target {
    /// One of its replicas, as a target of its own.
    fn replica(&self, replica: &Replica) -> Self {
        Self {
            name: replica_name(&self.name, &replica.name).into(),
            discovery: None,
            replica: Some(Arc::new(replica.clone())),
            backend: BackendOptions {
                metrics: self.backend.metrics.as_ref().map(|url| self.at_replica(url, replica)),
                health: self.backend.health.as_ref().map(|url| self.at_replica(url, replica)),
                headers: self.backend.headers.clone(),
            },
            ..self.clone()
        }
    }

    /// A URL of the target's own server as one of the replica's; a URL of another server is left alone.
    fn at_replica(&self, url: &Url, replica: &Replica) -> Url {
        let mut moved = url.clone();
        if is_same_server(url, &self.base_url) {
            // Neither can fail: the URL has a host already.
            let _ = moved.set_host(Some(&replica.host.to_string()));
            let _ = moved.set_port(Some(replica.port));
        }
        moved
    }
}

/// Whether both are of one server.
pub(super) fn is_same_server(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    fn base() -> Plan {
        let text = "targets:\n  gateway: { api: openai-chat, base_url: 'http://127.0.0.1:80/v1' }\n  llm:\n    api: openai-chat\n    \
             base_url: http://llm.example.net:8000/v1\n    discover: { file_sd: [replicas.json], max: 3 }\n    \
             backend: { health: 'http://llm.example.net:8000/health' }\n\
             profiles: { p: { targets: [gateway, llm], schedule: { every: 1h }, workload: { prompts: [x] } } }";
        from_yaml(text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn found(names: &[&str]) -> FoundReplicas {
        let replica = |name: &&str| Replica::new(Host::parse(name).unwrap(), 9000);
        FoundReplicas::from([("llm".into(), names.iter().map(replica).collect())])
    }

    #[test]
    fn each_replica_is_a_target_of_its_own() {
        let base = base();
        let plan = base.with_replicas(&found(&["10.0.0.1", "10.0.0.2"]));
        let names: Vec<&str> = plan.targets.iter().map(|target| &*target.name).collect();
        assert_eq!(names, ["gateway", "llm@10.0.0.1:9000", "llm@10.0.0.2:9000"]);
        let pairs: Vec<String> =
            plan.pairs.iter().map(|pair| format!("{}/{}", pair.pair.profile, pair.pair.target)).collect();
        assert_eq!(pairs, ["p/gateway", "p/llm@10.0.0.1:9000", "p/llm@10.0.0.2:9000"]);
        let replica = &plan.targets[1];
        assert_eq!(
            replica.base_url.as_str(),
            "http://llm.example.net:8000/v1",
            "for the Host header and TLS"
        );
        assert_eq!(replica.backend.health.as_ref().unwrap().as_str(), "http://10.0.0.1:9000/health");
        assert_eq!(plan.discovered.len(), 1);
        assert_eq!(
            plan.pairs[1].revision, base.pairs[1].revision,
            "all replicas are compared like with like"
        );
        assert_eq!(plan.pairs[0].fingerprint(), base.pairs[0].fingerprint(), "others are not disturbed");
    }

    #[test]
    fn a_target_without_replicas_has_no_pairs() {
        let plan = base().with_replicas(&FoundReplicas::new());
        assert_eq!((plan.targets.len(), plan.pairs.len(), plan.discovered.len()), (1, 1, 1));
        assert_eq!(base().with_most_replicas().pairs.len(), 4);
    }

    #[test]
    fn the_forecast_is_of_as_many_replicas_as_there_may_be() {
        use crate::plan::{Amount, forecast};
        let forecast = forecast(&base(), jiff::Timestamp::UNIX_EPOCH, &|_, _| None);
        let runs: Vec<Amount> = forecast.pairs.iter().map(|pair| pair.daily.runs).collect();
        assert_eq!(runs, [Amount::Exact(24.0), Amount::AtMost(72.0)]);
        assert_eq!(forecast.total.takes.most.requests, Amount::AtMost(96.0));
    }

    #[test]
    fn a_replica_that_moves_is_another_one_and_one_that_stays_is_the_same() {
        let (one, two) =
            (base().with_replicas(&found(&["10.0.0.1"])), base().with_replicas(&found(&["10.0.0.1"])));
        assert_eq!(one.pairs[1].fingerprint(), two.pairs[1].fingerprint());
        let mut moved = found(&["10.0.0.2"]);
        moved.get_mut("llm").unwrap()[0].name = "10.0.0.1:9000".into();
        let moved = base().with_replicas(&moved);
        assert_eq!(moved.pairs[1].pair, one.pairs[1].pair);
        assert_ne!(moved.pairs[1].fingerprint(), one.pairs[1].fingerprint());
    }
}
