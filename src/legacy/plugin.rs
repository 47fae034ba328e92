//! plugin.h: the old plugin manager over [`crate::plugin`].
//!
//! Every plugin exports functions named like two of these. Deep binding keeps its calls its own; where
//! that cannot be used, a call of `plugin_init` or `plugin_cleanup` from inside a plugin's file is led to
//! that plugin's function. So both entries look at their return address.

use super::instance::INSTANCE;
use super::memory::{give_list, path, text};
use super::utils::logging::{Level, write};
use crate::boundary::guard;
use crate::plugin::Registry;
use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::Arc;

/// Used when no directory is named.
const DIRECTORY: &str = "plugins";

/// The plugins, between init and cleanup.
pub(super) fn registry() -> Option<Arc<Registry>> {
    INSTANCE.plugins.lock().clone()
}

fn log(message: &str) {
    write(Level::Warning, message.as_bytes());
}

/// `int plugin_init(const char *plugin_dir)`.
///
/// # Safety
/// `plugin_dir` is NULL or NUL-terminated.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn plugin_init(plugin_dir: *const c_char) -> c_int {
    // The return address becomes the second argument; the stack is as it was, so `start` returns to it.
    std::arch::naked_asm!("mov rsi, [rsp]", "jmp {start}", start = sym start)
}

/// `void plugin_cleanup(void)`.
///
/// # Safety
/// See plugin.h.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn plugin_cleanup() {
    std::arch::naked_asm!("mov rdi, [rsp]", "jmp {finish}", finish = sym finish)
}

/// `int plugin_init(const char *plugin_dir)`.
///
/// # Safety
/// `plugin_dir` is NULL or NUL-terminated.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_init(plugin_dir: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { start(plugin_dir, std::ptr::null()) }
}

/// `void plugin_cleanup(void)`.
///
/// # Safety
/// See plugin.h.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_cleanup() {
    // SAFETY: nothing is promised but that this is a call.
    unsafe { finish(std::ptr::null()) }
}

/// # Safety
/// `plugin_dir` is NULL or NUL-terminated, or anything when `caller` lies in a plugin.
unsafe extern "C" fn start(plugin_dir: *const c_char, caller: *const c_void) -> c_int {
    guard(-1, || {
        let known = registry();
        if let Some(plugin) = known.as_ref().and_then(|registry| registry.owner_of(caller)) {
            return plugin.call_own_init();
        }
        // SAFETY: called by the host, so as promised by the caller.
        let directory = unsafe { path(plugin_dir) }.unwrap_or(Path::new(DIRECTORY));
        let registry = Arc::clone(INSTANCE.plugins.lock().get_or_insert_with(Arc::default));
        registry.load_directory(directory, &log);
        0
    })
}

/// # Safety
/// None; `caller` is only looked at.
unsafe extern "C" fn finish(caller: *const c_void) {
    guard((), || {
        let known = registry();
        if let Some(plugin) = known.as_ref().and_then(|registry| registry.owner_of(caller)) {
            plugin.call_own_cleanup();
            return;
        }
        let taken = INSTANCE.plugins.lock().take();
        if let Some(registry) = taken {
            registry.clear();
        }
    });
}

/// # Safety
/// `plugin_path` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_load(plugin_path: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let (Some(file), Some(registry)) = (unsafe { path(plugin_path) }, registry()) else {
            return -1;
        };
        match registry.load(file) {
            Ok(()) => 0,
            Err(reason) => {
                log(&format!("plugin {} refused: {reason}", file.display()));
                -1
            }
        }
    })
}

/// Runs `body` with the registry and a plugin's name; −1 when it says `false`.
///
/// # Safety
/// `name` is NULL or NUL-terminated.
unsafe fn with(name: *const c_char, body: impl FnOnce(&Registry, &str) -> bool) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        match (unsafe { text(name) }, registry()) {
            (Some(name), Some(registry)) if body(&registry, &String::from_utf8_lossy(name)) => 0,
            _ => -1,
        }
    })
}

/// # Safety
/// `plugin_name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_unload(plugin_name: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { with(plugin_name, |registry, name| registry.unload(name)) }
}

/// # Safety
/// `plugin_name` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_set_enabled(plugin_name: *const c_char, enabled: c_int) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe { with(plugin_name, |registry, name| registry.set_enabled(name, enabled != 0)) }
}

/// # Safety
/// `request` and `response` are what the plugins expect: an HTTPRequest and a RouteResponse, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_process_request(
    request: *mut c_void,
    response: *mut c_void,
) -> c_int {
    guard(-1, || match registry() {
        Some(registry) if !request.is_null() && !response.is_null() => {
            registry.process_all(request.cast(), response.cast())
        }
        _ => -1,
    })
}

/// # Safety
/// The outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_get_list(
    plugin_names: *mut *mut *mut c_char,
    count: *mut c_int,
) -> c_int {
    guard(-1, || {
        let Some(registry) = registry() else { return -1 };
        let plugins = registry.list();
        let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name()).collect();
        // SAFETY: as promised by the caller.
        unsafe { give_list(&names, plugin_names, count) }
    })
}
