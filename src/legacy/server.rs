//! server.h: the old server, whose struct belongs to the host, over the engine.

use super::answer::{Reply, reply, to_message};
use super::firewall;
use super::instance::INSTANCE;
use super::memory::{bytes, monotonic_ns, path};
use super::site::{DRAIN, Site};
use super::socket::{SendError, send_all, wait};
use super::types::{Config, Server};
use crate::base::limits;
use crate::boundary::guard;
use crate::config::{self, Listen, Secret};
use crate::exchange::{Peer, Request};
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{self, Body, Expect, HeadLimits, Progress, RequestHead};
use crate::http::method::Method;
use crate::http::target::{self, Target};
use crate::sys::socket;
use std::ffi::{c_char, c_int};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// As the original listened.
const BACKLOG: u32 = 128;
/// Used where a host leaves max_connections at 0.
const CONNECTIONS: u32 = 1024;
/// Used where a host leaves request_timeout at 0, in milliseconds.
const REQUEST_MS: u32 = 30_000;
/// Connections without a request are closed after this, as the original did, in milliseconds.
const IDLE_MS: u32 = 30_000;
/// More epoll workers than this help nobody.
const WORKERS_MAX: u32 = 64;
/// Threads for handlers.
const THREADS_MAX: u32 = 1024;
/// What server_send_response gives a client to take everything.
const SEND_NS: u64 = 30_000_000_000;

/// A struct with nothing behind it.
fn empty() -> Server {
    // SAFETY: integers and pointers; all zero is valid.
    let mut server: Server = unsafe { std::mem::zeroed() };
    server.server_fd = -1;
    server
}

/// The server behind a struct. Looked up by address: nothing in the struct is believed.
fn site_of(server: *mut Server) -> Option<Arc<Site>> {
    INSTANCE.servers.lock().get(&(server as usize)).cloned()
}

fn forget(server: *mut Server) -> Option<Arc<Site>> {
    INSTANCE.servers.lock().remove(&(server as usize))
}

fn positive(value: c_int, otherwise: u32) -> u32 {
    u32::try_from(value).ok().filter(|&value| value > 0).unwrap_or(otherwise)
}

/// What the engine is told. Handlers run on as many threads as the host asked for and no more: one that
/// asks for one thread may count on it.
fn engine_config(config: &Config, keys: Vec<Vec<u8>>) -> config::Config {
    let mut engine = config::Config::default();
    let threads = positive(config.thread_count, 1);
    engine.server.workers = threads.min(WORKERS_MAX);
    engine.server.blocking_threads = threads.min(THREADS_MAX);
    engine.server.max_connections = positive(config.max_connections, CONNECTIONS);
    engine.timeouts.body = positive(config.request_timeout, REQUEST_MS);
    engine.timeouts.header = engine.timeouts.body.min(engine.timeouts.header);
    engine.timeouts.idle = IDLE_MS;
    engine.timeouts.drain = u32::try_from(DRAIN.as_millis()).unwrap_or(u32::MAX);
    engine.auth.keys =
        keys.iter().map(|key| Secret::new(String::from_utf8_lossy(key).as_ref())).collect();
    engine.auth.open = true;
    engine.firewall.enable = config.enable_firewall != 0;
    engine.optimizer.enable = config.enable_optimization != 0;
    engine.legacy = true;
    engine
}

/// # Safety
/// `server` is NULL or writable and stays where it is until server_cleanup; `config` is NULL or a
/// filled Config.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_init(server: *mut Server, config: *const Config) -> c_int {
    guard(-1, || {
        if server.is_null() {
            return -1;
        }
        // A struct at this address that was never cleaned up: its memory is being used anew.
        if let Some(abandoned) = forget(server) {
            abandoned.stop();
        }
        // SAFETY: writable; what it held is not read.
        unsafe { server.write(empty()) };
        // SAFETY: NULL or valid by the caller's promise.
        let Some(config) = (unsafe { config.as_ref() }) else { return -1 };
        let Ok(port) = u16::try_from(config.port) else { return -1 };
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let Ok(listening) = socket::listen_tcp(address, BACKLOG, false) else { return -1 };
        let bound = match socket::local_address(listening.as_raw_fd()) {
            Ok(Some(bound)) => bound.port(),
            _ => return -1,
        };
        // SAFETY: a filled Config by the caller's promise.
        let (keys, log_file) = unsafe { (firewall::config_keys(config), path(config.log_file)) };
        if let Some(file) = log_file {
            super::utils::logging::use_file_unless_chosen(file);
        }
        let mut engine = engine_config(config, keys.clone());
        engine.server.listen = vec![Listen::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, bound)))];
        let request_ms = u64::from(engine.timeouts.body);
        let fd = listening.as_raw_fd();
        let site = Site::new(server, engine, listening, request_ms);
        INSTANCE.servers.lock().insert(server as usize, Arc::new(site));
        INSTANCE.routes.write().add_pages();
        firewall::start(keys);
        // SAFETY: writable.
        unsafe {
            (*server).server_fd = fd;
            (*server).port = bound;
            (*server).thread_count = config.thread_count.max(1);
            (*server).max_connections = config.max_connections;
        }
        0
    })
}

/// Sets `running` in place: the host polls it, signal handlers write it.
///
/// # Safety
/// `server` is valid.
unsafe fn set_running(server: *mut Server, running: c_int) {
    // SAFETY: an aligned int of a live struct.
    unsafe { AtomicI32::from_ptr(&raw mut (*server).running) }.store(running, Relaxed);
}

/// # Safety
/// `server` is NULL or went through server_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_start(server: *mut Server) -> c_int {
    guard(-1, || {
        let Some(site) = site_of(server) else { return -1 };
        // A stop may have ended the firewall.
        firewall::start(site.keys());
        match site.start() {
            Ok(()) => {
                // What changed while it started.
                firewall::publish();
                // SAFETY: known, so it went through server_init.
                unsafe { set_running(server, 1) };
                0
            }
            Err(error) => {
                let line = format!("the server does not start: {error}");
                super::utils::logging::write(super::utils::logging::Level::Error, line.as_bytes());
                -1
            }
        }
    })
}

/// # Safety
/// `server` is NULL or went through server_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_process_events(server: *mut Server) -> c_int {
    // The engine has accepted what there was; a host that calls this in a loop does no harm.
    guard(-1, || if site_of(server).is_some() { 0 } else { -1 })
}

/// # Safety
/// `server` is NULL or went through server_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_stop(server: *mut Server) -> c_int {
    guard(-1, || {
        let Some(site) = site_of(server) else { return -1 };
        // SAFETY: known, so it went through server_init.
        unsafe { set_running(server, 0) };
        site.stop();
        if !site.is_running() {
            firewall::stop();
        }
        0
    })
}

/// # Safety
/// `server` is NULL or went through server_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_cleanup(server: *mut Server) {
    guard((), || {
        let Some(site) = forget(server) else { return };
        // SAFETY: known, so it went through server_init.
        unsafe { set_running(server, 0) };
        site.stop();
        firewall::stop();
        // SAFETY: as above.
        unsafe {
            (*server).server_fd = -1;
            (*server).thread_pool = std::ptr::null_mut();
            (*server).connection_pool = std::ptr::null_mut();
            (*server).request_queue = std::ptr::null_mut();
            (*server).epoll_fds = std::ptr::null_mut();
        }
        // The last holder of the site closes the socket: here, unless a handler is still returning.
        drop(site);
    });
}

/// # Safety
/// `server` is NULL or went through server_init; `response` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_send_response(
    server: *mut Server,
    client_fd: c_int,
    response: *const c_char,
    length: usize,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(content) = (unsafe { bytes(response, length) }) else { return -1 };
        let Some(site) = site_of(server) else { return -1 };
        if client_fd < 0 || response.is_null() {
            return -1;
        }
        match send_all(client_fd, &[content], Some(monotonic_ns() + SEND_NS)) {
            Ok(sent) => {
                site.counts().sent(sent);
                0
            }
            Err((sent, _)) => {
                site.counts().sent(sent);
                -1
            }
        }
    })
}

/// # Safety
/// `server` is NULL or went through server_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn server_handle_request(server: *mut Server, client_fd: c_int) -> c_int {
    guard(-1, || {
        let Some(site) = site_of(server) else { return -1 };
        if client_fd < 0 {
            return -1;
        }
        let deadline = monotonic_ns() + site.request_ms * 1_000_000;
        let mut client = Client { fd: client_fd, deadline, site: &site };
        let begun = monotonic_ns();
        let (message, stay, status) = match client.read() {
            Ok(None) => return -1,
            Ok(Some(request)) => {
                site.count_request();
                answer(&site, &request)
            }
            Err(refused) => {
                site.counts().request();
                let mut message = Vec::new();
                encode::bare(&mut message, refused);
                (message, false, refused)
            }
        };
        let elapsed_us = (monotonic_ns() - begun) / 1000;
        site.counts().response(status, elapsed_us, &site.busy_us);
        let sent = send_all(client_fd, &[&message], Some(monotonic_ns() + SEND_NS));
        site.counts().sent(match sent {
            Ok(sent) | Err((sent, _)) => sent,
        });
        if sent.is_ok() && stay { 0 } else { -1 }
    })
}

/// Answers a request on the calling thread: the message, whether the connection stays, the status.
fn answer(site: &Site, request: &Request) -> (Vec<u8>, bool, u16) {
    let (reply, headers) = reply(site, request);
    let mut answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::Chat(chat) => chat.ask(),
        Reply::Failed(reason) => {
            super::utils::logging::write(super::utils::logging::Level::Error, reason.as_bytes());
            let mut message = Vec::new();
            encode::bare(&mut message, 500);
            return (message, false, 500);
        }
    };
    answer.add_lines(&headers);
    let asked_to_close = answer.close && !(answer.status == 200 && request.asks_to_stay());
    let is_http10 = request.head().version == head::Version::Http10;
    // HTTP/1.0 knows no chunks; the length is known anyway.
    answer.is_streaming &= !is_http10;
    let stay = request.head().keep_alive && !asked_to_close;
    let connection = if stay { "keep-alive" } else { "close" };
    let with_body = request.method() != Method::Head;
    (to_message(&answer, connection, with_body), stay, answer.status)
}

/// A socket that one request is read from, and not a byte more: what follows is the next call's.
struct Client<'a> {
    fd: c_int,
    deadline: u64,
    site: &'a Site,
}

impl Client<'_> {
    /// Reads a whole request. `None`: the client closed or said nothing in time; an error is the
    /// status to refuse with.
    fn read(&mut self) -> Result<Option<Request>, u16> {
        let head_limits = HeadLimits {
            request_line: 8192,
            header_section: 32_768,
            fields: limits::HEADER_FIELDS_MAX,
        };
        let (mut head, mut target) = (RequestHead::new(), Target::default());
        let mut bytes = Vec::new();
        let mut piece = vec![0; 16 * 1024];
        loop {
            let count = match self.peek(&mut piece) {
                Ok(0) | Err(SendError::Closed) => return Ok(None),
                Err(SendError::Timeout) if bytes.is_empty() => return Ok(None),
                Err(SendError::Timeout) => return Err(408),
                Ok(count) => count,
            };
            let before = bytes.len();
            bytes.extend_from_slice(&piece[..count]);
            match head::parse_request(&bytes, &head_limits, &mut head) {
                Ok(Progress::Partial) => self.take(&mut piece[..count]),
                Ok(Progress::Complete) => {
                    bytes.truncate(head.size);
                    self.take(&mut piece[..head.size.saturating_sub(before)]);
                    break;
                }
                Err(refused) => {
                    self.take(&mut piece[..count]);
                    return Err(refused.status());
                }
            }
        }
        target::resolve(&head, &bytes, &mut target).map_err(|refused| refused.status())?;
        let (body, expect) = (head.body, head.expect);
        let mut request = Request::default();
        request.fill(&bytes, &mut head, &mut target, self.peer(), u128::from(monotonic_ns()));
        self.read_body(&mut request, body, expect, &mut piece)?;
        request.terminate_body();
        Ok(Some(request))
    }

    fn read_body(
        &mut self,
        request: &mut Request,
        body: Body,
        expect: Expect,
        piece: &mut [u8],
    ) -> Result<(), u16> {
        let bytes_max = config::Config::default().limits.body;
        if matches!(body, Body::Length(length) if length > bytes_max) {
            return Err(413);
        }
        let mut decoder = BodyDecoder::new(body);
        if expect == Expect::Continue && !decoder.is_done() {
            let sent = send_all(self.fd, &[b"HTTP/1.1 100 Continue\r\n\r\n"], Some(self.deadline));
            sent.map_err(|_| 408_u16)?;
        }
        while !decoder.is_done() {
            let count = match self.peek(piece) {
                Ok(0) | Err(SendError::Closed) => return Err(400),
                Err(SendError::Timeout) => return Err(408),
                Ok(count) => count,
            };
            let decoded = decoder.decode(&piece[..count]).map_err(|_| 400_u16)?;
            let consumed = decoded.consumed;
            request.body_mut().extend_from_slice(&piece[decoded.data.clone()]);
            self.take(&mut piece[..consumed]);
            if request.body().len() as u64 > bytes_max {
                return Err(413);
            }
        }
        Ok(())
    }

    /// What the socket holds, left where it is. 0: the client has ended its side.
    fn peek(&self, into: &mut [u8]) -> Result<usize, SendError> {
        loop {
            wait(self.fd, libc::POLLIN, Some(self.deadline))?;
            let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
            // SAFETY: writes at most the length of the slice.
            let got = unsafe { libc::recv(self.fd, into.as_mut_ptr().cast(), into.len(), flags) };
            match usize::try_from(got) {
                Ok(count) => return Ok(count),
                Err(_) => match std::io::Error::last_os_error().raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => {}
                    _ => return Err(SendError::Closed),
                },
            }
        }
    }

    /// Takes bytes that were peeked at off the socket.
    fn take(&self, seen: &mut [u8]) {
        if seen.is_empty() {
            return;
        }
        self.site.counts().received(seen.len());
        // SAFETY: writes at most the length of the slice. They are there: this thread has seen them.
        unsafe { libc::recv(self.fd, seen.as_mut_ptr().cast(), seen.len(), libc::MSG_DONTWAIT) };
    }

    fn peer(&self) -> Peer {
        // SAFETY: zeroed storage large enough for any address; getpeername writes within its length.
        unsafe {
            let mut storage: libc::sockaddr_in = std::mem::zeroed();
            let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            let asked = libc::getpeername(self.fd, (&raw mut storage).cast(), &mut length);
            if asked != 0 || i32::from(storage.sin_family) != libc::AF_INET {
                return Peer::Unix;
            }
            let address = Ipv4Addr::from(u32::from_be(storage.sin_addr.s_addr));
            Peer::Tcp(SocketAddr::from((address, u16::from_be(storage.sin_port))))
        }
    }
}
