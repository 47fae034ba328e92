//! What the tests that work from outside share: the built artifacts, C programs compiled against
//! them, servers as processes, and a raw HTTP client that sees every byte.
//!
//! Nothing sleeps: every wait is for an event and has a deadline.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test crate uses its part of this")]

pub mod cc;
pub mod process;
pub mod stage;
pub mod tls;
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

/// Asks again until it is so; for states that no event tells. Each question should cost the
/// server a turn, as a request does.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}
