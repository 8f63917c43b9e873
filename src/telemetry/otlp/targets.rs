//! The attributes that the OpenTelemetry conventions define for a target, by its name.

use crate::plan::Plan;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A target as the OpenTelemetry GenAI conventions describe it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GenAiTarget {
    /// `gen_ai.operation.name`.
    pub(super) operation: &'static str,
    /// `gen_ai.provider.name`.
    pub(super) provider: &'static str,
    /// `server.address`.
    pub(super) address: String,
    /// `server.port`.
    pub(super) port: u16,
}

type TargetsByName = HashMap<Arc<str>, Arc<GenAiTarget>>;

/// The targets of the current plan and of the previous one, to which requests may still be open.
#[derive(Debug, Default)]
pub(super) struct Targets(RwLock<(TargetsByName, TargetsByName)>);

impl Targets {
    /// The targets of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        Self(RwLock::new((named(plan), TargetsByName::new())))
    }

    /// Adopts another plan.
    pub(super) fn install(&self, plan: &Plan) {
        let next = named(plan);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.1 = std::mem::replace(&mut known.0, next);
    }

    /// A target of the current plan, or else of the previous one.
    pub(super) fn get(&self, name: &str) -> Option<Arc<GenAiTarget>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.0.get(name).or_else(|| known.1.get(name)).cloned()
    }
}

fn named(plan: &Plan) -> TargetsByName {
    let of = |target: &crate::plan::Target| GenAiTarget {
        operation: target.api.operation(),
        provider: target.api.provider(),
        address: target.base_url.host_str().unwrap_or_default().to_owned(),
        port: target.base_url.port_or_known_default().unwrap_or_default(),
    };
    plan.targets.iter().map(|target| (Arc::clone(&target.name), Arc::new(of(target)))).collect()
}
