//! The reference of every kernel: the specification of each job, in plain Rust.

pub mod copy;
pub mod crc32;
pub mod head_index;
pub mod json_escape;
pub mod json_index;
pub mod utf8;
