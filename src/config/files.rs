//! The only place of this module that touches files.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::node::line_and_column;

/// Bytes of a configuration file, at most.
pub(crate) const FILE_BYTES_MAX: usize = 4 << 20;

/// Where a configuration is looked for when none is named.
pub(crate) const SEARCHED: &[&str] = &["neurohttp.toml", "/etc/neurohttp/neurohttp.toml"];

/// The bytes of a file that must be there.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    File::open(path)
        .and_then(read_bounded)
        .map_err(|error| unreadable(path, &error))
        .and_then(|bytes| checked(path, bytes))
}

/// The bytes of a file; `None` when there is none of that name.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    match File::open(path).and_then(read_bounded) {
        Ok(bytes) => checked(path, bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// What tells that a file was changed or replaced.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that a name leads to; `None`: to none.
    pub fn of(path: &Path) -> Option<Stamp> {
        path.metadata().ok().map(|about| Stamp::from(&about))
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(about: &std::fs::Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt as _;
        Stamp {
            device: about.dev(),
            inode: about.ino(),
            bytes: about.len(),
            // Not when it was modified: that can be set back.
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// The bytes of a file, and its stamp before they were read.
pub(crate) fn look(path: &Path) -> Result<(Stamp, Vec<u8>), ConfigError> {
    let read = || {
        let file = File::open(path)?;
        let stamp = Stamp::from(&file.metadata()?);
        Ok((stamp, read_bounded(file)?))
    };
    let (stamp, bytes) = read().map_err(|error| unreadable(path, &error))?;
    Ok((stamp, checked(path, bytes)?))
}

/// Refuses what is no plain file: reading it could take for ever. One that is not there is left to
/// whoever reads it.
pub fn check_plain(path: &Path) -> Result<(), ConfigError> {
    match path.metadata() {
        Ok(about) if !about.is_file() => Err(ConfigError::new(
            path.display().to_string(),
            "is no plain file and is not read again, expected one",
        )),
        _ => Ok(()),
    }
}

/// Whether it is a folder.
pub(crate) fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

fn read_bounded(file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than may be there tells a file that is too long from one that just fits,
    // and bounds what a device can give.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn checked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, ConfigError> {
    check_size(&path.display().to_string(), bytes.len())?;
    Ok(bytes)
}

/// Refuses a text that is too long to be a configuration.
pub(crate) fn check_size(name: &str, bytes: usize) -> Result<(), ConfigError> {
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigError::new(
            name,
            format!("too large for a configuration, expected at most {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

/// The text of a file whose grammar is UTF-8.
pub(crate) fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid_bytes = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let (line, column) = line_and_column(&text, valid_bytes);
        ConfigError::new(
            format!("{}:{line}:{column}", path.display()),
            "a byte that is not text, expected UTF-8",
        )
    })
}

/// The overlay of `x.toml`: `x.NAME.toml` beside it. Other names have none.
pub(crate) fn overlay_of(path: &Path, name: &str) -> Option<PathBuf> {
    (path.extension()? == "toml").then(|| path.with_extension(format!("{name}.toml")))
}

/// It is written in the old `key = value` grammar.
pub(crate) fn is_legacy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "conf")
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError::new(
        path.display().to_string(),
        format!("cannot be read ({error}), expected a configuration file"),
    )
}
