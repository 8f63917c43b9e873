//! Series of a target.

use super::cell::OTHER;
use super::cells::{Cells, about, row};
use crate::catalogue::When;
use crate::event::{BackendReadResult, DiscoveryLook, Request, TargetState};
use crate::plan::Target;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// Maximum number of server names of a target over its lifetime. The label comes from the network, so a target that
/// sends a new name each time must not create a series each time.
const MAX_SERVERS: usize = 8;

/// The series of a target.
pub(super) struct TargetSeries {
    pub(super) cells: Cells<about::Target>,
    info: RwLock<TargetInfo>,
}

/// What is known about the target.
#[derive(Default)]
struct TargetInfo {
    api: Arc<str>,
    provider: Arc<str>,
    server: Arc<str>,
    /// All names that its server has sent.
    servers: Vec<Arc<str>>,
    /// Whether its server is asked for its health.
    asked: bool,
}

impl TargetSeries {
    pub(super) fn of(target: &Target) -> Self {
        let cells = Cells::of([&target.name]);
        cells.prepare(|when| when == When::Always);
        cells.get(row::TargetState)[TargetState::default()].set(1.0);
        Self { cells, info: RwLock::default() }
    }

    /// Adopts this target's settings.
    pub(super) fn plan_is(&self, target: &Target) {
        let mut info = self.info.write().unwrap_or_else(PoisonError::into_inner);
        (info.api, info.provider) = (target.api.name().into(), target.api.provider().into());
        self.say(&info);
        info.asked = target.backend.health.is_some();
        if !info.asked
            && let Some(healthy) = self.cells.made(row::BackendHealthy)
        {
            healthy.put(None);
        }
    }

    /// Records that the target is in another state.
    pub(super) fn state_changed(&self, from: TargetState, to: TargetState) {
        let state = self.cells.get(row::TargetState);
        state[from].set(0.0);
        state[to].set(1.0);
        self.cells.get(row::TargetStateChanges)[to].add(1);
    }

    /// Records what the server says of its own health. An answer that comes when it is asked no more counts no more.
    pub(super) fn backend_health(&self, healthy: Option<bool>) {
        let info = self.info.read().unwrap_or_else(PoisonError::into_inner);
        if !info.asked {
            return;
        }
        self.cells.get(row::BackendHealthy).put(healthy.map(|healthy| if healthy { 1.0 } else { 0.0 }));
    }

    /// Records what an answer reveals about the target. Warm-up is included, because this is state and not a count.
    pub(super) fn seen(&self, request: &Request) {
        if let Some(expiry) = request.observed.connection.certificate_expiry {
            // Seconds since the epoch are far below 2^52.
            self.cells.get(row::CertificateExpiry).set(expiry as f64);
        }
        if let Some(server) = &request.observed.server {
            self.server_is(server);
        }
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

/// The series of a target whose server's metrics are read. They are apart from its other series because a reload may end
/// the readings of a target that stays.
pub(super) struct BackendReadSeries {
    pub(super) cells: Cells<about::Target>,
}

impl BackendReadSeries {
    pub(super) fn of(target: &Target) -> Self {
        let cells = Cells::of([&target.name]);
        cells.prepare(|when| when == When::ReadBackends);
        Self { cells }
    }

    /// Counts a reading.
    pub(super) fn read(&self, result: BackendReadResult) {
        self.cells.get(row::BackendReads)[result].add(1);
    }
}

/// The series of a target whose replicas are discovered. Each replica has series of its own beside them.
pub(super) struct DiscoverySeries {
    pub(super) cells: Cells<about::Target>,
}

impl DiscoverySeries {
    pub(super) fn of(target: &Target) -> Self {
        let cells = Cells::of([&target.name]);
        cells.prepare(|when| when == When::Discovers);
        Self { cells }
    }

    /// Records what the source of the replicas said at this time.
    pub(super) fn looked(&self, look: &DiscoveryLook, at: SystemTime) {
        // Counts of replicas are far below 2^52.
        self.cells.get(row::DiscoveredReplicas).set(look.replicas as f64);
        if let Some(failure) = look.failure {
            self.cells.get(row::DiscoveryFailures)[failure].add(1);
        } else {
            self.cells.get(row::DiscoveryLeftOut).add(look.left_out as u64);
            self.cells.get(row::DiscoveryLeftOutReplicas).set(look.left_out as f64);
            self.cells.get(row::DiscoverySuccess).set_time(at);
        }
    }
}
