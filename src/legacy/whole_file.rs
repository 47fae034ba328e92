//! Files that are there whole: after a crash, a full disk or a reader's look the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names that are tried for the file beside.
const NAMES_MAX: u32 = 16;

/// Puts `content` in the place of what the file holds. A link stays one, a file keeps who may read it;
/// what is no file (a pipe, a terminal) is written to.
///
/// # Errors
/// Those of the system; then the old one is untouched.
pub fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let known = fs::metadata(&target).ok();
    if known.as_ref().is_some_and(|known| !known.is_file()) {
        return fs::write(&target, content);
    }
    let (beside, mut new) = match create_beside(&target) {
        // Who may write to the file but not to its folder has no better way.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && known.is_some() => {
            return fs::write(&target, content);
        }
        created => created?,
    };
    let written = new.write_all(content).and_then(|()| {
        if let Some(known) = known {
            new.set_permissions(known.permissions())?;
        }
        new.sync_all()?;
        fs::rename(&beside, &target)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A new file in the folder of this one: whatever stands there under its name is not touched.
fn create_beside(file: &Path) -> std::io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut last = ErrorKind::AlreadyExists.into();
    for _ in 0..NAMES_MAX {
        // Relaxed: only that the numbers differ matters.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut beside = file.as_os_str().to_owned();
        beside.push(format!(".{}-{number}.new", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(new) => return Ok((beside.into(), new)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// Wrong: half a file, a link that becomes a file, a file that more people may read.
    #[test]
    fn a_file_is_replaced_whole_and_in_its_place() {
        let folder = std::env::temp_dir().join(format!("nh-whole-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("a"), folder.join("link"));
        replace(&file, b"one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&file, &link).unwrap();
        // Who still reads the old file goes on reading it whole.
        let before = fs::metadata(&file).unwrap().ino();
        replace(&link, b"two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        let now = fs::metadata(&file).unwrap();
        assert_eq!(now.mode() & 0o777, 0o600);
        assert_ne!(now.ino(), before);
        // Nothing is left beside it, and what cannot be done changes nothing.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        assert!(replace(&folder.join("none/a"), b"three").is_err());
        assert!(replace(&folder, b"three").is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        replace(Path::new("/dev/null"), b"three").unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
