//! Every kernel at every level this CPU has, against the reference.
//!
//! As in dav1d's checkasm: the same input goes to reference and kernel; it stands against unreadable pages
//! before and after, at every alignment; the raw symbols are called with poisoned registers and watched for
//! what they leave behind. A failure names job, level and seed; `NEUROHTTP_TEST_SEED` repeats it.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod copy;
mod crc32;
mod harness;
mod head_index;
mod json_escape;
mod json_index;
mod level;
mod utf8;
