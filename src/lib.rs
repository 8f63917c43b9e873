//! tokenbeat: synthetic LLM traffic on a schedule, measured to the chunk, exported to Prometheus and OTLP.
//!
//! # Layout
//!
//! Data flows one way: `config -> plan -> schedule, pacing -> engine -> client -> event -> sinks`.

pub mod client;
pub mod event;
pub mod exchange;
pub mod plan;
pub mod secret;
pub mod telemetry;

#[cfg(test)]
mod samples;
