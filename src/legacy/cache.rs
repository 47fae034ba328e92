//! cache.h over [`crate::cache`]. The time is the monotonic clock in whole seconds.

use super::instance::INSTANCE;
use super::memory::{bytes, monotonic_ns, text};
use crate::boundary::guard;
use crate::cache::Cache;
use std::ffi::{c_char, c_int};

/// Seconds of the clock that entries are dated by.
pub(super) fn now_s() -> u64 {
    monotonic_ns() / 1_000_000_000
}

/// # Safety
/// See cache.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_init(size: c_int, ttl: c_int) -> c_int {
    guard(-1, || {
        let Ok(entries_max) = usize::try_from(size) else { return -1 };
        if entries_max == 0 {
            return -1;
        }
        *INSTANCE.cache.lock() = Some(Cache::new(entries_max, u64::try_from(ttl).unwrap_or(0)));
        0
    })
}

/// # Safety
/// `key` is NULL or NUL-terminated; `value` is NULL or readable for `value_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_set(
    key: *const c_char,
    value: *const c_char,
    value_size: usize,
    ttl: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let (key, value) = unsafe { (text(key), bytes(value, value_size)) };
        let (Some(key), Some(value)) = (key, value) else { return -1 };
        if value.is_empty() {
            return -1;
        }
        let ttl_s = u64::try_from(ttl).ok().filter(|&ttl_s| ttl_s > 0);
        match INSTANCE.cache.lock().as_mut() {
            Some(cache) => {
                cache.set(key, value, ttl_s, now_s());
                0
            }
            None => -1,
        }
    })
}

/// # Safety
/// `key` is NULL or NUL-terminated; `value` is NULL or writable for `value_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_get(
    key: *const c_char,
    value: *mut c_char,
    value_size: usize,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(key) = (unsafe { text(key) }) else { return -1 };
        if value.is_null() || value_size == 0 {
            return -1;
        }
        let mut cache = INSTANCE.cache.lock();
        let Some(stored) = cache.as_mut().and_then(|cache| cache.get(key, now_s())) else {
            return -1;
        };
        let length = stored.len().min(value_size);
        // SAFETY: `value` is writable for value_size bytes; ours never overlap it.
        unsafe { std::ptr::copy_nonoverlapping(stored.as_ptr(), value.cast::<u8>(), length) };
        0
    })
}

/// # Safety
/// `key` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_delete(key: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(key) = (unsafe { text(key) }) else { return -1 };
        let deleted = INSTANCE.cache.lock().as_mut().is_some_and(|cache| cache.delete(key));
        if deleted { 0 } else { -1 }
    })
}

/// # Safety
/// See cache.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_clear() -> c_int {
    guard(-1, || match INSTANCE.cache.lock().as_mut() {
        Some(cache) => {
            cache.clear();
            0
        }
        None => -1,
    })
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_get_stats(
    entries: *mut c_int,
    hits: *mut c_int,
    misses: *mut c_int,
) -> c_int {
    guard(-1, || {
        if entries.is_null() || hits.is_null() || misses.is_null() {
            return -1;
        }
        let Some(counts) = INSTANCE.cache.lock().as_ref().map(Cache::counts) else { return -1 };
        // SAFETY: not NULL, so writable.
        unsafe {
            entries.write(c_int::try_from(counts.entries).unwrap_or(c_int::MAX));
            hits.write(c_int::try_from(counts.hits).unwrap_or(c_int::MAX));
            misses.write(c_int::try_from(counts.misses).unwrap_or(c_int::MAX));
        }
        0
    })
}

/// # Safety
/// See cache.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cache_cleanup() {
    guard((), || *INSTANCE.cache.lock() = None);
}

/// Makes the cache larger or smaller, to this share of its size. Without a cache nothing happens.
pub(super) fn resize_to_percent(percent: u64) {
    if let Some(cache) = INSTANCE.cache.lock().as_mut() {
        let entries = (cache.entries_max() as u64).saturating_mul(percent) / 100;
        let entries = usize::try_from(entries).unwrap_or(usize::MAX).min(c_int::MAX as usize);
        cache.set_entries_max(entries, now_s());
    }
}
