//! Prepares everything that a loaded config needs before anything is changed, so that errors occur here.

use crate::app::assembly::Clients;
use crate::config::Config;
use crate::engine::{Engine, PreparedPlan};
use crate::files::Files;
use crate::plan::otlp::Otlp;
use crate::plan::{Agent, FoundReplicas, LoadedPlan, Plan, StateOptions};
use crate::telemetry::{Exposition, Store};
use crate::vocabulary::TrafficPriority;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The parts currently in force.
pub(super) struct Before {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<Store>,
    pub(super) clients: Arc<Clients>,
    pub(super) started: Arc<Started>,
}

/// Settings that the process was started with and keeps until it ends.
#[derive(Debug)]
pub(in crate::app) struct Started {
    /// The config's address, if the server listens on it.
    pub(in crate::app) listen: Option<SocketAddr>,
    /// The web configuration file.
    pub(in crate::app) web_config: Option<PathBuf>,
    /// How the traffic threads are scheduled.
    pub(in crate::app) traffic_priority: TrafficPriority,
    /// The state file.
    pub(in crate::app) state: Option<StateOptions>,
    /// The OTLP export.
    pub(in crate::app) otlp: Option<Otlp>,
    /// Whether histograms are recorded in native buckets: those of earlier values would be missing.
    pub(in crate::app) native_histograms: bool,
    /// The initial config, including the command line.
    pub(in crate::app) config: Config,
}

/// A plan that can be switched to without failing.
pub(super) struct ReadyPlan {
    pub(super) plan: Arc<Plan>,
    pub(super) next: PreparedPlan,
    pub(super) clients: Arc<Clients>,
    pub(super) exposition: Arc<Exposition>,
}

/// A config that can be switched to without failing.
pub(super) struct Ready {
    /// The plan as compiled, without replicas.
    pub(super) base: Arc<Plan>,
    pub(super) plan: ReadyPlan,
    pub(super) config: Arc<str>,
    pub(super) warnings: Vec<String>,
}

impl Before {
    /// Prepares the switch to another config, or returns all reasons why it is impossible. `files` are the files that
    /// the load read, and `found` the replicas of its targets. Blocks.
    pub(super) fn prepare(
        &self,
        loaded: LoadedPlan,
        files: &Files,
        found: &FoundReplicas,
    ) -> Result<Ready, Vec<String>> {
        let LoadedPlan { plan: base, config, warnings, .. } = loaded;
        let plan = self.prepare_plan(base.with_replicas(found), files)?;
        let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        warnings.extend(self.started.kept(&base));
        let config = self.started.in_force(config).to_yaml().into();
        Ok(Ready { base: Arc::new(base), plan, config, warnings })
    }

    /// Prepares the switch to a plan. Blocks.
    pub(super) fn prepare_plan(&self, plan: Plan, files: &Files) -> Result<ReadyPlan, Vec<String>> {
        let mut errors = fixed(&self.engine.plan().agent, &plan.agent);
        let clients = Clients::of(&plan, files.clone(), &self.clients);
        let clients = clients.map_err(|more| errors.extend(more)).ok();
        let exposition = Exposition::new(Arc::clone(&self.store), &plan);
        let exposition = exposition.map_err(|error| errors.push(error.to_string())).ok();
        let (Some(clients), Some(exposition), true) = (clients, exposition, errors.is_empty()) else {
            return Err(errors);
        };
        let plan = Arc::new(plan);
        let next = self.engine.prepare(Arc::clone(&plan), &clients.callers());
        let next = next.map_err(|error| vec![error.to_string()])?;
        let (clients, exposition) = (Arc::new(clients), Arc::new(exposition));
        Ok(ReadyPlan { plan, next, clients, exposition })
    }
}

/// Parts of the agent that appear in every series and record: changing them at run time would mix two agents.
fn fixed(now: &Agent, next: &Agent) -> Vec<String> {
    let Agent {
        id,
        location,
        labels,
        currency,
        shard: _,
        in_flight: _,
        in_flight_per_target: _,
        traffic_priority: _,
        budget: _,
        state: _,
    } = next;
    let parts = [
        ("id", *id == now.id),
        ("location", *location == now.location),
        ("labels", *labels == now.labels),
        ("currency", *currency == now.currency),
    ];
    let changed = parts.into_iter().filter(|(_, same)| !same);
    changed.map(|(key, _)| format!("agent.{key}: cannot change while the agent runs; restart it")).collect()
}

impl Started {
    /// A new config as it will be in force: settings that need a restart keep their values.
    fn in_force(&self, mut next: Config) -> Config {
        let Config { agent, server, telemetry, .. } = &self.config;
        next.server.listen = server.listen;
        next.server.web_config.clone_from(&server.web_config);
        next.agent.state.clone_from(&agent.state);
        next.agent.history = agent.history.clone();
        next.agent.traffic_priority = agent.traffic_priority;
        next.telemetry.otlp.clone_from(&telemetry.otlp);
        next.telemetry.prometheus.native_histograms = telemetry.prometheus.native_histograms;
        next
    }

    /// Warnings about changes that a running process cannot make.
    fn kept(&self, plan: &Plan) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(now) = self.listen
            && now != plan.server.listen
        {
            let next = plan.server.listen;
            warnings.push(format!(
                "server.listen: changed to {next}, which needs a restart; the agent still listens on {now}"
            ));
        }
        if self.web_config != plan.server.web_config {
            warnings
                .push("server.web_config: another file needs a restart; the content may change".to_owned());
        }
        if self.state != plan.agent.state {
            warnings.push("agent.state and agent.history: the change needs a restart".to_owned());
        }
        if self.traffic_priority != plan.agent.traffic_priority {
            warnings.push("agent.traffic_priority: the change needs a restart".to_owned());
        }
        if self.otlp != plan.telemetry.otlp {
            warnings.push("telemetry.otlp: the change needs a restart".to_owned());
        }
        if self.native_histograms != plan.telemetry.native_histograms {
            warnings.push("telemetry.prometheus.native_histograms: the change needs a restart".to_owned());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    fn plan(text: &str) -> Plan {
        from_yaml(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn every_part_of_the_agents_identity_is_fixed() {
        let base = "agent: { id: a, location: b, labels: { c: d }, currency: usd }";
        let now = plan(base).agent;
        assert_eq!(fixed(&now, &plan(base).agent), [""; 0]);
        let limits = base.replace("id: a", "id: a, limits: { in_flight: 1 }, budget: { requests: 1 }");
        assert_eq!(fixed(&now, &plan(&limits).agent), [""; 0]);
        let other = plan("agent: { id: z, location: z, labels: { c: z }, currency: eur }").agent;
        let keys = ["id", "location", "labels", "currency"];
        let said = keys.map(|key| format!("agent.{key}: cannot change while the agent runs; restart it"));
        assert_eq!(fixed(&now, &other), said);
    }

    #[test]
    fn what_is_set_up_once_waits_for_a_restart() {
        let started = |text: &str, listen: bool| {
            let Plan { agent, server, telemetry, .. } = plan(text);
            Started {
                listen: listen.then_some(server.listen),
                web_config: server.web_config,
                traffic_priority: agent.traffic_priority,
                state: agent.state,
                native_histograms: telemetry.native_histograms,
                otlp: telemetry.otlp,
                config: Config::default(),
            }
        };
        let base = "server: { listen: '127.0.0.1:1' }";
        assert_eq!(started(base, true).kept(&plan(base)), [""; 0]);
        let next = plan("server: { listen: '127.0.0.1:2' }");
        let said = "server.listen: changed to 127.0.0.1:2, which needs a restart; the agent still listens on 127.0.0.1:1";
        assert_eq!(started(base, true).kept(&next), [said]);
        assert_eq!(started(base, false).kept(&next), [""; 0], "the command line says where it listens");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("web.yaml"), "{}").unwrap();
        let web = plan(&format!(
            "server: {{ listen: '127.0.0.1:1', web_config: {} }}",
            dir.path().join("web.yaml").display()
        ));
        let said = "server.web_config: another file needs a restart; the content may change";
        assert_eq!(started(base, true).kept(&web), [said]);
        let otlp = plan(
            "server: { listen: '127.0.0.1:1' }\ntelemetry: { otlp: { endpoint: 'http://127.0.0.1:1' } }",
        );
        assert_eq!(started(base, true).kept(&otlp), ["telemetry.otlp: the change needs a restart"]);
        let state = plan("server: { listen: '127.0.0.1:1' }\nagent: { state: somewhere.db }");
        let said = "agent.state and agent.history: the change needs a restart";
        assert_eq!(started(base, true).kept(&state), [said]);
        let native =
            plan("server: { listen: '127.0.0.1:1' }\ntelemetry: { prometheus: { native_histograms: true } }");
        let said = "telemetry.prometheus.native_histograms: the change needs a restart";
        assert_eq!(started(base, true).kept(&native), [said]);
        let realtime = plan("server: { listen: '127.0.0.1:1' }\nagent: { traffic_priority: realtime }");
        let said = "agent.traffic_priority: the change needs a restart";
        assert_eq!(started(base, true).kept(&realtime), [said]);
    }
}
