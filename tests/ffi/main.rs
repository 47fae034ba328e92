//! The C API as a C program meets it, called from Rust in one process, over loopback sockets.
//!
//! What would break: a host that relies on API.md. Each module says which part of it.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every call here is a C caller's, whose promises the test keeps or breaks on purpose"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attached;
mod later;
mod life;
mod misuse;
mod models;
mod overload;
mod serve;
mod streams;
mod support;
