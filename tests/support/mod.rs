//! What the tests that work from outside share: the built artifacts, C programs compiled against
//! them, servers as processes, and a raw HTTP client that sees every byte.
//!
//! Nothing sleeps: every wait is for an event and has a deadline.
#![allow(dead_code, reason = "each test crate uses its part of this")]

pub mod cc;
pub mod process;
pub mod stage;
pub mod wire;

use std::time::Duration;

/// What any single wait in a test may take. Far beyond what a healthy run needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` once for each way of linking, naming it when the body fails.
pub fn for_each_link(body: impl Fn(cc::Link)) {
    for link in [cc::Link::Shared, cc::Link::Static] {
        eprintln!("linked {link:?}");
        body(link);
    }
}
