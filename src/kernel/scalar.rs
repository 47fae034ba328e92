//! The reference of every kernel: the specification of each job, in plain Rust.

pub mod crc32;
pub mod json_escape;
pub mod json_index;
pub mod utf8;
