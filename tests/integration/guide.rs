//! The four programs of the traffic guide, loaded from `config/examples/guide`, against the simulator.

#[path = "guide/commands.rs"]
mod commands;
#[path = "guide/failures.rs"]
mod failures;
#[path = "guide/program.rs"]
mod program;
#[path = "guide/programs.rs"]
mod programs;
