//! Tests of the client as a whole: recorded streams with golden outcomes, and a real client against misbehaving
//! servers.

mod asked;
mod beside;
mod counting;
mod credentials;
mod dialects;
mod failures;
mod fuzz;
pub(super) mod golden;
mod h2frames;
mod h2server;
mod heads;
mod held;
mod hidden;
mod judged;
#[cfg(target_os = "linux")]
mod late;
mod proxy;
mod readings;
mod reuse;
mod server;
mod steps;
mod strange;
mod tls;
mod tool_calls;
mod usage_reports;
mod whole;
