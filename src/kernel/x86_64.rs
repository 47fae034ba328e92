//! The symbols of asm/x86_64, each with its contract, behind safe functions.
//!
//! A safe function here may be called only on a CPU that has what its kernel needs. That holds because it
//! is private to `kernel` and put into a table only after `Features` has said so: the table, not the
//! caller, proves it.

pub(super) mod copy;
pub(super) mod crc32;
pub(super) mod head_index;
pub(super) mod json_escape;
pub(super) mod json_index;
pub(super) mod utf8;
