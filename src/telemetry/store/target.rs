//! Series of a target.

use super::{Out, Visit};
use crate::catalogue::{Key, Metric};
use crate::event::Request;
use crate::plan::{Api, Target};
use crate::telemetry::value::OptionalGauge;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// Most names that a target may give its server over its life: the label comes off the wire, so that a target
/// that says something else each time must not make a series each time.
const MAX_SERVERS: usize = 8;

/// A target of the plan.
pub(super) struct TargetNode {
    name: Arc<str>,
    api: Api,
    series: Arc<TargetSeries>,
}

struct TargetSeries {
    created: SystemTime,
    certificate_expiry: OptionalGauge,
    server: RwLock<Servers>,
}

impl Default for TargetSeries {
    fn default() -> Self {
        Self {
            created: SystemTime::now(),
            certificate_expiry: OptionalGauge::default(),
            server: RwLock::default(),
        }
    }
}

#[derive(Default)]
struct Servers {
    current: Arc<str>,
    known: Vec<Arc<str>>,
}

impl TargetNode {
    pub(super) fn of(target: &Target, old: Option<&Self>) -> Self {
        let series = old.map_or_else(Arc::default, |old| Arc::clone(&old.series));
        Self { name: Arc::clone(&target.name), api: target.api, series }
    }

    /// Takes what an answer says about the target. Warm-up too: this is state, and no count.
    pub(super) fn seen(&self, request: &Request) {
        if let Some(expiry) = request.connection.certificate_expiry {
            // Seconds since the epoch are far below 2^52.
            self.series.certificate_expiry.set(expiry as f64);
        }
        if let Some(server) = &request.server {
            self.series.server_is(server);
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn Visit) {
        let subject = [(Key::Target, &*self.name)];
        let mut out = Out { visit, subject: &subject, created: self.series.created };
        let server = Arc::clone(&self.series.server.read().unwrap_or_else(PoisonError::into_inner).current);
        let info =
            [(Key::Api, self.api.name()), (Key::Provider, self.api.provider()), (Key::Server, &*server)];
        out.number(Metric::TargetInfo, &info, 1.0);
        if let Some(expiry) = self.series.certificate_expiry.get() {
            out.number(Metric::CertificateExpiry, &[], expiry);
        }
    }
}

impl TargetSeries {
    fn server_is(&self, server: &str) {
        if &*self.server.read().unwrap_or_else(PoisonError::into_inner).current == server {
            return;
        }
        let mut servers = self.server.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.known.iter().find(|known| &***known == server) {
            servers.current = Arc::clone(known);
        } else if servers.known.len() < MAX_SERVERS {
            let name: Arc<str> = server.into();
            servers.known.push(Arc::clone(&name));
            servers.current = name;
        } else {
            servers.current = "other".into();
        }
    }
}
