//! Servers: made, started, stopped, freed.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use super::log::{self, nh_log_fn};
use super::memory::nh_drop;
use super::plugin_load;
use super::settings;
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::callback::UserData;
use crate::boundary::guard::{guard, status, value};
use crate::boundary::handle::{self, Held, Opaque};
use crate::boundary::{bytes, options};
use crate::server::{Server, Setup, on_loop_thread};

/// A server: made by nh_server_new, freed by nh_server_free. Any number may live in one process.
///
/// It is new until nh_server_start or nh_server_run, serves until nh_server_stop, then drains:
/// open requests are answered, new ones are not taken. It is started once. A call out of order
/// returns NH_ERR_STATE. Handles of streams and deferred answers may outlive it.
///
/// All its functions but nh_server_free may be called from any thread at the same time.
pub struct nh_server {
    _opaque: [u8; 0],
}

impl Opaque for nh_server {
    /// Shared with the plugins it has loaded, which end with it.
    type Inner = Arc<Server>;
    const TAG: u16 = 1;
    const NAME: &'static str = "server";
}

/// A flag of nh_server_options: neither overrides nor keys of providers nor proxies are read from
/// the environment. A value that says "env:NAME" still is.
pub const NH_SERVER_NO_ENV: u32 = 1;
/// A flag of nh_server_options: only the host's routes, none of ours (/health, /v1/... and so on).
pub const NH_SERVER_NO_BUILTINS: u32 = 2;

/// What a server is made with. Fill it with nh_server_options_init, then set what differs. Zero
/// is the default in every field.
#[repr(C)]
pub struct nh_server_options {
    /// Set by nh_server_options_init: the size of this struct as your compiler knows it.
    pub struct_size: usize,
    /// The configuration file: TOML, or the old grammar when its name ends in ".conf".
    /// NULL: none.
    pub config_file: *const c_char,
    /// Configuration as TOML text, over that of the file. NULL: none.
    pub config_text: *const c_char,
    /// Where to listen, such as "127.0.0.1:8080", "[::]:80", "unix:/run/app.sock", or several
    /// with commas. Port 0 picks a free one. NULL: what the configuration says, else
    /// "127.0.0.1:8080".
    pub listen: *const c_char,
    /// How many threads serve connections. 0: what the configuration says, else one per core.
    pub workers: u32,
    /// NH_SERVER_ flags, or 0.
    pub flags: u32,
    /// Takes the log lines. NULL: the configuration's file, else standard error.
    pub log: nh_log_fn,
    /// Passed to `log`.
    pub log_user_data: *mut c_void,
    /// Frees `log_user_data` when the server is freed, or when nh_server_new fails. NULL: nobody
    /// does.
    pub log_drop: nh_drop,
}

// SAFETY: repr(C); pointers, numbers and nullable functions, for which zero is a value; the sizes
// below leave no padding.
unsafe impl options::Options for nh_server_options {
    const FIELD_ENDS: &'static [usize] = &[8, 16, 24, 32, 36, 40, 48, 56, 64];
}

const _: () = assert!(size_of::<nh_server_options>() == 64 && align_of::<nh_server_options>() == 8);

/// Fills `options` with the defaults. `struct_size` is sizeof of the struct: it tells the library
/// which fields your program was compiled with, so a program built against an older header goes
/// on working. A size that is impossible (under 8, over 4096) leaves the struct as it is, and
/// nh_server_new refuses it without reading on.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_options_init(
    options: *mut nh_server_options,
    struct_size: usize,
) {
    // SAFETY: the caller says that the struct has this size.
    status(|| unsafe { options::init(options.cast(), struct_size) });
}

/// Makes a server, which does not listen yet. Borrows `options` and all it points to; NULL means
/// all defaults. Takes `log_user_data`, also when it fails. Gives `*out`; free it with
/// nh_server_free.
/// Returns NH_OK, NH_ERR_CONFIG (the message names file, line and column), NH_ERR_UNSUPPORTED for
/// unknown flags and for set fields that this version does not know, NH_ERR_INVALID_ARGUMENT for
/// a struct_size under 8 or over 4096, NH_ERR_IO or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_new(
    options: *const nh_server_options,
    out: *mut *mut nh_server,
) -> nh_status {
    status(|| {
        // SAFETY: NULL, or a struct as long as it says.
        let passed = unsafe { options::read(options) }?;
        let options = &passed.options;
        let log_data = UserData::new(options.log_user_data, options.log_drop);
        let out = handle::output(out, "place for the server")?;
        passed.check()?;
        options::check_flags(options.flags, NH_SERVER_NO_ENV | NH_SERVER_NO_BUILTINS)?;
        let mut sets = Vec::new();
        if options.workers != 0 {
            sets.push(("server.workers".to_owned(), options.workers.to_string()));
        }
        let no_env = options.flags & NH_SERVER_NO_ENV != 0;
        // SAFETY: the texts are NULL or NUL-terminated.
        let (config, source) = unsafe {
            let listen = bytes::optional_text(options.listen, "listen")?;
            settings::open(options.config_file, options.config_text, no_env, listen, sets)
        }?;
        let no_builtins = options.flags & NH_SERVER_NO_BUILTINS != 0;
        let log = log::sink(options.log, log_data);
        let setup = Setup { no_builtins, log, source: Some(source), owns_process: false };
        let server = Arc::new(Server::new(config, setup)?);
        plugin_load::load_configured(&server).inspect_err(|_| {
            server.shutdown();
        })?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(handle::give::<nh_server>(server)) };
        Ok(())
    })
}

/// Listens and begins to serve on threads of its own; returns when connections are accepted.
/// Returns NH_OK, NH_ERR_STATE when it was started or stopped before, NH_ERR_ADDRESS_IN_USE or
/// NH_ERR_IO; after the last two it can be started again.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_start(server: *mut nh_server) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    status(|| unsafe { handle::hold_to_change(server) }?.start())
}

/// nh_server_start, then nh_server_wait without a timeout: returns when the server was stopped
/// and is drained. Returns what these two return.
/// Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_run(server: *mut nh_server) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        may_block(&server)?;
        server.start()?;
        server.wait(None)
    })
}

/// Begins the drain and returns at once: no new connections, open requests are answered, then the
/// server ends; see `timeouts.drain`. A server that was stopped cannot be started again. Takes no
/// lock, allocates nothing, keeps errno. Harmless when it was stopped before, and on NULL.
/// [any-thread] [signal-safe]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_stop(server: *mut nh_server) {
    guard((), || {
        // No count is taken here: giving it back could be the handle's end, in a signal handler.
        // SAFETY: the caller's promise for the handle.
        if let Some(server) = unsafe { handle::peek(server) } {
            server.stop();
        }
    });
}

/// Waits until the server was stopped and is drained, at most `timeout_ms` milliseconds; below 0
/// for ever. Returns NH_OK, NH_ERR_TIMEOUT, NH_ERR_STATE when it was neither started nor stopped,
/// and for an attached server until it is drained, or NH_ERR_PANIC when it has stopped because a
/// fault inside the library could not be mended.
/// Blocks: NH_ERR_STATE on a thread of any server's loop or of this server's pool.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_wait(server: *mut nh_server, timeout_ms: i64) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold(server) }?;
        may_block(&server)?;
        server.wait(timeout_of(timeout_ms))
    })
}

/// Frees a server; one that still runs is stopped at once, without a drain. Waits for callbacks
/// that are running, then frees the `user_data` of every route, middleware and of the log. NULL
/// is fine.
/// Called inside one of the server's own callbacks it only begins the stop, as nh_server_stop
/// does, and leaves the message of an NH_ERR_STATE: free it again from outside.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_free(server: *mut nh_server) {
    if server.is_null() {
        return;
    }
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let held = unsafe { handle::hold(server) }?;
        if held.is_inside() {
            held.stop();
            let message = "a server's own callback cannot free it; it has been told to stop";
            return Err(Error::new(ErrorKind::State, message));
        }
        drop(held);
        // SAFETY: as above; the handle is the caller's to end.
        unsafe { handle::end(server) }?.shutdown();
        Ok(())
    });
}

/// The port of the server's first TCP listener, also of one that was to pick its own; 0 before
/// the start, without a TCP listener and on NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_port(server: *const nh_server) -> u16 {
    // SAFETY: the caller's promise for the handle.
    value(0, || Ok(unsafe { handle::hold(server) }?.port()))
}

/// Reads the server's configuration anew: file and overlay as they are now, the text, the options and
/// the environment that it was made with, and over them what nh_server_set has set. All of it is checked
/// first; then it is taken up whole, without a break: requests in flight finish under the one before.
/// Routes, middleware, models and hooks stay. What the log says cannot be taken up (`server.workers`,
/// `server.reuse_port`) counts from the next start.
/// Returns NH_OK, or NH_ERR_CONFIG (the message names file, line and column), NH_ERR_IO,
/// NH_ERR_ADDRESS_IN_USE, NH_ERR_PLUGIN, NH_ERR_NOT_FOUND for a plugin's file, NH_ERR_STATE once it was
/// stopped, NH_ERR_TIMEOUT when another change takes too long: then nothing has changed.
/// Blocks: NH_ERR_STATE inside a callback of a server, on its loop or on its pool. The thread that
/// polls an attached server may call it between two polls.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_reload(server: *mut nh_server) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        may_change(&server)?;
        server.reload("the program").map(drop)
    })
}

/// Sets one key of the configuration, as `--set` on the command line does: "firewall.burst" to "50",
/// "key.team-a.requests_per_minute" to "60". It stands over everything else and is kept by
/// nh_server_reload. The whole configuration is read anew and checked with it, and taken up as
/// nh_server_reload does. Borrows both texts.
/// Returns what nh_server_reload returns; NH_ERR_CONFIG also for a key that is not known.
/// Blocks: NH_ERR_STATE inside a callback of a server, on its loop or on its pool. The thread that
/// polls an attached server may call it between two polls.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_set(
    server: *mut nh_server,
    key: *const c_char,
    value: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        // SAFETY: the texts are NULL or NUL-terminated.
        let (key, value) =
            unsafe { (bytes::name_text(key, "key")?, bytes::name_text(value, "value")?) };
        may_change(&server)?;
        server.set("the program", key, value).map(drop)
    })
}

/// The statistics of the server as JSON, as /stats shows them. Gives `*out`, NUL-terminated; free
/// it with nh_free. Its length goes to `*len` unless that is NULL.
/// Returns NH_OK or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_stats_json(
    server: *const nh_server,
    out: *mut *mut c_char,
    len: *mut usize,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the statistics")?;
        // SAFETY: the caller's promise for the handle.
        let text = unsafe { handle::hold(server) }?.stats_json();
        let copy = bytes::give(text.as_bytes())?;
        // SAFETY: the caller's places for the results.
        unsafe {
            out.write(copy);
            bytes::write_len(len, text.len());
        }
        Ok(())
    })
}

/// Who is connected, as JSON: {"total", "is_complete", "connections": [{"id", "address", "worker", "since", "idle_ms",
/// "received_bytes", "sent_bytes", "received_per_second", "sent_per_second", "requests", "state", "tls"}]}. `since` is
/// in Unix seconds; bytes a second are the mean since then; `state` is one of "new", "idle", "head", "body", "answering", "streaming", "draining", "closing". At most 10,000 are listed; `is_complete`
/// is false when there are more, or when a worker did not answer within a second. Before the start and after the
/// end nobody is connected. Gives `*out`, NUL-terminated; free it with nh_free. Its length goes to `*len` unless
/// that is NULL.
/// Returns NH_OK, NH_ERR_STATE inside a callback of a server, or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_connections_json(
    server: *const nh_server,
    out: *mut *mut c_char,
    len: *mut usize,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the connections")?;
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold(server) }?;
        may_block(&server)?;
        let text = server.connections_json();
        let copy = bytes::give(text.as_bytes())?;
        // SAFETY: the caller's places for the results.
        unsafe {
            out.write(copy);
            bytes::write_len(len, text.len());
        }
        Ok(())
    })
}

/// A call that waits for a loop or for the pool must not come from there.
pub(super) fn may_block(server: &Held<nh_server>) -> Result<(), Error> {
    if on_loop_thread() || server.is_own_thread() {
        let message = "a call that blocks is not possible inside a callback of a server";
        return Err(Error::new(ErrorKind::State, message));
    }
    Ok(())
}

/// A change of the configuration waits for files and plugins, never for a loop: it is not for
/// callbacks, but a thread that drives a loop may ask for it between two turns.
fn may_change(server: &Held<nh_server>) -> Result<(), Error> {
    if on_loop_thread() || server.is_inside() {
        let message = "the configuration is not changed inside a callback of a server";
        return Err(Error::new(ErrorKind::State, message));
    }
    Ok(())
}

/// A timeout in milliseconds; below 0 is none.
pub(super) fn timeout_of(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}
