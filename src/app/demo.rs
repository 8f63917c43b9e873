//! `tokenbeat demo`: the simulator, a daemon with a few profiles against it, and injected faults to look at. The status
//! page shows which fault is active.

mod faults;

use super::daemon::{Daemon, DaemonOptions};
use super::runtimes::{self, Runtimes};
use super::signals::{ProcessSignals, Signals};
use crate::cli::{DemoOptions, Exit};
use crate::config::ConfigSource;
use crate::engine::OVERRUN;
use crate::plan;
use crate::server::{Introduction, Notice, Suggestion};
use crate::sim::{self, Sim};
use crate::telemetry::otlp::LogTap;
use crate::vocabulary::TrafficPriority;
use anyhow::{Context as _, anyhow};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = include_str!("demo.yaml");
/// Grace period for open requests: nobody wants to wait for a demo.
const GRACE: Duration = Duration::from_secs(2);

/// Runs the demo until it is stopped.
pub(super) fn demo(options: &DemoOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    let runtimes = Runtimes::start(TrafficPriority::Normal)?;
    let server = runtimes::simulator()?;
    let sim = Sim::bind(simulator(options.sim))?;
    let (sim_address, handle) = (sim.addr(), sim.handle());
    let traffic = runtimes.traffic();
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let serving = server.spawn(sim.serve(ended.clone()));
    let result = runtimes.block_on(async {
        let stop = ProcessSignals::default();
        let signals = Signals::install()?.watch(stop.clone());
        let notice = Notice::default();
        let wanted = DaemonOptions {
            listen: Some(options.listen),
            lifecycle: false,
            grace: GRACE,
            overrun: OVERRUN,
            notice: notice.clone(),
        };
        let daemon = Daemon::build(config(sim_address)?, wanted, traffic, tap).await?;
        notice.introduce(introduction(daemon.address(), sim_address));
        announce(daemon.address(), sim_address);
        tokio::select! {
            result = daemon.run(stop) => result?,
            () = faults::inject(handle, &notice) => {}
            never = signals => match never {},
            died = serving => died.context("the simulator died")??,
        }
        Ok(Exit::Ok)
    });
    ended.cancel();
    server.shutdown_timeout(GRACE);
    result
}

/// A large model on a busy server: tens of milliseconds per token, so that the measurements reflect the model and not
/// the machine.
fn simulator(listen_address: SocketAddr) -> sim::Options {
    sim::Options {
        listen_address,
        prefill_rate: 450.0,
        step_time: Duration::from_millis(24),
        step_growth: Duration::from_micros(300),
        noise: 0.08,
        ..sim::Options::default()
    }
}

fn config(sim: SocketAddr) -> anyhow::Result<plan::LoadedPlan> {
    let text = CONFIG.replace("{SIM}", &sim.to_string());
    plan::load(&[ConfigSource::Text { name: "demo.yaml".to_owned(), text }], [])
        .map_err(|errors| anyhow!("the demo's own config is wrong: {errors}"))
}

fn introduction(page: SocketAddr, sim: SocketAddr) -> Introduction {
    let text = "This is the demo: the model is a simulator in the same process, so nothing leaves this machine and \
                nothing is paid. Three profiles play against it, and every now and then something is broken on \
                purpose: orange bands in the charts show when."
        .to_owned();
    let suggestion = |purpose: &str, command: Option<String>, link: Option<String>| Suggestion {
        purpose: purpose.to_owned(),
        command,
        link,
    };
    let fault = r#"[{"fault": "slow_down;factor=6", "for": "20s"}]"#;
    let suggestions = vec![
        suggestion(
            "Break it yourself, and see TTFT miss its objective within half a minute:",
            Some(format!(
                "curl -X POST http://{sim}/sim/faults -H 'content-type: application/json' -d '{fault}'"
            )),
            None,
        ),
        suggestion(
            "See what Prometheus scrapes here: histograms of every time, counters of every failure.",
            Some(format!("curl -s http://{page}/metrics | grep -E '^tokenbeat_(requests|slo_errors)_total'")),
            Some(format!("http://{page}/metrics")),
        ),
        suggestion(
            "Compare with what the server says of itself, in vLLM's words.",
            None,
            Some(format!("http://{sim}/metrics")),
        ),
        suggestion(
            "Ask for the last failures, each with its reason:",
            Some(format!("curl -s 'http://{page}/api/v1/requests?failed=true&limit=3'")),
            None,
        ),
        suggestion(
            "Watch it in Grafana: scrape this address with Prometheus, then import the files of dashboards/ in \
             tokenbeat's source.",
            None,
            None,
        ),
        suggestion(
            "Then play against a server of your own: the demo's config is a start.",
            Some(format!("curl -s http://{page}/config > my.yaml && tokenbeat check --config.file my.yaml")),
            Some(format!("http://{page}/config")),
        ),
    ];
    Introduction { text, calm: "nothing is broken on purpose.".to_owned(), suggestions }
}

fn announce(page: SocketAddr, sim: SocketAddr) {
    // stdout may have been closed; the demo continues nevertheless.
    let _ = writeln!(
        std::io::stdout(),
        "tokenbeat demo\n\n  status page   http://{page}/\n  metrics       http://{page}/metrics\n  \
         simulator     http://{sim}/metrics\n  terminal      tokenbeat top http://{page}\n\nCtrl-C ends it."
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Shape, Trigger};

    fn loaded() -> plan::LoadedPlan {
        config(([127, 0, 0, 1], 8000).into()).unwrap()
    }

    #[test]
    fn the_demos_config_is_sound() {
        let loaded = loaded();
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.plan.profiles.len(), 3);
    }

    #[test]
    fn it_shows_streams_all_the_time_bursts_without_streams_and_users() {
        let profiles = loaded().plan.profiles;
        let [burst, chat, users] = &profiles[..] else { panic!("{profiles:?}") };
        assert!(matches!(chat.schedule.trigger, Trigger::Continuous) && chat.scenario.streams());
        assert!(!chat.slos.is_empty());
        assert!(!burst.scenario.streams() && matches!(burst.stages[0].shape, Shape::Rate { .. }));
        assert!(users.stages.iter().all(|stage| matches!(stage.shape, Shape::Users { .. })));
    }

    #[test]
    fn the_simulator_can_be_made_and_what_to_try_names_both_addresses() {
        Sim::bind(simulator(([127, 0, 0, 1], 0).into())).map(drop).unwrap();
        let said = introduction(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let commands: Vec<String> = said.suggestions.into_iter().filter_map(|it| it.command).collect();
        assert!(commands.iter().any(|command| command.contains("http://127.0.0.1:2/sim/faults")));
        assert!(commands.iter().any(|command| command.contains("http://127.0.0.1:1/metrics")));
    }
}
