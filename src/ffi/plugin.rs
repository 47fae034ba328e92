//! Plugins: what they export, how a host loads them.

use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::middleware::nh_middleware;
use super::plugin_host::nh_plugin_host;
use super::plugin_load;
use super::request::nh_request;
use super::server::{may_block, nh_server};
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::status;
use crate::boundary::{bytes, handle, options};

/// The version of the contract between plugins and servers, in nh_plugin and nh_plugin_host. It
/// grows only when a plugin made for an older one can no longer run; additions go to the ends of
/// both structs.
pub const NH_PLUGIN_ABI: u32 = 1;

/// A flag of nh_plugin: `before` may block, so it runs on the pool and every request with it.
pub const NH_PLUGIN_BLOCKING: u32 = 1;

/// What an answer came to, for nh_plugin's `on_response`. Lent during the call.
#[repr(C)]
pub struct nh_plugin_outcome {
    /// The size of this struct as the server knows it.
    pub struct_size: usize,
    /// The status that was sent.
    pub status: i32,
    /// Zero.
    pub reserved: u32,
    /// Bytes of the body; 0 for a stream, which only begins.
    pub body_bytes: u64,
    /// From the end of the request's head to the answer, or to the head of a stream, in
    /// microseconds.
    pub elapsed_us: u64,
}

/// What a plugin is: the struct that its nh_plugin_entry returns. Static, or alive until `fini`
/// has returned. Zero is "nothing" in every field but `struct_size` and `abi`.
///
/// A plugin is a shared object that links against nothing and exports one function,
/// `const nh_plugin *nh_plugin_entry(const nh_plugin_host *host)`. It is called once for each server
/// that loads the file, must not register anything yet, and returns NULL to refuse. All it calls of
/// this library is in `host`.
///
/// Every callback gets the `state` that `init` has set. `before` and `after` are as for
/// nh_server_before and nh_server_after; plugins stand behind the middleware before, in the order
/// in which they were loaded, and in front of the middleware after, in reverse. The `on_` functions
/// only look; those of requests and connections run on a loop and must not block. Several calls run
/// at once. C++ exceptions and longjmp must not leave any of them.
#[repr(C)]
pub struct nh_plugin {
    /// sizeof(nh_plugin) as the plugin was compiled.
    pub struct_size: usize,
    /// NH_PLUGIN_ABI as the plugin was compiled.
    pub abi: u32,
    /// NH_PLUGIN_ flags, or 0.
    pub flags: u32,
    /// Its name in the log, in /stats and as [plugin.NAME] in the configuration: letters, digits,
    /// "-", "_" and ".". NULL: the file's name without directory and extension.
    pub name: *const c_char,
    /// Its version, for /stats. NULL: none.
    pub version: *const c_char,
    /// What it does, in one line, for the log. NULL: nothing.
    pub summary: *const c_char,
    /// Called when it is loaded, after nh_plugin_entry: reads its configuration, registers routes
    /// and further middleware, sets `*state`. Anything but NH_OK refuses the plugin; say why with
    /// plugin_log. `host` is lent until `fini` has returned.
    pub init: Option<
        unsafe extern "C-unwind" fn(
            host: *const nh_plugin_host,
            state: *mut *mut c_void,
        ) -> nh_status,
    >,
    /// Called when it is unloaded, after every other call has returned and every `user_data` was
    /// freed. It ends what the plugin still has: threads, streams, deferred answers, clients. Not
    /// called when `init` has failed.
    pub fini: Option<unsafe extern "C-unwind" fn(state: *mut c_void)>,
    /// Looks at each request before its handler.
    pub before: nh_middleware,
    /// Looks at each answer to a request, and may edit it.
    pub after: nh_middleware,
    /// The server takes connections; at once when the plugin is loaded later.
    pub on_start: Option<unsafe extern "C-unwind" fn(state: *mut c_void)>,
    /// The server stops: the drain begins.
    pub on_stop: Option<unsafe extern "C-unwind" fn(state: *mut c_void)>,
    /// A connection was taken. `peer` is "127.0.0.1:4711" or "unix:", lent during the call.
    pub on_connect:
        Option<unsafe extern "C-unwind" fn(peer: *const c_char, len: usize, state: *mut c_void)>,
    /// It is closed.
    pub on_disconnect:
        Option<unsafe extern "C-unwind" fn(peer: *const c_char, len: usize, state: *mut c_void)>,
    /// The head of a request was understood; its body has not been read yet.
    pub on_request:
        Option<unsafe extern "C-unwind" fn(request: *const nh_request, state: *mut c_void)>,
    /// An answer, or the head of a stream, goes out. `request` is NULL when what came was none.
    pub on_response: Option<
        unsafe extern "C-unwind" fn(
            request: *const nh_request,
            outcome: *const nh_plugin_outcome,
            state: *mut c_void,
        ),
    >,
}

// SAFETY: repr(C); pointers, numbers and nullable functions, for which zero is a value; the sizes
// below leave no padding.
unsafe impl options::Options for nh_plugin {
    const FIELD_ENDS: &'static [usize] =
        &[8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120];
}

const _: () = assert!(size_of::<nh_plugin>() == 120 && align_of::<nh_plugin>() == 8);
const _: () = assert!(size_of::<nh_plugin_outcome>() == 32);

/// Loads a plugin, before the start or while serving: of the new contract when the file exports
/// nh_plugin_entry, else of the old one (plugin_init, plugin_process, plugin_cleanup of its own;
/// its plugin_process runs on the pool). `path` is a file, or the bare name of one in
/// `plugins.dir`, without which the folder installed with the library is meant. `config` is TOML
/// text for it; NULL: the table [plugin.NAME] of the server's configuration. Borrows both.
/// Returns NH_OK, NH_ERR_NOT_FOUND (no such file), NH_ERR_CONFIG (`config` is not TOML),
/// NH_ERR_PLUGIN (it was refused; nh_last_error_message says why), NH_ERR_DUPLICATE (its name is
/// taken) or NH_ERR_LIMIT.
/// Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_plugin_load(
    server: *mut nh_server,
    path: *const c_char,
    config: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for every pointer.
        let (held, path, config) = unsafe {
            (
                handle::hold_to_change(server)?,
                bytes::name(path, "the path")?,
                bytes::optional_text(config, "the configuration")?,
            )
        };
        may_block(&held)?;
        let server = Arc::clone(&held);
        server.with_log(|| plugin_load::load(&server, Path::new(OsStr::from_bytes(path)), config))
    })
}

/// Unloads a plugin while requests run: nobody enters it any more, its routes and middleware go,
/// then it waits until the last call has left, and its last function runs. Borrows `name`.
/// Returns NH_OK, NH_ERR_NOT_FOUND, or NH_ERR_TIMEOUT when a call stays inside for 30 seconds: then
/// it ends when that returns.
/// Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_plugin_unload(
    server: *mut nh_server,
    name: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (server, name) = unsafe {
            (handle::hold_to_change(server)?, bytes::name_text(name, "the plugin's name")?)
        };
        may_block(&server)?;
        match server.with_log(|| server.plugins().unload_and_tell(name)) {
            None => Err(unknown(name)),
            Some(true) => {
                server.with_log(|| tracing::info!("plugin {name} unloaded"));
                Ok(())
            }
            Some(false) => {
                let message = format!("plugin {name}: a call is still inside, it ends with that");
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    })
}

/// Switches a plugin off (0) or on again: switched off it stays loaded, but is called for neither
/// requests nor events, and its routes are as if they were not there. Borrows `name`.
/// Returns NH_OK or NH_ERR_NOT_FOUND.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_plugin_set_enabled(
    server: *mut nh_server,
    name: *const c_char,
    enabled: i32,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (server, name) = unsafe {
            (handle::hold_to_change(server)?, bytes::name_text(name, "the plugin's name")?)
        };
        match server.plugins().set_enabled(name, enabled != 0) {
            true => Ok(()),
            false => Err(unknown(name)),
        }
    })
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no plugin named {name} is loaded"))
}
