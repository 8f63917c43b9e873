//! The fault matrix: the whole process against real sockets. Each row is a target that fails in one way, with the
//! expected outcome and message. All rows run at the same time, next to a profile that must not be affected.

#[path = "fault_matrix/http2.rs"]
mod http2;
#[path = "fault_matrix/rows.rs"]
mod rows;
#[path = "fault_matrix/servers.rs"]
mod servers;

use crate::authority::Authority;
use crate::harness::{ONCE, Simulator};
use crate::http::{ask, get};
use crate::process::{Process, folder};
use crate::scrape::Scrape;
use rows::Row;
use servers::{Server, script};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokenbeat::event::Failure;

/// The memory limit of the process in the Helm chart.
const MOST_MEMORY: u64 = 512 << 20;

/// Time within which all rows are finished, even on a slow machine.
const PLAYED_WITHIN: Duration = Duration::from_mins(4);

/// The outcome of requests in flight when the process is stopped; no row of its own has it.
const STOPPED: &str = "cancelled";

/// Timeouts that are reached only if the machine hangs.
const LONG: &str = "timeouts: { connect: 4m, first_token: 4m, stall: 4m, total: 5m }";

/// Whether a message is not fit for people: the debug form of an error, or a system error that is repeated.
fn is_raw(detail: &str) -> bool {
    let forms = ["Error(", "Error {", "Os {", "Some(", "Custom {", "Kind("];
    forms.iter().any(|form| detail.contains(form)) || detail.matches("os error").count() > 1
}

/// The daemon and the servers that it is tested against.
struct World {
    process: Process,
    address: SocketAddr,
    rows: Vec<Row>,
    /// Number of connections to the address that redirects point to.
    elsewhere: Arc<AtomicUsize>,
    _servers: Vec<Server>,
    _simulator: Simulator,
    _authority: Authority,
}

impl World {
    async fn start() -> Self {
        let (simulator, authority) = (Simulator::start(), Authority::new("ours"));
        let elsewhere = Arc::new(AtomicUsize::new(0));
        let noted = Arc::clone(&elsewhere);
        let led_to = Server::start(&script(move |_, _| {
            noted.fetch_add(1, Ordering::SeqCst);
            async {}
        }))
        .await;
        // `TOKENBEAT_TEST_ROWS=tls` runs only the rows whose name begins with `tls`.
        let wanted = std::env::var("TOKENBEAT_TEST_ROWS").unwrap_or_default();
        let mut rows = rows::all(&authority, led_to.address);
        rows.retain(|row| row.name.starts_with(&wanted) || row.outcomes == [(STOPPED, 1)]);
        let mut config = format!(
            "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\ntargets:\n  \
             neighbour: {{ api: openai-chat, base_url: 'http://{}/v1', model: m }}\n",
            simulator.address
        );
        let mut servers = vec![led_to];
        let mut profiles = String::from(
            "profiles:\n  neighbour: { targets: [neighbour], schedule: { every: 8760h, at_start: true }, \
             load: [{ for: 8760h, rate: 20/s }], workload: { prompts: [hello], output_tokens: 4 } }\n",
        );
        for row in &rows {
            let server = Server::start(&row.peer).await;
            let port = server.address.port().to_string();
            let address = server.address.to_string();
            let keys = row.keys.replace("{ADDRESS}", &address).replace("{PORT}", &port);
            write!(config, "  {}: {{ {keys}", row.name).unwrap();
            for (key, usual) in [
                ("api", "api: openai-chat, model: m".to_owned()),
                ("base_url", format!("base_url: 'http://{address}/v1'")),
                ("timeouts", LONG.to_owned()),
            ] {
                if !keys.contains(&format!("{key}:")) {
                    write!(config, ", {usual}").unwrap();
                }
            }
            config.push_str(" }\n");
            let (requests, users) = (row.requests(), if row.requests() > 2 { 40 } else { 1 });
            writeln!(
                profiles,
                "  {}: {{ targets: [{}], schedule: {ONCE}, load: [{{ requests: {requests}, users: {users} }}], {} }}",
                row.name, row.name, row.profile
            )
            .unwrap();
            servers.push(server);
        }
        let serve = ["serve", "--config.file", "tokenbeat.yaml"];
        let process = Process::start(folder(&(config.replace("{ ,", "{") + &profiles)), &serve, &[]);
        let address = process.says("listening address=").await.parse().unwrap();
        Self {
            process,
            address,
            rows,
            elsewhere,
            _servers: servers,
            _simulator: simulator,
            _authority: authority,
        }
    }

    async fn scrape(&self) -> Scrape {
        Scrape::read(&get(self.address, "/metrics").await.ok())
    }

    /// Waits until each row has sent its requests and they have their outcomes, except those that never end, or until that
    /// takes too long; the rows then show which outcomes are missing.
    async fn ended(&self) -> Scrape {
        let mut asked: BTreeMap<&str, f64> = BTreeMap::new();
        let ended = async {
            loop {
                let scrape = self.scrape().await;
                let to_end = self.rows.iter().filter(|row| row.outcomes != [(STOPPED, 1)]);
                let open: Vec<&Row> =
                    to_end.filter(|row| sent(&scrape, &row.name) < f64::from(row.requests())).collect();
                if open.is_empty() {
                    return;
                }
                for row in open {
                    let runs = asked.entry(&row.name).or_insert(1.0);
                    if is_over(&scrape, &row.name, *runs) {
                        self.play_again(&row.name).await;
                        *runs += 1.0;
                    }
                }
                // A scrape with this many profiles takes processor time from the traffic.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let _ = tokio::time::timeout(PLAYED_WITHIN, ended).await;
        self.scrape().await
    }

    /// A run that was over before it had sent all of its requests, because this machine was too slow for some, is repeated.
    async fn play_again(&self, profile: &str) {
        let run = format!("POST /api/v1/profiles/{profile}/run HTTP/1.1\r\nhost: {}\r\n", self.address);
        let reply = ask(self.address, &run).await;
        assert_eq!(reply.status, 202, "{}", reply.body);
    }
}

fn outcomes<'a>(scrape: &'a Scrape, profile: &'a str) -> Vec<(&'a str, f64)> {
    scrape.metric("tokenbeat_requests_total").label("profile", profile).nonzero("outcome")
}

/// Requests that were sent and have ended.
fn sent(scrape: &Scrape, profile: &str) -> f64 {
    outcomes(scrape, profile).iter().map(|(_, n)| n).sum()
}

/// Whether this number of runs and all of their requests have ended.
fn is_over(scrape: &Scrape, profile: &str, runs: f64) -> bool {
    let of = |name| scrape.metric(name).label("profile", profile).sum();
    let ended = sent(scrape, profile) + of("tokenbeat_skipped_requests_total");
    of("tokenbeat_runs_total") == runs && of("tokenbeat_offered_requests_total") == ended
}

/// The reported details of the failures of each target.
async fn details(address: SocketAddr) -> BTreeMap<String, Vec<(String, String)>> {
    let answer = get(address, "/api/v1/requests?failed=true&limit=1000").await.json();
    let mut details: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for request in answer["requests"].as_array().unwrap() {
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        details.entry(text("target")).or_default().push((text("outcome"), text("detail")));
    }
    details
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_one_outcome_and_a_message_and_no_effect_on_others() {
    let world = World::start().await;
    let scrape = world.ended().await;
    let details = details(world.address).await;
    let mut wrong = Vec::new();
    for row in &world.rows {
        let got: BTreeMap<&str, f64> = outcomes(&scrape, &row.name).into_iter().collect();
        let expected = row.expected(sent(&scrape, &row.name));
        let said = details.get(&row.name).map(Vec::as_slice).unwrap_or_default();
        let skipped = scrape.metric("tokenbeat_skipped_requests_total").label("profile", &row.name);
        let skipped = skipped.nonzero("reason");
        // The machine may have been too slow for some of the requests, whose run was then repeated.
        let only_late = skipped.iter().all(|(reason, _)| *reason == "overrun");
        if got != expected || !only_late {
            wrong.push(format!(
                "{}: {got:?} in place of {expected:?}, skipped {skipped:?}: {said:?}",
                row.name
            ));
        }
        for (outcome, detail) in said {
            let missing = row.says.iter().find(|part| !detail.contains(*part));
            if missing.is_some() || detail.is_empty() || is_raw(detail) {
                wrong.push(format!("{} {outcome}: {detail:?} has to say {missing:?}", row.name));
            }
        }
        if row.in_one_piece {
            let times = scrape.metric("tokenbeat_time_per_output_token_seconds_count");
            let (name, times) = (&row.name, times.label("profile", &row.name).value());
            if times > 0.0 {
                wrong.push(format!("{name}: {times} times per token of an answer in one piece"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.elsewhere.load(Ordering::SeqCst), 0, "no redirect is followed");
    let neighbour = outcomes(&scrape, "neighbour");
    assert!(matches!(neighbour.as_slice(), [("ok", n)] if *n >= 20.0), "{neighbour:?}");
    if let Some(peak) = world.process.peak_memory() {
        println!("{} MiB of memory at most", peak >> 20);
        assert!(peak < MOST_MEMORY, "{} MiB at once", peak >> 20);
    }
    stops(world).await;
}

/// A second signal ends requests in flight, with an outcome of its own.
async fn stops(world: World) {
    let process = world.process;
    process.signal("TERM").await;
    process.says("asked to stop").await;
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let row = world.rows.iter().find(|row| row.outcomes == [(STOPPED, 1)]).unwrap();
    let run = format!("run=\"{0}/{0}/", row.name);
    let line = ended.err.lines().rfind(|line| line.contains("run ended") && line.contains(&run));
    assert!(line.is_some_and(|line| line.contains(STOPPED)), "{line:?}");
}

/// A failure that is added to the list needs a row here.
#[tokio::test]
async fn every_failure_has_a_row() {
    let rows = rows::all(&Authority::new("ours"), "127.0.0.1:1".parse().unwrap());
    let have: BTreeSet<&str> =
        rows.iter().flat_map(|row| &row.outcomes).map(|(outcome, _)| *outcome).collect();
    let missing: Vec<&str> =
        Failure::ALL.iter().map(|failure| failure.label()).filter(|label| !have.contains(label)).collect();
    assert!(missing.is_empty(), "no row has {missing:?}");
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "names are unique");
}
