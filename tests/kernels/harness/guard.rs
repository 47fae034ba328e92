//! Memory between two unreadable pages: a kernel that reads or writes one byte too far ends the test.

use super::Place;
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// What fills the bytes around an output.
const CANARY: u8 = 0xa5;

pub struct Guarded {
    map: NonNull<u8>,
    length: usize,
}

impl Guarded {
    /// Room for at least `length` bytes at any alignment.
    pub fn new(length: usize) -> Guarded {
        let length = (length + super::ALIGNMENTS).next_multiple_of(PAGE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing of ours.
        let map = unsafe {
            libc::mmap(std::ptr::null_mut(), length + 2 * PAGE, libc::PROT_NONE, flags, -1, 0)
        };
        assert_ne!(map, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        let map = NonNull::new(map.cast::<u8>()).expect("mmap does not return NULL");
        // SAFETY: the range lies within the mapping made above, a page in from each end.
        let opened = unsafe {
            let inner = map.as_ptr().add(PAGE).cast();
            libc::mprotect(inner, length, libc::PROT_READ | libc::PROT_WRITE)
        };
        assert_eq!(opened, 0, "mprotect: {}", std::io::Error::last_os_error());
        Guarded { map, length }
    }

    fn all(&mut self) -> &mut [u8] {
        // SAFETY: these pages are readable, writable, zeroed by the system and owned by self.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_ptr().add(PAGE), self.length) }
    }

    /// The bytes at a place. What they hold is what was written there last.
    pub fn at(&mut self, place: Place, length: usize) -> &mut [u8] {
        let start = self.start(place, length);
        &mut self.all()[start..start + length]
    }

    /// Puts a copy of `bytes` at a place.
    pub fn put(&mut self, place: Place, bytes: &[u8]) -> &mut [u8] {
        let copy = self.at(place, bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }

    /// The bytes at a place, all memory being set to the canary first.
    #[allow(dead_code, reason = "for kernels that write")]
    pub fn output(&mut self, place: Place, length: usize) -> &mut [u8] {
        self.all().fill(CANARY);
        self.at(place, length)
    }

    /// Whether everything outside the first `length` bytes at `place` still holds the canary.
    #[allow(dead_code, reason = "for kernels that write")]
    pub fn is_intact_around(&mut self, place: Place, length: usize) -> bool {
        let start = self.start(place, length);
        let (before, rest) = self.all().split_at(start);
        before.iter().chain(&rest[length..]).all(|&byte| byte == CANARY)
    }

    fn start(&self, place: Place, length: usize) -> usize {
        match place {
            Place::AfterGuard(offset) => offset,
            Place::BeforeGuard => self.length - length,
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping made in `new`; no slice of it outlives self.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.length + 2 * PAGE) };
    }
}

// The pages must really be unreadable, or the tests above them prove nothing.
#[test]
fn guard_pages_refuse() {
    let mut memory = Guarded::new(100);
    let length = memory.length;
    let first = memory.all().as_ptr();
    let mut byte = 0u8;
    // The kernel answers EFAULT for unreadable memory instead of a signal: pipe the byte through it.
    let mut readable = |address: *const u8| {
        let mut pipe = [0; 2];
        // SAFETY: `pipe` writes two descriptors; `write` only reads `address` and may fail; the
        // descriptors are closed once.
        unsafe {
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            let written = libc::write(pipe[1], address.cast(), 1);
            if written == 1 {
                assert_eq!(libc::read(pipe[0], (&raw mut byte).cast(), 1), 1);
            }
            libc::close(pipe[0]);
            libc::close(pipe[1]);
            written == 1
        }
    };
    assert!(readable(first));
    assert!(readable(first.wrapping_add(length - 1)));
    assert!(!readable(first.wrapping_sub(1)));
    assert!(!readable(first.wrapping_add(length)));
}
