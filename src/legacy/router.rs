//! router.h: routes, middleware and the built-in pages as functions.

use super::answer::{self, Chat, Reply, to_message};
use super::instance::INSTANCE;
use super::memory::{allocate, bytes, text};
use super::routes::{Found, Handler, Middleware, Page, Target};
use super::types::{HttpRequest, RouteResponse, Server};
use crate::boundary::guard;
use crate::pipeline::old_pages;
use crate::plugin::old::{Answer, empty_response, release_response};
use std::ffi::{CStr, c_char, c_int};

/// Puts a complete message into a response that holds nothing.
///
/// # Safety
/// `response` is writable.
unsafe fn fill(response: *mut RouteResponse, answer: &Answer) -> c_int {
    let message = to_message(answer, "close", true);
    let data = allocate(message.len() + 1).cast::<u8>();
    if data.is_null() {
        return -1;
    }
    // SAFETY: the block has room for the message and a NUL; the response is writable.
    unsafe {
        std::ptr::copy_nonoverlapping(message.as_ptr(), data, message.len());
        data.add(message.len()).write(0);
        (*response).status_code = c_int::from(answer.status);
        (*response).status_message = static_reason(answer.status).as_ptr().cast_mut();
        (*response).data = data.cast();
        (*response).length = message.len();
    }
    0
}

/// The phrase of a status as C text that is never freed.
fn static_reason(status: u16) -> &'static CStr {
    match status {
        200 => c"OK",
        204 => c"No Content",
        400 => c"Bad Request",
        401 => c"Unauthorized",
        402 => c"Payment Required",
        403 => c"Forbidden",
        404 => c"Not Found",
        405 => c"Method Not Allowed",
        408 => c"Request Timeout",
        406 => c"Not Acceptable",
        409 => c"Conflict",
        410 => c"Gone",
        411 => c"Length Required",
        412 => c"Precondition Failed",
        413 => c"Content Too Large",
        414 => c"URI Too Long",
        415 => c"Unsupported Media Type",
        416 => c"Range Not Satisfiable",
        417 => c"Expectation Failed",
        422 => c"Unprocessable Content",
        426 => c"Upgrade Required",
        428 => c"Precondition Required",
        429 => c"Too Many Requests",
        431 => c"Request Header Fields Too Large",
        500 => c"Internal Server Error",
        501 => c"Not Implemented",
        502 => c"Bad Gateway",
        503 => c"Service Unavailable",
        504 => c"Gateway Timeout",
        505 => c"HTTP Version Not Supported",
        _ => c"",
    }
}

/// # Safety
/// The pointers are NULL or valid; `response` may hold anything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn route_request(
    server: *mut Server,
    request: *mut HttpRequest,
    response: *mut RouteResponse,
) -> c_int {
    guard(-1, || {
        if response.is_null() {
            return -1;
        }
        // SAFETY: writable; what it held is not read.
        unsafe { response.write(empty_response()) };
        if request.is_null() {
            return -1;
        }
        let middleware = INSTANCE.routes.read().middleware();
        for function in middleware {
            // SAFETY: the host's function and structs; no lock is held.
            let code = unsafe { function(request, response) };
            // SAFETY: still the caller's struct.
            if code != 0 || unsafe { !(*response).data.is_null() } {
                return code;
            }
        }
        // SAFETY: NULL or NUL-terminated by the caller's promise.
        let (path, method) = unsafe { (text((*request).path), (*request).method) };
        let found = INSTANCE.routes.read().find(path.unwrap_or(b"/"), method);
        match found {
            // SAFETY: the host's function and structs; no lock is held.
            Found::Target(Target::Host(handler)) => unsafe { handler(server, request, response) },
            // SAFETY: as promised by the caller.
            Found::Target(Target::Page(page)) => unsafe {
                handle_page(page, server, request, response)
            },
            Found::NotAllowed(methods) => {
                // SAFETY: writable.
                unsafe { fill(response, &answer::not_allowed(method, &methods)) }
            }
            // SAFETY: writable.
            Found::Nothing => unsafe { fill(response, &answer::html(404, "Not Found")) },
        }
    })
}

/// # Safety
/// The pointers are NULL or valid.
unsafe fn handle_page(
    page: Page,
    server: *mut Server,
    request: *mut HttpRequest,
    response: *mut RouteResponse,
) -> c_int {
    if response.is_null() {
        return -1;
    }
    let answer = match page {
        Page::Root => answer::root(),
        Page::Health => answer::health(),
        Page::Stats if server.is_null() => return -1,
        Page::Stats => {
            let site = INSTANCE.servers.lock().get(&(server as usize)).cloned();
            answer::stats(server, site.map_or(0, |site| site.uptime_s()))
        }
        Page::Chat => {
            // SAFETY: NULL or valid by the caller's promise.
            let Some(request) = (unsafe { request.as_ref() }) else { return -1 };
            // SAFETY: NULL or readable for its length by the caller's promise.
            let body = unsafe { bytes(request.body, request.body_length) }.unwrap_or_default();
            match Chat::of(body) {
                Reply::Chat(chat) => chat.ask(),
                Reply::Answer(answer) => answer,
                Reply::Failed(_) => return -1,
            }
        }
    };
    // SAFETY: not NULL, so writable.
    unsafe { fill(response, &answer) }
}

/// # Safety
/// `path` is NULL or NUL-terminated; `handler` is NULL or a function as router.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn register_route(
    path: *const c_char,
    method: c_int,
    handler: Option<Handler>,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let (Some(path), Some(handler)) = (unsafe { text(path) }, handler) else { return -1 };
        if INSTANCE.routes.write().add(path, method, handler) { 0 } else { -1 }
    })
}

/// # Safety
/// See router.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn init_routes() {
    guard((), || INSTANCE.routes.write().add_pages());
}

/// # Safety
/// See router.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn router_init() {
    guard((), || INSTANCE.routes.write().clear());
}

/// # Safety
/// See router.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn router_cleanup() {
    guard((), || INSTANCE.routes.write().clear());
}

/// # Safety
/// `middleware` is NULL or a function as router.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn register_middleware(middleware: Option<Middleware>) -> c_int {
    guard(-1, || match middleware {
        Some(middleware) if INSTANCE.routes.write().add_middleware(middleware) => 0,
        _ => -1,
    })
}

/// # Safety
/// `response` is NULL or writable and holds nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn create_error_response(
    response: *mut RouteResponse,
    error: c_int,
    status_code: c_int,
) -> c_int {
    guard(-1, || {
        if response.is_null() {
            return -1;
        }
        let index = usize::try_from(error).unwrap_or(usize::MAX);
        let known = old_pages::ERROR_TEXTS.get(index).map(|text| (*text, error));
        let (text, code) = known.unwrap_or((old_pages::ERROR_TEXTS[4], 4));
        let status = u16::try_from(status_code).unwrap_or(0);
        let status = if (200..=599).contains(&status) { status } else { 500 };
        // SAFETY: not NULL, so writable.
        unsafe { fill(response, &answer::error(status, text, code)) }
    })
}

/// # Safety
/// `response` is NULL or filled as router.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_route_response(response: *mut RouteResponse) {
    guard((), || {
        // SAFETY: NULL or valid by the caller's promise.
        if let Some(response) = unsafe { response.as_mut() } {
            // SAFETY: the caller's promise for its members.
            unsafe { release_response(response) };
        }
    });
}

/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handle_chat_request(
    server: *mut Server,
    request: *mut HttpRequest,
    response: *mut RouteResponse,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { handle_page(Page::Chat, server, request, response) })
}

/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handle_stats_request(
    server: *mut Server,
    request: *mut HttpRequest,
    response: *mut RouteResponse,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { handle_page(Page::Stats, server, request, response) })
}

/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handle_health_request(
    server: *mut Server,
    request: *mut HttpRequest,
    response: *mut RouteResponse,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { handle_page(Page::Health, server, request, response) })
}

/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handle_root_request(
    server: *mut Server,
    request: *mut HttpRequest,
    response: *mut RouteResponse,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { handle_page(Page::Root, server, request, response) })
}
