//! The clocks: read here, passed on as values.

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; the clock ids used here always exist.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

/// Monotonic time in microseconds.
pub fn monotonic_us() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// What this thread has had of a CPU, in microseconds: others on the machine do not count.
#[cfg(test)]
pub fn thread_cpu_us() -> u64 {
    let time = read(libc::CLOCK_THREAD_CPUTIME_ID);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Monotonic time in milliseconds.
pub fn monotonic_ms() -> u64 {
    monotonic_us() / 1_000
}

/// Wall time in seconds since 1970.
pub fn unix_seconds() -> i64 {
    read(libc::CLOCK_REALTIME).tv_sec
}

/// Wall time in milliseconds since 1970.
pub fn unix_ms() -> i64 {
    let time = read(libc::CLOCK_REALTIME);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}
