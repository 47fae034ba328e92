//! Being told of changes in folders: inotify(7).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

/// What one read can bring; an event is 16 bytes and a name of at most 256.
const READ_BYTES: usize = 4096;
/// Bytes of an event before its name: wd, mask, cookie, length.
const HEAD_BYTES: usize = 16;

/// What has happened to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is being written.
    Written,
    /// Who wrote it has closed it.
    Closed,
    /// It came, went or became another.
    Replaced,
    /// Events were lost: anything may have happened.
    Lost,
}

/// A change, and the name within its folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What has happened.
    pub change: Change,
    /// The name; empty for the folder itself.
    pub name: Vec<u8>,
}

/// Watches folders.
pub struct Inotify(OwnedFd);

impl Inotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The system's; it allows each user so many.
    pub fn new() -> io::Result<Inotify> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Inotify(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a folder; the same one again changes nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(&self, folder: &Path) -> io::Result<()> {
        let path = CString::new(folder.as_os_str().as_bytes())?;
        let mask = libc::IN_MODIFY
            | libc::IN_CLOSE_WRITE
            | libc::IN_ATTRIB
            | libc::IN_CREATE
            | libc::IN_DELETE
            | libc::IN_MOVED_FROM
            | libc::IN_MOVED_TO
            | libc::IN_DELETE_SELF
            | libc::IN_MOVE_SELF;
        // SAFETY: the path is NUL-terminated and lives through the call.
        check(unsafe {
            libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask | libc::IN_ONLYDIR)
        })?;
        Ok(())
    }

    /// What has happened since the last look; nothing when nothing has.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut buffer = [0_u8; READ_BYTES];
        loop {
            // SAFETY: the buffer is writable for its length.
            let got =
                unsafe { libc::read(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
            let Ok(got) = usize::try_from(got) else {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(events),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                }
            };
            parse(buffer.get(..got).unwrap_or_default(), &mut events);
            if got == 0 {
                return Ok(events);
            }
        }
    }
}

/// Takes what one read has brought apart.
fn parse(mut bytes: &[u8], events: &mut Vec<Event>) {
    while let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) {
        let word = |at: usize| {
            let word = head.get(at..at + 4).and_then(|word| word.try_into().ok());
            u32::from_ne_bytes(word.unwrap_or_default())
        };
        let (mask, length) = (word(4), word(12) as usize);
        let Some((name, next)) = rest.split_at_checked(length) else { return };
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let change = match mask {
            mask if mask & libc::IN_Q_OVERFLOW != 0 => Change::Lost,
            mask if mask & libc::IN_CLOSE_WRITE != 0 => Change::Closed,
            mask if mask & libc::IN_MODIFY != 0 => Change::Written,
            _ => Change::Replaced,
        };
        events.push(Event { change, name: name.get(..end).unwrap_or_default().to_vec() });
        bytes = next;
    }
}

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_a_folder_are_told() {
        let folder = std::env::temp_dir().join(format!("inotify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.watch(&folder).unwrap();
        assert_eq!(inotify.read().unwrap(), []);
        std::fs::write(folder.join("a"), "x").unwrap();
        std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
        let told = inotify.read().unwrap();
        let has = |change, name: &[u8]| {
            told.iter().any(|event| event.change == change && event.name == name)
        };
        assert!(has(Change::Written, b"a") && has(Change::Closed, b"a"), "{told:?}");
        assert!(has(Change::Replaced, b"b"), "{told:?}");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(inotify.watch(&folder).is_err());
    }
}
