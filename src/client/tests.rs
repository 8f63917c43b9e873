//! Tests of this part as a whole: recorded streams to golden outcomes, and a real client against servers that
//! misbehave.

mod failures;
mod golden;
mod heads;
mod server;
