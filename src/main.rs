//! The binary: reads as a table of contents.

fn main() {}
