//! An HTTP/1.1 client that hides nothing: it sends the bytes it is given, returns an answer's head
//! and body as they came, and reads an answer no further than its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::PATIENCE;

/// A client's side of TLS over a socket.
pub type TlsStream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// One connection.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as received, without the empty line.
    pub head: String,
    /// The body, de-chunked.
    pub body: Vec<u8>,
    /// The data of each chunk, when it was chunked.
    pub chunks: Vec<Vec<u8>>,
}

impl Answer {
    /// The value of a header field; those of one name are joined with ", ".
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The `data` of each server-sent event.
    pub fn events(&self) -> Vec<String> {
        self.text()
            .split("\n\n")
            .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
            .map(str::to_owned)
            .collect()
    }
}

impl Connection {
    /// Connects to a port on 127.0.0.1.
    pub fn open(port: u16) -> Connection {
        Connection::of(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
    }

    /// Takes over a connected socket.
    pub fn of(stream: TcpStream) -> Connection {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream: Stream::Tcp(stream), buffer: Vec::new() }
    }

    /// Connects from an address of the loopback network. `None` when that fails.
    pub fn open_from(source: Ipv4Addr, port: u16) -> Option<Connection> {
        let address = |ip: Ipv4Addr, port: u16| libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
            sin_zero: [0; 8],
        };
        let (from, to) = (address(source, 0), address(Ipv4Addr::LOCALHOST, port));
        let size = size_of::<libc::sockaddr_in>() as u32;
        // SAFETY: socket takes no pointer.
        let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return None;
        }
        // SAFETY: the descriptor is new and nobody else's.
        let stream = unsafe { TcpStream::from_raw_fd(raw) };
        // SAFETY: both addresses live during the calls and have the size that is told.
        let done = unsafe {
            libc::bind(raw, (&raw const from).cast(), size) == 0
                && libc::connect(raw, (&raw const to).cast(), size) == 0
        };
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        done.then_some(Connection { stream: Stream::Tcp(stream), buffer: Vec::new() })
    }

    /// Speaks TLS to a port on 127.0.0.1, asking for a name. The handshake comes with the first
    /// bytes.
    pub fn open_tls(
        port: u16,
        config: &std::sync::Arc<rustls::ClientConfig>,
        name: &str,
    ) -> Connection {
        let plain = Connection::open(port);
        let Stream::Tcp(stream) = plain.stream else { unreachable!() };
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let tls = rustls::ClientConnection::new(std::sync::Arc::clone(config), name).unwrap();
        let stream = Stream::Tls(Box::new(rustls::StreamOwned::new(tls, stream)));
        Connection { stream, buffer: Vec::new() }
    }

    /// The TLS of a connection that speaks it.
    pub fn tls(&mut self) -> &mut TlsStream {
        match &mut self.stream {
            Stream::Tls(stream) => stream,
            _ => panic!("it does not speak TLS"),
        }
    }

    /// Connects to a Unix socket.
    pub fn open_unix(path: &std::path::Path) -> Connection {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream: Stream::Unix(stream), buffer: Vec::new() }
    }

    /// Sends bytes. Panics when the peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Connection {
        self.try_send(bytes).unwrap();
        self
    }

    /// Sends bytes to a peer that may have closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Stream::Unix(stream) => stream.write_all(bytes.as_ref()),
            Stream::Tls(stream) => {
                stream.write_all(bytes.as_ref())?;
                stream.flush()
            }
        }
    }

    /// Sends a GET request.
    pub fn get(&mut self, target: &str) -> &mut Connection {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
    }

    /// Sends a POST request with a JSON body.
    pub fn post(&mut self, target: &str, body: &str) -> &mut Connection {
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Reads one final answer with its body; interim answers are passed over.
    pub fn answer(&mut self) -> Answer {
        loop {
            let answer = self.one_answer(false);
            if answer.status >= 200 {
                return answer;
            }
        }
    }

    /// Reads one answer, which may be an interim one.
    pub fn interim(&mut self) -> Answer {
        self.one_answer(false)
    }

    /// Reads the answer to a HEAD request: a head and no body.
    pub fn answer_to_head(&mut self) -> Answer {
        self.one_answer(true)
    }

    /// Reads a head only; the body is left for [`Connection::chunk`] or [`Connection::take`].
    pub fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            assert!(self.fill(), "closed within a head: {:?}", lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {head:?}"));
        assert!(head.starts_with("HTTP/1.1 ") || head.starts_with("HTTP/1.0 "), "{head:?}");
        Answer { status, head, body: Vec::new(), chunks: Vec::new() }
    }

    fn one_answer(&mut self, to_head: bool) -> Answer {
        let mut answer = self.head();
        let length = answer.header("content-length");
        let coding = answer.header("transfer-encoding");
        assert!(length.is_none() || coding.is_none(), "framed twice: {:?}", answer.head);
        if to_head || answer.status < 200 || answer.status == 204 || answer.status == 304 {
            return answer;
        }
        if coding.as_deref() == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.body.extend_from_slice(&chunk);
                answer.chunks.push(chunk);
            }
        } else if let Some(length) = length {
            answer.body = self.take(length.parse().unwrap());
        } else {
            answer.body = self.rest();
        }
        answer
    }

    /// Reads one chunk of a chunked body; `None` at its end, trailers included.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.take_line();
        let size =
            usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
        if size == 0 {
            while !self.take_line().is_empty() {}
            return None;
        }
        let data = self.take(size);
        assert_eq!(self.take(2), b"\r\n", "a chunk ends with CR LF");
        Some(data)
    }

    fn take_line(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8(self.buffer[..at].to_vec()).unwrap();
                self.buffer.drain(..at + 2);
                return line;
            }
            assert!(self.fill(), "closed within a line: {:?}", lossy(&self.buffer));
        }
    }

    /// Reads exactly so many bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "closed after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads until the peer closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Reads until the peer closes or resets the connection.
    pub fn rest_or_reset(&mut self) -> Vec<u8> {
        let mut piece = [0; 4096];
        loop {
            let got = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut piece),
                Stream::Unix(stream) => stream.read(&mut piece),
                Stream::Tls(stream) => stream.read(&mut piece),
            };
            match got {
                Ok(count) if count > 0 => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("neither bytes nor an end came: {error}")
                }
                _ => return std::mem::take(&mut self.buffer),
            }
        }
    }

    /// Waits for the peer to close. Panics when it sends something first.
    pub fn expect_close(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more came before the close: {:?}", lossy(&rest));
    }

    /// Whether nothing comes and the connection stays open for so long.
    pub fn quiet_for(&mut self, time: Duration) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        let mut poll = libc::pollfd { fd: self.descriptor(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, alive during the call.
        let ready = unsafe { libc::poll(&mut poll, 1, time.as_millis() as i32) };
        assert!(ready >= 0);
        ready == 0
    }

    /// Whether the peer takes more within half a second.
    pub fn can_send(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.descriptor(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one pollfd, alive during the call.
        unsafe { libc::poll(&mut poll, 1, 500) == 1 }
    }

    /// Sends what fits without waiting; returns how much.
    pub fn send_some(&mut self, bytes: &[u8]) -> usize {
        // SAFETY: the pointer and the length are those of one slice.
        let sent = unsafe {
            libc::send(
                self.descriptor(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).unwrap_or(0)
    }

    /// Closes our sending side.
    pub fn finish(&mut self) -> &mut Connection {
        match &mut self.stream {
            // A peer that has reset it already is no error here.
            Stream::Tcp(stream) => drop(stream.shutdown(Shutdown::Write)),
            Stream::Unix(stream) => drop(stream.shutdown(Shutdown::Write)),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
                stream.sock.shutdown(Shutdown::Write).unwrap();
            }
        }
        self
    }

    /// Makes the kernel's receive buffer small, so that a writer soon meets back-pressure. Not
    /// smaller than two segments of the loopback: then Linux sends on window probes only.
    pub fn receive_little(&mut self) -> &mut Connection {
        let size: i32 = 128 * 1024;
        // SAFETY: the option is an int, alive during the call.
        let done = unsafe {
            libc::setsockopt(
                self.descriptor(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw const size).cast(),
                size_of::<i32>() as u32,
            )
        };
        assert_eq!(done, 0);
        self
    }

    /// Ends the connection with a reset instead of a close.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option is a linger, alive during the call.
        let done = unsafe {
            libc::setsockopt(
                self.descriptor(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as u32,
            )
        };
        assert_eq!(done, 0);
    }

    fn descriptor(&self) -> i32 {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tls(stream) => stream.sock.as_raw_fd(),
        }
    }

    /// Reads once; false when the peer has closed or reset.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65536];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut bytes),
            Stream::Unix(stream) => stream.read(&mut bytes),
            Stream::Tls(stream) => stream.read(&mut bytes),
        };
        match read {
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("{error}; unread: {:?}", lossy(&self.buffer)),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned()
}
