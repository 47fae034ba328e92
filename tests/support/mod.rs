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

/// Raises this process's limit of open files as far as it goes and returns it; children inherit it.
pub fn descriptors_allowed() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a pointer to one rlimit, alive during the call.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    limit.rlim_cur
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
