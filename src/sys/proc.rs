//! What the system says of this process.

/// Resident memory in bytes, 0 when the system does not tell.
pub fn resident_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    // SAFETY: no pointer is passed.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * u64::try_from(page).unwrap_or(4096)
}

/// What the process has used and has open.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// User and system time, in microseconds.
    pub cpu_us: u64,
    /// Open descriptors; 0 when the system does not tell.
    pub open_files: u64,
    /// Since the process began, in microseconds; 0 when the system does not tell.
    pub age_us: u64,
}

/// Asks the system.
pub fn usage() -> Usage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for the write.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0;
    // SAFETY: all zeros is a valid value, and the call has written one or left it.
    let usage = unsafe { usage.assume_init() };
    let us = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let cpu_us = if failed { 0 } else { us(usage.ru_utime) + us(usage.ru_stime) };
    // The directory itself is open while it is counted.
    let open_files = std::fs::read_dir("/proc/self/fd")
        .map_or(0, |entries| (entries.count() as u64).saturating_sub(1));
    Usage { cpu_us, open_files, age_us: age_us().unwrap_or(0) }
}

/// How long the process has run: the 22nd field of its stat line (proc_pid_stat(5)) is when it
/// began, in ticks since the system did.
fn age_us() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name, may hold blanks and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let began: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: no pointer is passed.
    let ticks = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let up_s: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Some(((up_s * 1e6) as u64).saturating_sub(began.checked_mul(1_000_000)? / ticks.max(1)))
}

/// Processors this process may use.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// The limit of open descriptors in force, and raises the soft limit to the hard one first when
/// `raise` is set. Only the program does that; the library leaves its host's limits alone.
pub fn open_files_max(raise: bool) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        if raise && limit.rlim_cur < limit.rlim_max {
            let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
                limit.rlim_cur = limit.rlim_max;
            }
        }
    }
    limit.rlim_cur
}
