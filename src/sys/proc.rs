//! What the system says of this process.

use std::path::Path;

use super::thread::ThreadId;

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

/// Processors that these threads may use together, by their affinity and by the time that the control
/// group of the process gets. `None`: the system does not tell, or there are no threads.
pub fn processors_of(threads: impl Iterator<Item = ThreadId>) -> Option<u32> {
    // As many bits as the system's own cpu_set_t has.
    let mut all = [0_u64; 16];
    for thread in threads {
        let mut own = [0_u64; 16];
        // SAFETY: `own` is valid for a write of so many bytes; the kernel knows them as bits only.
        let done = unsafe {
            let bits = own.as_mut_ptr().cast::<libc::cpu_set_t>();
            libc::sched_getaffinity(thread.number(), size_of_val(&own), bits)
        };
        if done != 0 {
            return None;
        }
        all.iter_mut().zip(own).for_each(|(all, own)| *all |= own);
    }
    let count: u32 = all.iter().map(|bits| bits.count_ones()).sum();
    if count == 0 {
        return None;
    }
    let read = |file: &Path| std::fs::read_to_string(file).ok();
    let quota = read(Path::new("/proc/self/cgroup")).and_then(|text| group_quota(&text, read));
    Some(quota.map_or(count, |quota| quota.min(count)).max(1))
}

/// Whole processors that a group may use (the kernel's cgroup-v2.rst "cpu.max", and sched-bwc.rst for
/// the first version), whichever of it and the groups above it has the least.
fn group_quota(list: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u32> {
    let whole = |quota: &str, period: &str| {
        let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse().ok()?);
        u32::try_from(quota.checked_div(period)?.max(1)).ok()
    };
    let second = |folder: &Path| {
        let text = read(&folder.join("cpu.max"))?;
        let (quota, period) = text.trim().split_once(' ')?;
        whole(quota, period)
    };
    let first = |folder: &Path| {
        whole(&read(&folder.join("cpu.cfs_quota_us"))?, &read(&folder.join("cpu.cfs_period_us"))?)
    };
    let least = |name: &str, root: &str, look: &dyn Fn(&Path) -> Option<u32>| {
        let path = list.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_it = number == name && names.is_empty() || names.split(',').any(|it| it == name);
            is_it.then_some(path)
        })?;
        // In a name space of its own the group's path may not lead to it: the root does.
        let own = Path::new(root).join(path.trim_start_matches('/'));
        let up = own.ancestors().filter(|folder| folder.starts_with(root));
        up.filter_map(look).min()
    };
    least("0", "/sys/fs/cgroup", &second).or_else(|| least("cpu", "/sys/fs/cgroup/cpu", &first))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_those_of_all_threads() {
        let own = processors_of(std::iter::once(super::super::thread::current()));
        assert!(own.is_some_and(|own| own >= 1));
        assert_eq!(processors_of(std::iter::empty()), None);
    }

    /// Wrong: a group's bound is not seen, or one above it that is tighter.
    #[test]
    fn a_group_bounds_the_processors() {
        let quota = |list: &str, files: &[(&str, &str)]| {
            group_quota(list, |file| {
                let found = files.iter().find(|(name, _)| Path::new(name) == file);
                found.map(|(_, text)| (*text).to_owned())
            })
        };
        let two = ("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
        let own = ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(quota("0::/a/b\n", &[two, own]), Some(2));
        assert_eq!(quota("0::/a/b\n", &[own]), None);
        assert_eq!(quota("0::/x\n", &[("/sys/fs/cgroup/cpu.max", "50000 100000")]), Some(1));
        let first = [
            ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "400000\n"),
            ("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
        ];
        let list = "4:memory:/a\n3:cpu,cpuacct:/a\n0::/\n";
        assert_eq!(quota(list, &first), Some(4));
        let none = ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
        assert_eq!(quota(list, &[none, first[1]]), None);
        assert_eq!(quota(list, &[("/sys/fs/cgroup/cpu.max", "x 0")]), None);
        assert_eq!(quota("0::/\n", &[("/sys/fs/cgroup/cpu.max", "1 0")]), None);
    }
}
