//! Series of a target.

use super::cell::OTHER;
use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::Request;
use crate::plan::Target;
use std::sync::{Arc, PoisonError, RwLock};

/// Most names that a target may give its server over its life: the label comes off the wire, so that a target
/// that says something else each time must not make a series each time.
const MAX_SERVERS: usize = 8;

/// Operation, provider, address and port, in the words of OpenTelemetry's GenAI conventions.
pub(super) type Endpoint = [Arc<str>; 4];

/// A target of the plan.
pub(super) struct TargetNode {
    series: Arc<TargetSeries>,
    endpoint: Endpoint,
}

pub(super) struct TargetSeries {
    pub(super) cells: Cells<about::Target>,
    info: RwLock<TargetInfo>,
}

/// What is said about it.
#[derive(Default)]
struct TargetInfo {
    api: Arc<str>,
    provider: Arc<str>,
    server: Arc<str>,
    /// What its server has called itself.
    servers: Vec<Arc<str>>,
}

impl TargetNode {
    pub(super) fn of(target: &Target, old: Option<&Self>) -> Self {
        let series =
            old.map_or_else(|| Arc::new(TargetSeries::of(&target.name)), |old| Arc::clone(&old.series));
        let mut info = series.info.write().unwrap_or_else(PoisonError::into_inner);
        (info.api, info.provider) = (target.api.name().into(), target.api.provider().into());
        series.say(&info);
        drop(info);
        let url = &target.base_url;
        let port = url.port_or_known_default().unwrap_or_default().to_string();
        let endpoint = [
            target.api.operation().into(),
            target.api.provider().into(),
            url.host_str().unwrap_or_default().into(),
            port.into(),
        ];
        Self { series, endpoint }
    }

    pub(super) fn cells(&self) -> &Cells<about::Target> {
        &self.series.cells
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes what an answer says about the target. Warm-up too: this is state, and no count.
    pub(super) fn seen(&self, request: &Request) {
        if let Some(expiry) = request.connection.certificate_expiry {
            // Seconds since the epoch are far below 2^52.
            self.series.cells.get(row::CertificateExpiry).set(expiry as f64);
        }
        if let Some(server) = &request.server {
            self.series.server_is(server);
        }
    }
}

impl TargetSeries {
    fn of(name: &Arc<str>) -> Self {
        let cells = Cells::of([name]);
        cells.prepare(|when| when == When::Always);
        Self { cells, info: RwLock::default() }
    }

    fn say(&self, info: &TargetInfo) {
        self.cells.get(row::TargetInfo).say([&info.api, &info.provider, &info.server]);
    }

    fn server_is(&self, server: &str) {
        if &*self.info.read().unwrap_or_else(PoisonError::into_inner).server == server {
            return;
        }
        let mut info = self.info.write().unwrap_or_else(PoisonError::into_inner);
        let known = info.servers.iter().find(|known| &***known == server).cloned();
        info.server = if let Some(known) = known {
            known
        } else if info.servers.len() < MAX_SERVERS {
            let name: Arc<str> = server.into();
            info.servers.push(Arc::clone(&name));
            name
        } else {
            OTHER.into()
        };
        self.say(&info);
    }
}
