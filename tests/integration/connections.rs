//! Connections end to end: warm and cold, kept and stale, TLS with and without client certificates, HTTP/2.

use crate::authority::{Authority, EXPIRY};
use crate::harness::{ONCE, Running, Simulator, one, quick};
use crate::scrape::Scrape;
use tokenbeat::sim;

/// Plays a load against a target with these keys to its end. Returns the last scrape.
async fn play(keys: &str, load: &str, simulator: &Simulator) -> Scrape {
    let workload = "workload: { prompts: [hello], output_tokens: 8 }";
    let mut yaml = one(keys, &format!("schedule: {ONCE}, load: [{load}], {workload}"));
    if keys.contains("base_url") {
        yaml = yaml.replace("base_url: 'http://{SIM}/v1', ", "");
    }
    let yaml = yaml.replace("{PORT}", &simulator.address.port().to_string());
    let daemon = Running::start(&yaml, simulator).await;
    daemon.scrape_until("the run to end", |scrape| scrape.metric("tokenbeat_runs_total").sum() >= 1.0).await;
    daemon.drain().await
}

fn outcomes(scrape: &Scrape) -> Vec<(&str, f64)> {
    scrape.metric("tokenbeat_requests_total").nonzero("outcome")
}

fn opened(scrape: &Scrape) -> f64 {
    scrape.metric("tokenbeat_connections_opened_total").value()
}

fn phases(scrape: &Scrape) -> [f64; 3] {
    ["dns", "connect", "tls"]
        .map(|phase| scrape.metric("tokenbeat_connection_phase_seconds_count").label("phase", phase).value())
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_keeps_one_connection_and_cold_opens_one_for_each_request() {
    for (keys, connections) in [(", connection: warm", 1), (", connection: cold", 6)] {
        let simulator = Simulator::start();
        let end = play(keys, "{ requests: 6 }", &simulator).await;
        assert_eq!(outcomes(&end), [("ok", 6.0)]);
        assert_eq!(simulator.handle.connections(), connections, "{keys}");
        assert_eq!(opened(&end), connections as f64, "{keys}");
        assert_eq!(phases(&end), [0.0, connections as f64, 0.0], "an address, in the clear");
        assert_eq!(end.metric("tokenbeat_stale_connections_total").value(), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_connection_is_replaced_and_counted() {
    let simulator = Simulator::start();
    simulator.inject("close_keepalive;when=reuse");
    let end = play("", "{ requests: 5 }", &simulator).await;
    assert_eq!(outcomes(&end), [("ok", 5.0)]);
    // All but the first are sent on a connection that the server then closes.
    assert_eq!(end.metric("tokenbeat_stale_connections_total").value(), 4.0);
    assert_eq!((simulator.handle.connections(), opened(&end)), (5, 5.0));
    assert_eq!(simulator.truth().len(), 5, "each was answered once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_in_time_is_not_stale() {
    let simulator = Simulator::start();
    simulator.inject("close_keepalive;when=now");
    // The close arrives while the user thinks.
    let end = play("", "{ requests: 4, users: 1, think: 200ms }", &simulator).await;
    assert_eq!(outcomes(&end), [("ok", 4.0)]);
    assert_eq!((simulator.handle.connections(), opened(&end)), (4, 4.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_shares_one_connection_among_users() {
    let simulator =
        Simulator::with(sim::Options { step_time: std::time::Duration::from_millis(5), ..quick() });
    let end = play(", http: '2'", "{ requests: 12, users: 4 }", &simulator).await;
    assert_eq!(outcomes(&end), [("ok", 12.0)]);
    assert_eq!((simulator.handle.connections(), opened(&end)), (1, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_against_the_configured_roots() {
    let authority = Authority::new("ours");
    let simulator = authority.simulator(None);
    for (keys, connections) in [("", 1.0), (", connection: cold", 3.0), (", http: '2'", 1.0)] {
        let end = play(&format!("{}{keys}", authority.trusted("")), "{ requests: 3 }", &simulator).await;
        assert_eq!(outcomes(&end), [("ok", 3.0)], "{keys}");
        assert_eq!(opened(&end), connections, "{keys}");
        // The name was resolved, and the connection opened and secured, once each.
        assert_eq!(phases(&end), [connections; 3], "{keys}");
        let expiry = end.metric("tokenbeat_tls_certificate_expiry_timestamp_seconds").label("target", "t");
        assert_eq!(expiry.value(), EXPIRY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_22_a_certificate_that_nobody_vouches_for_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let simulator = theirs.simulator(None);
    let system = ", base_url: 'https://localhost:{PORT}/v1'".to_owned();
    for keys in [ours.trusted(""), system] {
        let end = play(&keys, "{ requests: 2 }", &simulator).await;
        assert_eq!(outcomes(&end), [("tls", 2.0)], "{keys}");
        assert_eq!((opened(&end), simulator.truth().len()), (0.0, 0));
    }
    // Only if the config disables verification.
    let skipped = ", base_url: 'https://localhost:{PORT}/v1', tls: { insecure_skip_verify: true }";
    assert_eq!(outcomes(&play(skipped, "{ requests: 2 }", &simulator).await), [("ok", 2.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_want_a_certificate_from_us() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let simulator = authority.simulator(Some(&clients));
    clients.issue("probe", &["probe"]);
    let (certificate, key) = (clients.path("probe.crt"), clients.path("probe.key"));
    let identity = format!(", client_cert_file: '{certificate}', client_key_file: '{key}'");
    for http in ["", ", http: '2'"] {
        let keys = format!("{}{http}", authority.trusted(&identity));
        assert_eq!(outcomes(&play(&keys, "{ requests: 2 }", &simulator).await), [("ok", 2.0)], "{http}");
        let keys = format!("{}{http}", authority.trusted(""));
        let end = play(&keys, "{ requests: 2 }", &simulator).await;
        assert_eq!(outcomes(&end), [("tls", 2.0)], "{http}");
    }
    assert_eq!(simulator.truth().len(), 4);
}
