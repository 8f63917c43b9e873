//! What the daemon tells about itself and what it measured.

pub mod native;
pub mod otlp;
