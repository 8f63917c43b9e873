//! The only integration test binary: each module is a suite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::float_cmp, reason = "counts are whole numbers, also as floats")]

#[path = "integration/access.rs"]
mod access;
#[path = "integration/architecture.rs"]
mod architecture;
#[path = "integration/asked.rs"]
mod asked;
#[path = "integration/authority.rs"]
mod authority;
#[path = "integration/backend_accounts.rs"]
mod backend_accounts;
#[path = "integration/baselines.rs"]
mod baselines;
#[path = "integration/canaries.rs"]
mod canaries;
#[path = "integration/capacity.rs"]
mod capacity;
#[path = "integration/cli.rs"]
mod cli;
#[path = "integration/comparisons.rs"]
mod comparisons;
#[path = "integration/connections.rs"]
mod connections;
#[path = "integration/conversations.rs"]
mod conversations;
#[path = "integration/daemon.rs"]
mod daemon;
#[path = "integration/detail.rs"]
mod detail;
#[path = "integration/diagnosis.rs"]
mod diagnosis;
#[path = "integration/dialects.rs"]
mod dialects;
#[path = "integration/discovery.rs"]
mod discovery;
#[path = "integration/docs.rs"]
mod docs;
#[path = "integration/examples.rs"]
mod examples;
#[path = "integration/fault_matrix.rs"]
mod fault_matrix;
#[path = "integration/faults.rs"]
mod faults;
#[path = "integration/ground_truth.rs"]
mod ground_truth;
#[path = "integration/guide.rs"]
mod guide;
#[path = "integration/hanging.rs"]
mod hanging;
#[path = "integration/harness.rs"]
mod harness;
#[path = "integration/honoured.rs"]
mod honoured;
#[path = "integration/http.rs"]
mod http;
#[path = "integration/in_force.rs"]
mod in_force;
#[path = "integration/init.rs"]
mod init;
#[path = "integration/judged.rs"]
mod judged;
#[path = "integration/model_changes.rs"]
mod model_changes;
#[path = "integration/own_faults.rs"]
mod own_faults;
#[path = "integration/parity.rs"]
mod parity;
#[path = "integration/player.rs"]
mod player;
#[path = "integration/process.rs"]
mod process;
#[path = "integration/readers.rs"]
mod readers;
#[path = "integration/reasoning.rs"]
mod reasoning;
#[path = "integration/regressions.rs"]
mod regressions;
#[path = "integration/reload.rs"]
mod reload;
#[path = "integration/replay.rs"]
mod replay;
#[path = "integration/reports.rs"]
mod reports;
#[path = "integration/requests.rs"]
mod requests;
#[path = "../src/testing/reserved_port.rs"]
mod reserved_port;
#[path = "integration/scrape.rs"]
mod scrape;
#[path = "integration/shards.rs"]
mod shards;
#[path = "integration/slo_headers.rs"]
mod slo_headers;
#[path = "integration/state.rs"]
mod state;
#[path = "integration/synthetic.rs"]
mod synthetic;
#[path = "integration/target_state.rs"]
mod target_state;
#[path = "integration/timeline.rs"]
mod timeline;
#[path = "integration/top.rs"]
mod top;
#[path = "integration/traps.rs"]
mod traps;
#[path = "integration/web_port.rs"]
mod web_port;
#[path = "integration/webhook.rs"]
mod webhook;
