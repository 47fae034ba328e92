//! The firewall at run time: address lists, rules, what it would say.

use std::ffi::{c_char, c_void};

use super::server::nh_server;
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::status;
use crate::boundary::{bytes, handle};

/// Lets the addresses of a range in: they are never limited nor inspected. `cidr` is a range such as
/// "10.0.0.0/8" or "2001:db8::/32", or one address. It counts for so many seconds, 0: for good.
/// A range that is listed gets the new end. Connections and requests from now on are judged by it.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT (a million ranges).
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_allow(
    server: *mut nh_server,
    cidr: *const c_char,
    seconds: i64,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (server, cidr) = unsafe {
            (handle::hold_to_change(server)?, bytes::name_text(cidr, "the address range")?)
        };
        server.firewall_allow(cidr, seconds)
    })
}

/// Keeps the addresses of a range out: their connections are closed at accept; behind a trusted proxy
/// their requests get 403. `reason` (may be NULL) is kept for the operator. Copies it. `cidr` and
/// `seconds` as for nh_firewall_allow, which wins where both hold an address.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_deny(
    server: *mut nh_server,
    cidr: *const c_char,
    seconds: i64,
    reason: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and texts.
        let (server, cidr, reason) = unsafe {
            let server = handle::hold_to_change(server)?;
            let cidr = bytes::name_text(cidr, "the address range")?;
            (server, cidr, bytes::optional_text(reason, "the reason")?)
        };
        server.firewall_deny(cidr, seconds, reason.unwrap_or_default())
    })
}

/// Takes a range off both lists and lifts the blocks that the firewall has set on addresses in it.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_NOT_FOUND.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_forget(
    server: *mut nh_server,
    cidr: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (server, cidr) = unsafe {
            (handle::hold_to_change(server)?, bytes::name_text(cidr, "the address range")?)
        };
        server.firewall_forget(cidr)
    })
}

/// What would happen to a request from an address: nothing is counted and nobody is blocked for it.
/// `raw_request` is a whole HTTP/1.1 request, head and body. Gives `*verdict_json`, NUL-terminated;
/// free it with nh_free: {"action":"allow|log|limit|block","score":n,"rule":"...","part":"...",
/// "reason":"..."}, and in "findings" everything that was found.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT for an address or request that cannot be read, or
/// NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_check(
    server: *mut nh_server,
    address: *const c_char,
    raw_request: *const c_void,
    len: usize,
    verdict_json: *mut *mut c_char,
) -> nh_status {
    status(|| {
        let out = handle::output(verdict_json, "place for the verdict")?;
        // SAFETY: the caller's promise for handle, text and payload.
        let (server, address, raw) = unsafe {
            let server = handle::hold(server)?;
            let address = bytes::name_text(address, "the address")?;
            (server, address, bytes::payload(raw_request, len, "the request")?)
        };
        let address = address.parse().map_err(|_| {
            Error::new(ErrorKind::InvalidArgument, "the address is not an IP address")
        })?;
        let verdict = server.firewall_check(address, raw)?;
        let copy = bytes::give(verdict.as_bytes())?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(copy) };
        Ok(())
    })
}

/// Adds rules: TOML with one [[rule]] each, with `id`, `score`, `parts`, `literals`, `pattern` and
/// `dry_run` (docs/firewall.md shows one). A rule whose id is there is replaced. Compiled
/// here, not on a loop; requests from now on meet all of them or, on an error, none.
/// Returns NH_OK or NH_ERR_INVALID_ARGUMENT; nh_last_error_message then says line, column and reason.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_add_rule(
    server: *mut nh_server,
    toml: *const c_char,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and payload.
        let (server, text) = unsafe {
            let server = handle::hold_to_change(server)?;
            (server, bytes::payload_text(toml, len, "the rules")?)
        };
        server.firewall_add_rules(text)
    })
}

/// Adds patterns: CSV with lines `pattern,severity`. A pattern is text that is looked for, whatever its
/// case, in every part of a request; in quotes, a doubled quote stands for one. A severity is 1 to 10:
/// 10 blocks alone. Empty lines and those that begin with # are passed over. Compiled and taken up as by
/// nh_firewall_add_rule.
/// Returns NH_OK or NH_ERR_INVALID_ARGUMENT; nh_last_error_message then says line, column and reason.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_add_csv(
    server: *mut nh_server,
    csv: *const c_char,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and payload.
        let (server, text) = unsafe {
            let server = handle::hold_to_change(server)?;
            (server, bytes::payload_text(csv, len, "the patterns")?)
        };
        server.firewall_add_csv(text)
    })
}

/// What was set at run time, to be kept: address lists, blocks in force, rules added to those of the
/// configuration. Gives `*toml`, NUL-terminated text for nh_firewall_load; free it with nh_free.
/// Returns NH_OK or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_save(
    server: *mut nh_server,
    toml: *mut *mut c_char,
) -> nh_status {
    status(|| {
        let out = handle::output(toml, "place for the text")?;
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold(server)? };
        let copy = bytes::give(server.firewall_save().as_bytes())?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(copy) };
        Ok(())
    })
}

/// Adds what nh_firewall_save gave, of this server or of another. What has ended since is left out.
/// Returns NH_OK; NH_ERR_INVALID_ARGUMENT, and nh_last_error_message says line, column and reason; or
/// NH_ERR_LIMIT when a list has no room. On an error nothing was added.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_load(
    server: *mut nh_server,
    toml: *const c_char,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and payload.
        let (server, text) = unsafe {
            let server = handle::hold_to_change(server)?;
            (server, bytes::payload_text(toml, len, "the saved state")?)
        };
        server.firewall_load(text)
    })
}

/// Counts of the firewall as one JSON object.
pub const NH_FIREWALL_STATS_JSON: u32 = 0;
/// Counts of the firewall as CSV: lines `metric,value` behind one that says so (RFC 4180).
pub const NH_FIREWALL_STATS_CSV: u32 = 1;

/// What the firewall has counted since the start. `format` is NH_FIREWALL_STATS_JSON or
/// NH_FIREWALL_STATS_CSV. Gives `*text`, NUL-terminated; free it with nh_free.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_firewall_stats(
    server: *mut nh_server,
    format: u32,
    text: *mut *mut c_char,
) -> nh_status {
    status(|| {
        let out = handle::output(text, "place for the text")?;
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold(server)? };
        let stats = match format {
            NH_FIREWALL_STATS_JSON => server.firewall_stats_json(),
            NH_FIREWALL_STATS_CSV => server.firewall_stats_csv(),
            _ => {
                let message = "the format is not known, expected JSON or CSV";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        };
        let copy = bytes::give(stats.as_bytes())?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(copy) };
        Ok(())
    })
}
