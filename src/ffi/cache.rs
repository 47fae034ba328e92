//! The cache as the host program uses it.

use std::ffi::{c_char, c_void};

use super::server::nh_server;
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::bytes;
use crate::boundary::guard::status;
use crate::boundary::handle;

/// Keeps `len` bytes under `key` for `ttl_s` seconds, in place of what the key held; 0 or less is
/// the configured time ([cache] ttl). They share the bounds of the cache ([cache] max_entries,
/// max_bytes) with the answers of models: what was used longest ago goes first. Copies both. A
/// host's keys never meet anything else in the cache. `value` may be NULL when `len` is 0.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT, or NH_ERR_LIMIT when the value is larger than the cache
/// keeps (a quarter of it, of a large one an eighth of that).
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_cache_put(
    server: *mut nh_server,
    key: *const c_char,
    value: *const c_void,
    len: usize,
    ttl_s: i64,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle and the texts.
        let (server, key, value) = unsafe {
            let server = handle::hold(server)?;
            (server, bytes::name(key, "the key")?, bytes::payload(value, len, "the value")?)
        };
        let ttl_s = u64::try_from(ttl_s).ok().filter(|seconds| *seconds > 0);
        server.cache_put(key, value, ttl_s)
    })
}

/// What `key` holds. Gives `*value`, NUL-terminated; free it with nh_free. Its length goes to
/// `*len` unless that is NULL.
/// Returns NH_OK, NH_ERR_NOT_FOUND (nothing, or its time is over) or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_cache_get(
    server: *mut nh_server,
    key: *const c_char,
    value: *mut *mut c_void,
    len: *mut usize,
) -> nh_status {
    status(|| {
        let value = handle::output(value, "place for the value")?;
        // SAFETY: the caller's promise for the handle and the text.
        let (server, key) = unsafe { (handle::hold(server)?, bytes::name(key, "the key")?) };
        let found = server.cache_get(key).ok_or_else(|| not_found("nothing is kept under it"))?;
        let copy = bytes::give(&found)?;
        // SAFETY: the caller's places for the results.
        unsafe {
            value.write(copy.cast());
            bytes::write_len(len, found.len());
        }
        Ok(())
    })
}

/// Removes what `key` holds.
/// Returns NH_OK or NH_ERR_NOT_FOUND.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_cache_delete(server: *mut nh_server, key: *const c_char) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle and the text.
        let (server, key) = unsafe { (handle::hold(server)?, bytes::name(key, "the key")?) };
        match server.cache_delete(key) {
            true => Ok(()),
            false => Err(not_found("nothing is kept under it")),
        }
    })
}

/// Empties the cache: the host's entries, and the answers of models and of routes.
/// Returns NH_OK.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_cache_clear(server: *mut nh_server) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        unsafe { handle::hold(server)? }.cache_clear();
        Ok(())
    })
}

fn not_found(message: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, message)
}
