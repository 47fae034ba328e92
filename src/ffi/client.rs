//! Clients: what calls models, with or without a server.

use std::ffi::{c_char, c_void};

use super::log::{self, nh_log_fn};
use super::memory::nh_drop;
use super::server::nh_server;
use super::settings;
use super::status::nh_status;
use crate::boundary::callback::UserData;
use crate::boundary::guard::status;
use crate::boundary::handle::{self, Opaque};
use crate::boundary::options;
use crate::server::client::Client;

/// Calls models: nh_prompt, nh_chat, nh_chat_stream. Made by nh_client_new, nh_client_open or
/// nh_server_client, freed by nh_client_free.
///
/// Its functions may be called from any thread at the same time, but nh_client_free. Calls to
/// models block: on a loop thread they return NH_ERR_STATE. A client of a server may outlive it:
/// then it returns NH_ERR_CLOSED.
pub struct nh_client {
    _opaque: [u8; 0],
}

impl Opaque for nh_client {
    type Inner = Client;
    const TAG: u16 = 4;
    const NAME: &'static str = "client";
}

/// A flag of nh_client_options: neither overrides nor keys of providers nor proxies are read from
/// the environment. A value that says "env:NAME" still is.
pub const NH_CLIENT_NO_ENV: u32 = 1;

/// What a client is made with. Fill it with nh_client_options_init, then set what differs. Zero
/// is the default in every field.
#[repr(C)]
pub struct nh_client_options {
    /// Set by nh_client_options_init: the size of this struct as your compiler knows it.
    pub struct_size: usize,
    /// The configuration file: TOML, or the old grammar when its name ends in ".conf".
    /// NULL: none.
    pub config_file: *const c_char,
    /// Configuration as TOML text, over that of the file. NULL: none.
    pub config_text: *const c_char,
    /// NH_CLIENT_ flags, or 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Takes the log lines. NULL: the configuration's file, else standard error.
    pub log: nh_log_fn,
    /// Passed to `log`.
    pub log_user_data: *mut c_void,
    /// Frees `log_user_data` when the client is freed, or when nh_client_open fails. NULL: nobody
    /// does.
    pub log_drop: nh_drop,
}

// SAFETY: repr(C); pointers, numbers and nullable functions, for which zero is a value; the sizes
// below leave no padding.
unsafe impl options::Options for nh_client_options {
    const FIELD_ENDS: &'static [usize] = &[8, 16, 24, 28, 32, 40, 48, 56];
}

const _: () = assert!(size_of::<nh_client_options>() == 56 && align_of::<nh_client_options>() == 8);

/// Makes a client with a loop thread of its own. `config_file` and `config_text` are as in
/// nh_client_options; both NULL: the providers whose keys the environment holds, and `echo`, which
/// answers offline. Borrows both. Gives `*out`; free it with nh_client_free.
/// Returns NH_OK, NH_ERR_CONFIG, NH_ERR_IO or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_client_new(
    config_file: *const c_char,
    config_text: *const c_char,
    out: *mut *mut nh_client,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the client")?;
        // SAFETY: the texts are NULL or NUL-terminated.
        let config = unsafe { settings::load(config_file, config_text, false) }?;
        let client = Client::new(config, None)?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(handle::give::<nh_client>(client)) };
        Ok(())
    })
}

/// Fills `options` with the defaults. `struct_size` is sizeof of the struct: it tells the library
/// which fields your program was compiled with, so a program built against an older header goes
/// on working. A size that is impossible (under 8, over 4096) leaves the struct as it is, and
/// nh_client_open refuses it without reading on.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_client_options_init(
    options: *mut nh_client_options,
    struct_size: usize,
) {
    // SAFETY: the caller says that the struct has this size.
    status(|| unsafe { options::init(options.cast(), struct_size) });
}

/// Makes a client as nh_client_new does. Borrows `options` and all it points to; NULL means all
/// defaults. Takes `log_user_data`, also when it fails. Gives `*out`; free it with nh_client_free.
/// Returns NH_OK, NH_ERR_CONFIG, NH_ERR_UNSUPPORTED for unknown flags and for set fields that this
/// version does not know, NH_ERR_INVALID_ARGUMENT for a struct_size under 8 or over 4096,
/// NH_ERR_IO or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_client_open(
    options: *const nh_client_options,
    out: *mut *mut nh_client,
) -> nh_status {
    status(|| {
        // SAFETY: NULL, or a struct as long as it says.
        let passed = unsafe { options::read(options) }?;
        let options = &passed.options;
        let log_data = UserData::new(options.log_user_data, options.log_drop);
        let out = handle::output(out, "place for the client")?;
        passed.check()?;
        options::check_flags(options.flags, NH_CLIENT_NO_ENV)?;
        options::check_flags(options.reserved, 0)?;
        let no_env = options.flags & NH_CLIENT_NO_ENV != 0;
        let (file, text) = (options.config_file, options.config_text);
        // SAFETY: the texts are NULL or NUL-terminated.
        let config = unsafe { settings::load(file, text, no_env) }?;
        let client = Client::new(config, log::sink(options.log, log_data))?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(handle::give::<nh_client>(client)) };
        Ok(())
    })
}

/// Makes a client that shares the server's models, connections, cache and limits. It calls while
/// the server runs. Gives `*out`; free it with nh_client_free, before or after the server.
/// Returns NH_OK.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_client(
    server: *mut nh_server,
    out: *mut *mut nh_client,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the client")?;
        // SAFETY: the caller's promise for the handle.
        let client = Client::of(&*unsafe { handle::hold(server) }?);
        // SAFETY: the caller's place for the result.
        unsafe { out.write(handle::give::<nh_client>(client)) };
        Ok(())
    })
}

/// Makes every call of this client in progress return NH_ERR_CANCELLED; later ones are not
/// affected. The requests to the providers are ended too.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_client_cancel(client: *mut nh_client) {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        unsafe { handle::hold(client) }?.cancel();
        Ok(())
    });
}

/// Frees a client and its loop; calls in progress return NH_ERR_CANCELLED. NULL is fine.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_client_free(client: *mut nh_client) {
    if client.is_null() {
        return;
    }
    status(|| {
        // SAFETY: the caller's promise for the handle.
        unsafe { handle::end(client) }?.cancel();
        Ok(())
    });
}
