//! The configuration that a host names in its options. Nothing of this file is in the header.

use std::ffi::{OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::error::Error;
use crate::boundary::bytes;
use crate::config::{Config, Origin, Source, Sources};

/// Reads a configuration, so that it can be read anew: a file (NULL: none), TOML text over it (NULL: none), then the
/// environment, as far as it is wanted, then what the caller sets.
///
/// # Safety
/// Every text is NULL or NUL-terminated.
pub(super) unsafe fn open(
    file: *const c_char,
    text: *const c_char,
    env_names_only: bool,
    listen: Option<&str>,
    sets: Vec<(String, String)>,
) -> Result<(Config, Source), Error> {
    let file = match file.is_null() {
        true => None,
        false => {
            // SAFETY: not NULL, so NUL-terminated.
            let path = unsafe { bytes::name(file, "config_file") }?;
            Some(PathBuf::from(OsStr::from_bytes(path)))
        }
    };
    // SAFETY: the caller's promise.
    let text = unsafe { bytes::optional_text(text, "config_text") }?;
    let listen = listen.map(str::to_owned);
    let environment = environment();
    let sources = Sources { file, search: false, text, environment, env_names_only, sets, listen };
    Ok(Origin::sources(&sources).load()?)
}

/// The same, once.
///
/// # Safety
/// As [`open`].
pub(super) unsafe fn load(
    file: *const c_char,
    text: *const c_char,
    env_names_only: bool,
) -> Result<Config, Error> {
    // SAFETY: the caller's promise.
    unsafe { open(file, text, env_names_only, None, Vec::new()) }.map(|(config, _)| config)
}

/// The process environment. What is not UTF-8 cannot be one of our variables.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
