//! The simulator over real sockets, seen by a client that reads bytes and believes nothing.

mod app;
mod app_faults;
mod arrival;
mod client;
mod dialects;
mod faults_in_head;
mod faults_in_stream;
mod forms;
mod openai;
mod protocol;
mod serving;
mod steady;
