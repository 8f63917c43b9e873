//! The resource of the three signals, which identifies the sender, and the scope.

use super::attribute::{MAX_TEXT, cut, text};
use crate::plan::Agent;
use crate::plan::otlp::Otlp;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1 as proto;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The resource attributes and the agent's labels.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    attributes: BTreeMap<String, String>,
    /// Shared by all clones, because a new plan may change them.
    agent_labels: Arc<RwLock<Vec<(String, String)>>>,
}

impl Resource {
    /// Name, version and instance are set here, whatever `OTEL_RESOURCE_ATTRIBUTES` says: the instance distinguishes
    /// the cumulative series of two agents.
    pub(super) fn new(otlp: &Otlp, agent: &Agent) -> Self {
        let mut attributes = otlp.resource.clone();
        attributes.insert("service.name".to_owned(), otlp.service_name.clone());
        attributes.insert("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        attributes.insert("service.instance.id".to_owned(), agent.id.to_string());
        Self { attributes, agent_labels: Arc::new(RwLock::new(labels(agent))) }
    }

    /// Adopts another plan's `location` and labels.
    pub(super) fn install(&self, agent: &Agent) {
        *self.agent_labels.write().unwrap_or_else(PoisonError::into_inner) = labels(agent);
    }

    /// `location` and the agent's labels, which are on every metric point.
    pub(super) fn agent_labels(&self) -> Vec<(String, String)> {
        self.agent_labels.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The resource of metrics, whose points have the labels themselves.
    pub(super) fn of_metrics(&self) -> proto::Resource {
        let attributes = self.attributes.iter().map(|(key, value)| text(key, value)).collect();
        proto::Resource { attributes, ..proto::Resource::default() }
    }

    /// The resource of traces and logs, with `location` and the agent's labels.
    pub(super) fn of_records(&self) -> opentelemetry_sdk::Resource {
        let free = |key: &str| !self.attributes.contains_key(key);
        let labels = self.agent_labels().into_iter().filter(|(key, value)| free(key) && !value.is_empty());
        let all = self.attributes.clone().into_iter().chain(labels);
        let bounded = all.map(|(key, value)| KeyValue::new(key, cut(&value, MAX_TEXT).to_owned()));
        opentelemetry_sdk::Resource::builder_empty().with_attributes(bounded).build()
    }
}

fn labels(agent: &Agent) -> Vec<(String, String)> {
    let location = ("location".to_owned(), agent.location.to_string());
    let labels = agent.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    std::iter::once(location).chain(labels).collect()
}

/// The scope of metrics.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
