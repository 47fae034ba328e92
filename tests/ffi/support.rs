//! A server made of closures, and a client that speaks plain HTTP.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use neurohttp::ffi::*;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub type Lines = Arc<Mutex<Vec<(i32, String)>>>;

/// A server with its log; freed when dropped.
pub struct Host {
    pub server: *mut nh_server,
    pub lines: Lines,
}

impl Host {
    /// A server that ignores the environment and picks its port.
    pub fn new(config: &str) -> Host {
        let lines = Lines::default();
        let config = CString::new(config).unwrap();
        let mut server = null_mut();
        unsafe {
            let mut options: nh_server_options = std::mem::zeroed();
            nh_server_options_init(&mut options, size_of::<nh_server_options>());
            options.config_text = config.as_ptr();
            options.listen = c"127.0.0.1:0".as_ptr();
            options.workers = 2;
            options.flags = NH_SERVER_NO_ENV;
            options.log = Some(keep_line);
            options.log_user_data = Arc::into_raw(Arc::clone(&lines)).cast_mut().cast();
            options.log_drop = Some(drop_lines);
            assert_eq!(nh_server_new(&options, &mut server), NH_OK, "{}", last_message());
        }
        Host { server, lines }
    }

    /// A server with one route, "/" for every method, started.
    pub fn with<F>(flags: u32, handler: F) -> Host
    where
        F: Fn(*mut nh_request, *mut nh_response) -> nh_status + Send + Sync + 'static,
    {
        let host = Host::new("");
        host.route("*", "/*path", flags, handler);
        host.start();
        host
    }

    pub fn route<F>(&self, method: &str, pattern: &str, flags: u32, handler: F)
    where
        F: Fn(*mut nh_request, *mut nh_response) -> nh_status + Send + Sync + 'static,
    {
        let (call, data, drop) = handler_parts(handler);
        let (method, pattern) = (CString::new(method).unwrap(), CString::new(pattern).unwrap());
        let status = unsafe {
            nh_server_route(self.server, method.as_ptr(), pattern.as_ptr(), flags, call, data, drop)
        };
        assert_eq!(status, NH_OK, "{}", last_message());
    }

    pub fn start(&self) {
        assert_eq!(unsafe { nh_server_start(self.server) }, NH_OK, "{}", last_message());
    }

    pub fn port(&self) -> u16 {
        unsafe { nh_server_port(self.server) }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends one request and reads its answer.
    pub fn ask(&self, head: &str, body: &str) -> Answer {
        let mut stream = self.connect();
        write!(
            stream,
            "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        Answer::read(&mut stream)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1"), "")
    }

    /// Whether a line of the log holds all of `parts`.
    pub fn logged(&self, parts: &[&str]) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.iter().any(|(_, line)| parts.iter().all(|part| line.contains(part)))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        unsafe { nh_server_free(self.server) };
    }
}

unsafe extern "C-unwind" fn keep_line(
    level: i32,
    message: *const c_char,
    len: usize,
    user_data: *mut c_void,
) {
    let lines = unsafe { &*user_data.cast::<Mutex<Vec<(i32, String)>>>() };
    let text = unsafe { CStr::from_ptr(message) }.to_str().unwrap();
    assert_eq!(text.len(), len);
    lines.lock().unwrap().push((level, text.to_owned()));
}

unsafe extern "C-unwind" fn drop_lines(user_data: *mut c_void) {
    drop(unsafe { Arc::from_raw(user_data.cast::<Mutex<Vec<(i32, String)>>>()) });
}

/// A closure as handler, user_data and destructor.
pub fn handler_parts<F>(handler: F) -> (nh_handler, *mut c_void, nh_drop)
where
    F: Fn(*mut nh_request, *mut nh_response) -> nh_status + Send + Sync + 'static,
{
    unsafe extern "C-unwind" fn call<F>(
        request: *mut nh_request,
        response: *mut nh_response,
        user_data: *mut c_void,
    ) -> i32
    where
        F: Fn(*mut nh_request, *mut nh_response) -> i32,
    {
        let handler = unsafe { &*user_data.cast::<F>() };
        handler(request, response)
    }
    let data = Box::into_raw(Box::new(handler)).cast();
    (Some(call::<F>), data, Some(free_box::<F>))
}

/// A closure for nh_stream_on_ready.
pub fn ready_parts<F>(ready: F) -> (nh_ready_fn, *mut c_void, nh_drop)
where
    F: Fn(*mut nh_stream, nh_status) + Send + Sync + 'static,
{
    unsafe extern "C-unwind" fn call<F>(
        stream: *mut nh_stream,
        status: nh_status,
        user_data: *mut c_void,
    ) where
        F: Fn(*mut nh_stream, nh_status),
    {
        let ready = unsafe { &*user_data.cast::<F>() };
        ready(stream, status);
    }
    let data = Box::into_raw(Box::new(ready)).cast();
    (Some(call::<F>), data, Some(free_box::<F>))
}

unsafe extern "C-unwind" fn free_box<T>(user_data: *mut c_void) {
    drop(unsafe { Box::from_raw(user_data.cast::<T>()) });
}

/// A pointer that another thread may use.
pub struct Sendable<T>(pub *mut T);

unsafe impl<T> Send for Sendable<T> {}

impl<T> Sendable<T> {
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// The body ended as it said it would.
    pub is_whole: bool,
}

impl Answer {
    /// Reads until the server closes.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A reset is one of the ways in which a cut body ends.
        let ended = stream.read_to_end(&mut bytes).is_ok();
        let text = String::from_utf8(bytes).unwrap();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let (body, is_whole) = match is_chunked {
            true => unchunk(rest),
            false => (rest.to_owned(), ended),
        };
        Answer { status, head: head.to_owned(), body, is_whole }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

fn unchunk(mut text: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(piece) = rest.get(..size) else { break };
        body.push_str(piece);
        text = rest.get(size + 2..).unwrap_or("");
    }
    (body, false)
}

pub fn last_message() -> String {
    unsafe { CStr::from_ptr(nh_last_error_message()) }.to_str().unwrap().to_owned()
}

/// Lent text; None for NULL. Checks that the length agrees.
pub fn text(lend: impl FnOnce(*mut usize) -> *const c_char) -> Option<String> {
    let mut len = usize::MAX;
    let pointer = lend(&mut len);
    if pointer.is_null() {
        assert_eq!(len, usize::MAX, "an output was written without success");
        return None;
    }
    let text = unsafe { CStr::from_ptr(pointer) };
    assert_eq!(text.count_bytes(), len);
    Some(text.to_str().unwrap().to_owned())
}

/// Answers 200 with plain text.
pub fn send(response: *mut nh_response, body: &str) -> nh_status {
    unsafe {
        nh_response_send(response, 200, c"text/plain".as_ptr(), body.as_ptr().cast(), body.len())
    }
}

/// Waits until `done` says so.
pub fn until(what: &str, done: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

pub const NO_TEXT: *const c_char = null();
