//! Builds what cargo does not: nothing yet.
fn main() {}
