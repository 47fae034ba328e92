//! The memory there is, the allocator's free part of it, and the program's own pages.

use std::path::Path;

/// Bytes that can be had, and bytes there are.
pub type Share = (u64, u64);

/// What the machine has left (`MemAvailable`, proc_meminfo(5)), and what the control group of this
/// process has when it is bounded. `None`: the system does not tell.
pub fn left() -> (Option<Share>, Option<Share>) {
    let read = |file: &Path| std::fs::read_to_string(file).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine(&text));
    let group = read(Path::new("/proc/self/cgroup")).and_then(|text| group(&text, read));
    (machine, group)
}

fn machine(meminfo: &str) -> Option<Share> {
    let bytes = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((bytes("MemAvailable:")?, bytes("MemTotal:")?))
}

/// By the second version of control groups, else by the first (the kernel's cgroup-v2.rst and
/// cgroup-v1/memory.rst). Pages of files that nobody uses can be had as well. In a name space of
/// its own the group's path may not lead to it: then the root that is seen there is the group.
fn group(list: &str, read: impl Fn(&Path) -> Option<String>) -> Option<Share> {
    let versions = [
        ("0::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "),
        (
            ":memory:",
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file ",
        ),
    ];
    versions.into_iter().find_map(|(mark, root, max, current, inactive)| {
        let path = list.lines().find_map(|line| line.split_once(mark)).map(|(_, path)| path)?;
        let own = Path::new(root).join(path.trim_start_matches('/'));
        [own.as_path(), Path::new(root)].into_iter().find_map(|folder| {
            let number = |name| read(&folder.join(name))?.trim().parse::<u64>().ok();
            let (max, current): (u64, u64) = (number(max)?, number(current)?);
            let stat = read(&folder.join("memory.stat"))?;
            let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive))?;
            let used = current.saturating_sub(inactive.trim().parse().ok()?);
            // The first version says "no bound" with a number that no machine has.
            (max < 1 << 56).then(|| (max.saturating_sub(used), max))
        })
    })
}

/// Gives memory that nobody uses back to the system. Can take milliseconds.
pub fn trim() {
    // SAFETY: malloc_trim takes no pointer and may be called from any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The same, and the pages of the program's own file: only for whom the process is theirs.
pub fn trim_process() {
    trim();
    forget_program();
}

/// Has the pages of the program's own file leave this process; what is used of them comes back from
/// the page cache. Start-up touches most of a program, serving a small part of it.
fn forget_program() {
    // SAFETY: the callback keeps to what dl_iterate_phdr(3) promises and touches no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_object), std::ptr::null_mut()) };
}

/// Called for the program first; its result, not 0, ends the round.
unsafe extern "C" fn forget_object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: no pointer is passed.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    // SAFETY: the loader passes a valid description, with `dlpi_phnum` headers.
    let (start, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    // Only what nobody can have written is the same when it is read again.
    let is_as_in_file =
        |it: &&libc::Elf64_Phdr| it.p_type == libc::PT_LOAD && it.p_flags & libc::PF_W == 0;
    for segment in headers.iter().filter(is_as_in_file) {
        let from = (start + segment.p_vaddr) as usize / page * page;
        let to = (start + segment.p_vaddr + segment.p_memsz) as usize / page * page;
        // SAFETY: these are whole pages of a private mapping of a file that nobody has written to.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
    1
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let text = "MemTotal:       16 kB\nMemFree:  1 kB\nMemAvailable:    8 kB\n";
        assert_eq!(machine(text), Some((8192, 16384)));
        for odd in ["", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n"] {
            assert_eq!(machine(odd), None, "{odd}");
        }
        let (machine, _) = left();
        assert!(machine.is_some_and(|(left, all)| left <= all && all > 0));
    }

    /// Code and constants come back; what was written since the start stays.
    #[test]
    fn the_program_runs_on_without_its_pages() {
        static WRITTEN: AtomicU32 = AtomicU32::new(1);
        WRITTEN.store(2, Relaxed);
        forget_program();
        assert_eq!(format!("{} of {:.1}", WRITTEN.load(Relaxed), 0.25), "2 of 0.2");
    }

    #[test]
    fn a_bounded_group_is_found_in_either_version() {
        let files = |pairs: &'static [(&str, &str)]| {
            move |file: &Path| {
                let found = pairs.iter().find(|(name, _)| Path::new(name) == file);
                found.map(|(_, text)| (*text).to_owned())
            }
        };
        let second: &[_] = &[
            ("/sys/fs/cgroup/a/b/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "700\n"),
            ("/sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 200\n"),
        ];
        assert_eq!(group("0::/a/b\n", files(second)), Some((500, 1000)));
        let first: &[_] = &[
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1100\n"),
            ("/sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 50\n"),
        ];
        assert_eq!(group("4:memory:/docker/x\n0::/\n", files(first)), Some((0, 1000)));
        let unbounded: &[_] = &[
            ("/sys/fs/cgroup/memory.max", "max\n"),
            ("/sys/fs/cgroup/memory.current", "700\n"),
            ("/sys/fs/cgroup/memory.stat", "inactive_file 200\n"),
        ];
        assert_eq!(group("0::/\n", files(unbounded)), None);
        assert_eq!(group("", files(second)), None);
    }
}
