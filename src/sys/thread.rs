//! Which thread this is.

/// A thread's number in the kernel.
///
/// Not the standard library's `ThreadId`: to tell that it keeps a record for each thread that asks,
/// which is never given back on a C program's main thread, and leak checkers say so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadId(libc::pid_t);

impl ThreadId {
    /// As the system calls it.
    pub(super) fn number(self) -> libc::pid_t {
        self.0
    }
}

/// The calling thread.
pub fn current() -> ThreadId {
    // SAFETY: no pointer is passed; it cannot fail.
    ThreadId(unsafe { libc::gettid() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_differ() {
        let other = std::thread::spawn(current).join().unwrap();
        assert_ne!(other, current());
        assert_eq!(current(), current());
    }
}
