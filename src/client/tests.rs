//! Tests of this part as a whole: recorded streams to golden outcomes, and a real client against servers that
//! misbehave.

mod counting;
mod failures;
mod golden;
mod h2server;
mod heads;
mod proxy;
mod readings;
mod reuse;
mod server;
mod steps;
mod tls;
mod whole;
