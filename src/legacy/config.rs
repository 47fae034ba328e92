//! config.h: the old file grammar is [`crate::config::legacy`]'s.

use super::memory::{give, path, release};
use super::types::Config;
use crate::boundary::guard;
use crate::config::legacy::{LegacyConf, parse_conf};
use std::ffi::{c_char, c_int};
use std::io::Read;

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All zero: no strings, no keys.
fn empty() -> Config {
    // SAFETY: integers and pointers; all zero is the empty configuration.
    unsafe { std::mem::zeroed() }
}

/// The values as C memory. What there is no memory for stays NULL.
fn to_c(conf: &LegacyConf) -> Config {
    let mut config = empty();
    config.port = conf.port;
    config.thread_count = conf.thread_count;
    config.max_connections = conf.max_connections;
    config.request_timeout = conf.request_timeout;
    config.buffer_size = conf.buffer_size;
    config.enable_cache = conf.enable_cache;
    config.cache_size = conf.cache_size;
    config.cache_ttl = conf.cache_ttl;
    config.enable_firewall = conf.enable_firewall;
    config.enable_optimization = conf.enable_optimization;
    if let Some(file) = &conf.log_file {
        config.log_file = give(file.as_bytes());
    }
    for (slot, key) in config.api_keys.iter_mut().zip(&conf.api_keys) {
        *slot = give(key.as_bytes());
        config.api_key_count += 1;
    }
    config
}

/// # Safety
/// `filename` is NULL or NUL-terminated.
unsafe fn read(filename: *const c_char) -> Option<String> {
    // SAFETY: as promised by the caller.
    let file = std::fs::File::open(unsafe { path(filename) }?).ok()?;
    let mut content = Vec::new();
    let size = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
    (size as u64 <= FILE_BYTES_MAX).then(|| String::from_utf8_lossy(&content).into_owned())
}

/// # Safety
/// `filename` is NULL or NUL-terminated; `config` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn load_config(filename: *const c_char, config: *mut Config) -> c_int {
    guard(-1, || {
        if config.is_null() {
            return -1;
        }
        // SAFETY: as promised by the caller.
        let (conf, code) = match unsafe { read(filename) } {
            Some(content) => (parse_conf(&content), 0),
            None => (LegacyConf::default(), -1),
        };
        // SAFETY: not NULL, so writable; what it held is not read.
        unsafe { config.write(to_c(&conf)) };
        code
    })
}

/// # Safety
/// `config` is NULL or a Config whose strings are NULL or came from malloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_config(config: *mut Config) {
    guard((), || {
        // SAFETY: NULL or valid by the caller's promise.
        let Some(config) = (unsafe { config.as_mut() }) else { return };
        let count = usize::try_from(config.api_key_count).unwrap_or(0);
        for &key in config.api_keys.iter().take(count) {
            // SAFETY: NULL or from malloc by the caller's promise; forgotten below.
            unsafe { release(key.cast()) };
        }
        // SAFETY: as above.
        unsafe { release(config.log_file.cast()) };
        *config = empty();
    });
}
