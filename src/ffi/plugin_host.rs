//! The table of functions that a plugin is handed: a plugin links against nothing.

use std::ffi::{c_char, c_void};

use super::client::*;
use super::deferred::*;
use super::hooks::*;
use super::kernel::*;
use super::memory::*;
use super::middleware::nh_middleware;
use super::model::*;
use super::plugin::NH_PLUGIN_ABI;
use super::plugin_context::*;
use super::reply::*;
use super::request::*;
use super::response::*;
use super::route::nh_handler;
use super::server::*;
use super::status::*;
use super::stream::*;
use super::tokens::*;
use super::version::nh_version;

/// What a server hands to a plugin: who it is there, and every function that it may call. Lent
/// until the plugin's `fini` has returned, to all its threads. The members called nh_… are the
/// functions of that name; those called plugin_… are for plugins alone and take `plugin`.
///
/// It grows at its end: a plugin that uses a member added after the first release compares
/// `struct_size` first.
#[repr(C)]
pub struct nh_plugin_host {
    /// The size of this table as the server knows it.
    pub struct_size: usize,
    /// NH_PLUGIN_ABI of the server.
    pub abi: u32,
    /// Zero.
    pub reserved: u32,
    /// This plugin in this server.
    pub plugin: *mut nh_plugin_context,
    /// The server; lent as the table is.
    pub server: *mut nh_server,

    /// Writes a line to the server's log, with the plugin's name in front. `level` is an NH_LOG_
    /// number. Borrows `text`. [any-thread]
    pub plugin_log: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        level: i32,
        text: *const c_char,
        len: usize,
    ),
    /// Its configuration as TOML text: the table [plugin.NAME], or what nh_plugin_load was given;
    /// "" without one. Lends it as long as the table. [any-thread]
    pub plugin_config:
        unsafe extern "C" fn(plugin: *const nh_plugin_context, len: *mut usize) -> *const c_char,
    /// One value of its configuration by its path: "rate", "paths.0", "table.key". A string is
    /// given decoded, a number, a boolean or a date as it is written. Borrows `path`, gives
    /// `*value`, NUL-terminated; free it with nh_free. Its length goes to `*len` unless that is
    /// NULL. Returns NH_OK, NH_ERR_NOT_FOUND, or NH_ERR_INVALID_ARGUMENT for a list or a table.
    /// [any-thread]
    pub plugin_config_get: unsafe extern "C" fn(
        plugin: *const nh_plugin_context,
        path: *const c_char,
        value: *mut *mut c_char,
        len: *mut usize,
    ) -> nh_status,
    /// nh_server_route for this plugin: counted as its time, gone when it is unloaded.
    /// NH_ERR_STATE before its `init`. [any-thread]
    pub plugin_route: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        method: *const c_char,
        pattern: *const c_char,
        flags: u32,
        handler: nh_handler,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,
    /// Removes a route of this plugin. [any-thread]
    pub plugin_unroute: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        method: *const c_char,
        pattern: *const c_char,
    ) -> nh_status,
    /// One more middleware of this plugin before the handlers, behind its others. [any-thread]
    pub plugin_before: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        middleware: nh_middleware,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,
    /// One more middleware of this plugin behind the answer. [any-thread]
    pub plugin_after: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        middleware: nh_middleware,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,

    /// nh_status_name, which see.
    pub nh_status_name: unsafe extern "C" fn(status: nh_status) -> *const c_char,
    /// nh_status_message, which see.
    pub nh_status_message: unsafe extern "C" fn(status: nh_status) -> *const c_char,
    /// nh_last_error_message, which see.
    pub nh_last_error_message: unsafe extern "C" fn() -> *const c_char,
    /// nh_last_error_http, which see.
    pub nh_last_error_http: unsafe extern "C" fn() -> i32,
    /// nh_last_error_retry_after_ms, which see.
    pub nh_last_error_retry_after_ms: unsafe extern "C" fn() -> i64,
    /// nh_version, which see.
    pub nh_version: unsafe extern "C" fn() -> *const c_char,
    /// nh_free, which see.
    pub nh_free: unsafe extern "C" fn(pointer: *mut c_void),
    /// nh_server_stop, which see.
    pub nh_server_stop: unsafe extern "C" fn(server: *mut nh_server),
    /// nh_server_port, which see.
    pub nh_server_port: unsafe extern "C" fn(server: *const nh_server) -> u16,
    /// nh_server_stats_json, which see.
    pub nh_server_stats_json: unsafe extern "C" fn(
        server: *const nh_server,
        out: *mut *mut c_char,
        len: *mut usize,
    ) -> nh_status,
    /// nh_server_client, which see.
    pub nh_server_client:
        unsafe extern "C" fn(server: *mut nh_server, out: *mut *mut nh_client) -> nh_status,
    /// nh_request_method, which see.
    pub nh_request_method:
        unsafe extern "C" fn(request: *const nh_request, len: *mut usize) -> *const c_char,
    /// nh_request_path, which see.
    pub nh_request_path:
        unsafe extern "C" fn(request: *const nh_request, len: *mut usize) -> *const c_char,
    /// nh_request_target, which see.
    pub nh_request_target:
        unsafe extern "C" fn(request: *const nh_request, len: *mut usize) -> *const c_char,
    /// nh_request_query, which see.
    pub nh_request_query: unsafe extern "C" fn(
        request: *const nh_request,
        name: *const c_char,
        len: *mut usize,
    ) -> *const c_char,
    /// nh_request_param, which see.
    pub nh_request_param: unsafe extern "C" fn(
        request: *const nh_request,
        name: *const c_char,
        len: *mut usize,
    ) -> *const c_char,
    /// nh_request_header, which see.
    pub nh_request_header: unsafe extern "C" fn(
        request: *const nh_request,
        name: *const c_char,
        len: *mut usize,
    ) -> *const c_char,
    /// nh_request_header_count, which see.
    pub nh_request_header_count: unsafe extern "C" fn(request: *const nh_request) -> usize,
    /// nh_request_header_at, which see.
    pub nh_request_header_at: unsafe extern "C" fn(
        request: *const nh_request,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_char,
    ) -> nh_status,
    /// nh_request_body, which see.
    pub nh_request_body:
        unsafe extern "C" fn(request: *const nh_request, len: *mut usize) -> *const c_void,
    /// nh_request_peer, which see.
    pub nh_request_peer:
        unsafe extern "C" fn(request: *const nh_request, len: *mut usize) -> *const c_char,
    /// nh_request_id, which see.
    pub nh_request_id:
        unsafe extern "C" fn(request: *const nh_request, len: *mut usize) -> *const c_char,
    /// nh_response_status, which see.
    pub nh_response_status:
        unsafe extern "C" fn(response: *mut nh_response, status_code: i32) -> nh_status,
    /// nh_response_header, which see.
    pub nh_response_header: unsafe extern "C" fn(
        response: *mut nh_response,
        name: *const c_char,
        value: *const c_char,
    ) -> nh_status,
    /// nh_response_add_header, which see.
    pub nh_response_add_header: unsafe extern "C" fn(
        response: *mut nh_response,
        name: *const c_char,
        value: *const c_char,
    ) -> nh_status,
    /// nh_response_get_status, which see.
    pub nh_response_get_status: unsafe extern "C" fn(response: *const nh_response) -> i32,
    /// nh_response_get_header, which see.
    pub nh_response_get_header: unsafe extern "C" fn(
        response: *const nh_response,
        name: *const c_char,
        len: *mut usize,
    ) -> *const c_char,
    /// nh_response_get_body, which see.
    pub nh_response_get_body:
        unsafe extern "C" fn(response: *const nh_response, len: *mut usize) -> *const c_void,
    /// nh_response_body, which see.
    pub nh_response_body: unsafe extern "C" fn(
        response: *mut nh_response,
        data: *const c_void,
        len: usize,
    ) -> nh_status,
    /// nh_response_send, which see.
    pub nh_response_send: unsafe extern "C" fn(
        response: *mut nh_response,
        status_code: i32,
        content_type: *const c_char,
        data: *const c_void,
        len: usize,
    ) -> nh_status,
    /// nh_response_defer, which see.
    pub nh_response_defer:
        unsafe extern "C" fn(response: *mut nh_response, out: *mut *mut nh_deferred) -> nh_status,
    /// nh_response_stream, which see.
    pub nh_response_stream:
        unsafe extern "C" fn(response: *mut nh_response, out: *mut *mut nh_stream) -> nh_status,
    /// nh_deferred_send, which see.
    pub nh_deferred_send: unsafe extern "C" fn(
        deferred: *mut nh_deferred,
        status_code: i32,
        content_type: *const c_char,
        data: *const c_void,
        len: usize,
    ) -> nh_status,
    /// nh_deferred_response, which see.
    pub nh_deferred_response: unsafe extern "C" fn(deferred: *mut nh_deferred) -> *mut nh_response,
    /// nh_deferred_done, which see.
    pub nh_deferred_done: unsafe extern "C" fn(deferred: *mut nh_deferred) -> nh_status,
    /// nh_deferred_cancelled, which see.
    pub nh_deferred_cancelled: unsafe extern "C" fn(deferred: *const nh_deferred) -> i32,
    /// nh_deferred_free, which see.
    pub nh_deferred_free: unsafe extern "C" fn(deferred: *mut nh_deferred),
    /// nh_stream_write, which see.
    pub nh_stream_write:
        unsafe extern "C" fn(stream: *mut nh_stream, data: *const c_void, len: usize) -> nh_status,
    /// nh_stream_event, which see.
    pub nh_stream_event: unsafe extern "C" fn(
        stream: *mut nh_stream,
        event: *const c_char,
        data: *const c_char,
        len: usize,
    ) -> nh_status,
    /// nh_stream_wait, which see.
    pub nh_stream_wait: unsafe extern "C" fn(stream: *mut nh_stream, timeout_ms: i64) -> nh_status,
    /// nh_stream_on_ready, which see.
    pub nh_stream_on_ready: unsafe extern "C" fn(
        stream: *mut nh_stream,
        ready: nh_ready_fn,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,
    /// nh_stream_end, which see.
    pub nh_stream_end: unsafe extern "C" fn(stream: *mut nh_stream),
    /// nh_stream_abort, which see.
    pub nh_stream_abort: unsafe extern "C" fn(stream: *mut nh_stream),
    /// nh_client_cancel, which see.
    pub nh_client_cancel: unsafe extern "C" fn(client: *mut nh_client),
    /// nh_client_free, which see.
    pub nh_client_free: unsafe extern "C" fn(client: *mut nh_client),
    /// nh_prompt, which see.
    pub nh_prompt: unsafe extern "C" fn(
        client: *mut nh_client,
        model: *const c_char,
        prompt: *const c_char,
        out: *mut *mut nh_reply,
    ) -> nh_status,
    /// nh_chat, which see.
    pub nh_chat: unsafe extern "C" fn(
        client: *mut nh_client,
        request_json: *const c_char,
        len: usize,
        out: *mut *mut nh_reply,
    ) -> nh_status,
    /// nh_chat_stream, which see.
    pub nh_chat_stream: unsafe extern "C" fn(
        client: *mut nh_client,
        request_json: *const c_char,
        len: usize,
        on_delta: nh_delta_fn,
        user_data: *mut c_void,
        out: *mut *mut nh_reply,
    ) -> nh_status,
    /// nh_delta_text, which see.
    pub nh_delta_text:
        unsafe extern "C" fn(delta: *const nh_delta, len: *mut usize) -> *const c_char,
    /// nh_delta_json, which see.
    pub nh_delta_json:
        unsafe extern "C" fn(delta: *const nh_delta, len: *mut usize) -> *const c_char,
    /// nh_reply_text, which see.
    pub nh_reply_text:
        unsafe extern "C" fn(reply: *const nh_reply, len: *mut usize) -> *const c_char,
    /// nh_reply_json, which see.
    pub nh_reply_json:
        unsafe extern "C" fn(reply: *const nh_reply, len: *mut usize) -> *const c_char,
    /// nh_reply_model, which see.
    pub nh_reply_model:
        unsafe extern "C" fn(reply: *const nh_reply, len: *mut usize) -> *const c_char,
    /// nh_reply_finish_reason, which see.
    pub nh_reply_finish_reason:
        unsafe extern "C" fn(reply: *const nh_reply, len: *mut usize) -> *const c_char,
    /// nh_reply_usage, which see.
    pub nh_reply_usage: unsafe extern "C" fn(
        reply: *const nh_reply,
        prompt_tokens: *mut u64,
        completion_tokens: *mut u64,
    ) -> nh_status,
    /// nh_reply_free, which see.
    pub nh_reply_free: unsafe extern "C" fn(reply: *mut nh_reply),
    /// nh_models_json, which see.
    pub nh_models_json: unsafe extern "C" fn(
        client: *mut nh_client,
        out: *mut *mut c_char,
        len: *mut usize,
    ) -> nh_status,
    /// nh_crc32, which see.
    pub nh_crc32: unsafe extern "C" fn(data: *const c_void, len: usize) -> u32,
    /// nh_crc32_update, which see.
    pub nh_crc32_update: unsafe extern "C" fn(crc: u32, data: *const c_void, len: usize) -> u32,
    /// nh_cpu_level, which see.
    pub nh_cpu_level: unsafe extern "C" fn() -> *const c_char,
    /// nh_crc32c, which see.
    pub nh_crc32c: unsafe extern "C" fn(data: *const c_void, len: usize) -> u32,
    /// nh_json_find, which see.
    pub nh_json_find: unsafe extern "C" fn(
        json: *const c_char,
        len: usize,
        member: *const c_char,
        value: *mut *const c_char,
        value_len: *mut usize,
    ) -> nh_status,
    /// nh_json_get, which see.
    pub nh_json_get: unsafe extern "C" fn(
        json: *const c_char,
        len: usize,
        path: *const c_char,
        value: *mut *mut c_char,
        value_len: *mut usize,
    ) -> nh_status,
    /// nh_copy, which see.
    pub nh_copy:
        unsafe extern "C" fn(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void,

    /// nh_server_on_prompt for this plugin: counted as its time, gone when it is unloaded.
    /// NH_ERR_STATE before its `init`. [any-thread]
    pub plugin_on_prompt: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        hook: nh_text_hook,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,
    /// nh_server_on_delta for this plugin. [any-thread]
    pub plugin_on_delta: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        hook: nh_text_hook,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,
    /// nh_server_on_reply for this plugin. [any-thread]
    pub plugin_on_reply: unsafe extern "C" fn(
        plugin: *mut nh_plugin_context,
        hook: nh_text_hook,
        user_data: *mut c_void,
        drop: nh_drop,
    ) -> nh_status,
    /// nh_text_edit_text, which see.
    pub nh_text_edit_text:
        unsafe extern "C" fn(edit: *const nh_text_edit, len: *mut usize) -> *const c_char,
    /// nh_text_edit_model, which see.
    pub nh_text_edit_model:
        unsafe extern "C" fn(edit: *const nh_text_edit, len: *mut usize) -> *const c_char,
    /// nh_text_edit_role, which see.
    pub nh_text_edit_role:
        unsafe extern "C" fn(edit: *const nh_text_edit, len: *mut usize) -> *const c_char,
    /// nh_text_edit_replace, which see.
    pub nh_text_edit_replace:
        unsafe extern "C" fn(edit: *mut nh_text_edit, text: *const c_char, len: usize) -> nh_status,
    /// nh_count_tokens, which see.
    pub nh_count_tokens: unsafe extern "C" fn(
        encoding: *const c_char,
        text: *const c_char,
        len: usize,
        tokens: *mut u64,
    ) -> nh_status,
}

impl nh_plugin_host {
    /// The table for one plugin in one server.
    pub(super) fn new(plugin: *mut nh_plugin_context, server: *mut nh_server) -> nh_plugin_host {
        nh_plugin_host {
            struct_size: size_of::<nh_plugin_host>(),
            abi: NH_PLUGIN_ABI,
            reserved: 0,
            plugin,
            server,
            plugin_log,
            plugin_config,
            plugin_config_get,
            plugin_route,
            plugin_unroute,
            plugin_before,
            plugin_after,
            nh_status_name,
            nh_status_message,
            nh_last_error_message,
            nh_last_error_http,
            nh_last_error_retry_after_ms,
            nh_version,
            nh_free,
            nh_server_stop,
            nh_server_port,
            nh_server_stats_json,
            nh_server_client,
            nh_request_method,
            nh_request_path,
            nh_request_target,
            nh_request_query,
            nh_request_param,
            nh_request_header,
            nh_request_header_count,
            nh_request_header_at,
            nh_request_body,
            nh_request_peer,
            nh_request_id,
            nh_response_status,
            nh_response_header,
            nh_response_add_header,
            nh_response_get_status,
            nh_response_get_header,
            nh_response_get_body,
            nh_response_body,
            nh_response_send,
            nh_response_defer,
            nh_response_stream,
            nh_deferred_send,
            nh_deferred_response,
            nh_deferred_done,
            nh_deferred_cancelled,
            nh_deferred_free,
            nh_stream_write,
            nh_stream_event,
            nh_stream_wait,
            nh_stream_on_ready: pinned_on_ready,
            nh_stream_end,
            nh_stream_abort,
            nh_client_cancel,
            nh_client_free,
            nh_prompt,
            nh_chat,
            nh_chat_stream,
            nh_delta_text,
            nh_delta_json,
            nh_reply_text,
            nh_reply_json,
            nh_reply_model,
            nh_reply_finish_reason,
            nh_reply_usage,
            nh_reply_free,
            nh_models_json,
            nh_crc32,
            nh_crc32_update,
            nh_cpu_level,
            nh_crc32c,
            nh_json_find,
            nh_json_get,
            nh_copy,
            plugin_on_prompt,
            plugin_on_delta,
            plugin_on_reply,
            nh_text_edit_text,
            nh_text_edit_model,
            nh_text_edit_role,
            nh_text_edit_replace,
            nh_count_tokens,
        }
    }
}
