//! The `neurohttp` program.
fn main() {}
