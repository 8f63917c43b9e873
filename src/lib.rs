//! tokenbeat: synthetic LLM traffic on a schedule, measured to the chunk, exported to Prometheus and OTLP.
//!
//! # Layout
//!
//! Data flows one way: `config -> plan -> schedule, pacing -> engine -> client -> fact -> sinks`.

pub mod answer_json;
pub mod app;
pub mod assets;
pub mod backend;
pub mod build;
pub mod capacity;
pub mod catalogue;
pub mod checks;
pub mod cli;
pub mod client;
pub mod comparison;
pub mod config;
pub mod cpu_pool;
pub mod credentials;
pub mod dataset;
pub mod detect;
pub mod discover;
pub mod engine;
pub mod error_chain;
pub mod event;
pub mod exchange;
pub mod fact;
pub mod files;
pub mod fluidity;
pub mod framing;
pub mod identify;
pub mod json_size;
pub mod limits;
pub mod log_throttle;
pub mod model_changes;
pub mod pacing;
pub mod plan;
pub mod receive_time;
pub mod redactor;
pub mod regression;
pub mod report;
pub mod scenario;
pub mod schedule;
pub mod secret;
pub mod seed;
pub mod server;
pub mod shard;
pub mod siblings;
pub mod sim;
pub mod slo;
pub mod state;
pub mod tally;
pub mod target_state;
pub mod telemetry;
pub mod template;
#[cfg(test)]
mod testing;
pub mod thread_priority;
pub mod tls;
pub mod top;
pub mod trace;
pub mod unmeasured;
pub mod vocabulary;
pub mod words;
pub mod workload;
