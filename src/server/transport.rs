//! Bytes to and from a peer: plain, or through TLS.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use rustls::server::{AcceptedAlert, Acceptor};
use rustls::{ClientConnection, Connection};

use super::certificates::Certificates;
use crate::http::proxy::{self, Preface};
use crate::sys::socket;

/// How bytes travel to an upstream.
pub(super) enum Transport {
    /// As they are.
    Plain,
    /// Through TLS.
    Tls(Box<Tls>),
}

/// One TLS connection, of either side.
///
/// What rustls could not send yet waits within it, bounded by its buffer limit. Encrypted bytes
/// that were received and would decrypt to more than it holds wait here, bounded by one read.
pub(super) struct Tls {
    session: Session,
    /// Received and not yet handed to rustls, from `taken` on.
    waiting: Vec<u8>,
    taken: usize,
    /// Decrypted bytes that nobody has read.
    decrypted: usize,
    /// The last read took less from the socket than there was room for: the kernel has no more.
    is_dry: bool,
    has_begun: bool,
    /// A trusted balancer may say first who the client is; within TLS only clients speak.
    awaits_preface: bool,
    /// What has come of that, bounded by its parser.
    preface: Vec<u8>,
    /// The client that it named.
    client: Option<SocketAddr>,
}

enum Session {
    /// A server that has not seen the whole hello, which names the certificate.
    Hello(Box<Acceptor>, Arc<Certificates>),
    Open(Box<Connection>),
}

/// Most bytes taken from a socket at once: rustls holds what it decrypts until it is read.
const FILL_BYTES: usize = 16 * 1024;

/// Bytes that rustls takes before the socket has taken them.
const BUFFERED_BYTES: usize = 64 * 1024;

impl Transport {
    pub(super) fn tls(connection: ClientConnection) -> Transport {
        Transport::Tls(Box::new(Tls::new(Session::Open(Box::new(connection.into())))))
    }

    /// Whether application bytes can travel.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Transport::Plain => true,
            Transport::Tls(tls) => !tls.is_handshaking(),
        }
    }

    /// Whether the kernel's readiness does not tell all: decrypted bytes may wait here.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// Goes on with the handshake as far as the socket allows. `WouldBlock` when it must wait.
    pub(super) fn shake_hands(&mut self, fd: RawFd, scratch: &mut [u8]) -> io::Result<()> {
        let Transport::Tls(tls) = self else { return Ok(()) };
        loop {
            tls.flush(fd)?;
            if !tls.is_handshaking() {
                return Ok(());
            }
            tls.fill(fd, scratch)?;
        }
    }

    /// Receives application bytes. 0 is the end.
    pub(super) fn receive(
        &mut self,
        fd: RawFd,
        into: &mut [u8],
        scratch: &mut [u8],
    ) -> io::Result<usize> {
        match self {
            Transport::Plain => socket::receive(fd, into),
            Transport::Tls(tls) => tls.receive(fd, into, scratch),
        }
    }

    /// Sends what it can of two pieces; returns how many bytes were taken.
    pub(super) fn send(&mut self, fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain if second.is_empty() => socket::send(fd, first),
            Transport::Plain if first.is_empty() => socket::send(fd, second),
            Transport::Plain => socket::send_both(fd, first, second),
            Transport::Tls(tls) => tls.send(fd, first, second),
        }
    }

    /// Sends what was taken and not sent. `WouldBlock` while something is left.
    pub(super) fn flush(&mut self, fd: RawFd) -> io::Result<()> {
        match self {
            Transport::Plain => Ok(()),
            Transport::Tls(tls) => tls.flush(fd),
        }
    }

    /// Says goodbye, if it can be said at once.
    pub(super) fn close(&mut self, fd: RawFd) {
        if let Transport::Tls(tls) = self {
            tls.close(fd);
        }
    }
}

impl Tls {
    /// The server's side of a new connection; with `awaits_preface` a balancer may say before TLS
    /// who its client is (PROXY protocol).
    pub(super) fn accept(certificates: Arc<Certificates>, awaits_preface: bool) -> Box<Tls> {
        let tls = Tls::new(Session::Hello(Box::default(), certificates));
        Box::new(Tls { awaits_preface, ..tls })
    }

    /// The client that a balancer has named, once.
    pub(super) fn take_client(&mut self) -> Option<SocketAddr> {
        self.client.take()
    }

    fn new(session: Session) -> Tls {
        let mut tls = Tls {
            session,
            waiting: Vec::new(),
            taken: 0,
            decrypted: 0,
            is_dry: false,
            has_begun: false,
            awaits_preface: false,
            preface: Vec::new(),
            client: None,
        };
        tls.limit();
        tls
    }

    fn limit(&mut self) {
        if let Session::Open(connection) = &mut self.session {
            connection.set_buffer_limit(Some(BUFFERED_BYTES));
        }
    }

    /// Whether application bytes cannot travel yet.
    pub(super) fn is_handshaking(&self) -> bool {
        match &self.session {
            Session::Hello(..) => true,
            Session::Open(connection) => connection.is_handshaking(),
        }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(super) fn is_unsent(&self) -> bool {
        match &self.session {
            Session::Hello(..) => false,
            Session::Open(connection) => connection.wants_write(),
        }
    }

    /// Whether nothing can be read before the socket tells that it is readable again.
    pub(super) fn is_dry(&self) -> bool {
        self.is_dry && self.decrypted == 0 && self.taken == self.waiting.len()
    }

    /// Receives application bytes, shaking hands first. 0 is the end. `Unsupported` when a client
    /// begins as no TLS record does, but as an HTTP request.
    pub(super) fn receive(
        &mut self,
        fd: RawFd,
        into: &mut [u8],
        scratch: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            if let Session::Open(connection) = &mut self.session {
                match connection.reader().read(into) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(count) => {
                        self.decrypted = self.decrypted.saturating_sub(count);
                        return Ok(count);
                    }
                    // An end without close_notify could be an attacker's cut.
                    Err(error) => return Err(error),
                }
            }
            self.fill(fd, scratch)?;
            // The handshake's answers, and those of the protocol itself, such as a key update.
            match self.flush(fd) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Sends what it can of two pieces; returns how many bytes were taken. `WouldBlock` when none
    /// could be; with two empty pieces, when something that was taken before still waits.
    pub(super) fn send(&mut self, fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.flush(fd)?;
        let Session::Open(connection) = &mut self.session else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let mut count = connection.writer().write(first)?;
        if count == first.len() {
            count += connection.writer().write(second)?;
        }
        match self.flush(fd) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Err(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    /// Sends what was taken and not sent. `WouldBlock` while something is left.
    pub(super) fn flush(&mut self, fd: RawFd) -> io::Result<()> {
        let Session::Open(connection) = &mut self.session else { return Ok(()) };
        while connection.wants_write() {
            match connection.write_tls(&mut Socket(fd)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Says goodbye, if it can be said at once.
    pub(super) fn close(&mut self, fd: RawFd) {
        if let Session::Open(connection) = &mut self.session {
            connection.send_close_notify();
            // Nobody waits for it.
            drop(self.flush(fd));
        }
    }

    /// Takes one read of the socket in, or what was left of the last one.
    fn fill(&mut self, fd: RawFd, scratch: &mut [u8]) -> io::Result<()> {
        if self.taken < self.waiting.len() {
            let waiting = std::mem::take(&mut self.waiting);
            let result = self.take(fd, &waiting[self.taken..]);
            let left = *result.as_ref().unwrap_or(&0);
            self.taken = waiting.len() - left;
            if left > 0 {
                self.waiting = waiting;
            } else {
                self.taken = 0;
            }
            return result.map(|_| ());
        }
        let room = scratch.len().min(FILL_BYTES);
        let count = socket::receive(fd, &mut scratch[..room])?;
        self.is_dry = count < room;
        if count == 0 {
            return self.end();
        }
        if !self.awaits_preface {
            return self.begin(fd, &scratch[..count]);
        }
        self.preface.extend_from_slice(&scratch[..count]);
        let size = match proxy::parse(&self.preface) {
            Preface::Partial => return Ok(()),
            Preface::Malformed => return Err(ErrorKind::InvalidData.into()),
            Preface::None => 0,
            Preface::Client { size, client } => {
                self.client = client;
                size
            }
        };
        self.awaits_preface = false;
        let begun = std::mem::take(&mut self.preface);
        if size < begun.len() { self.begin(fd, &begun[size..]) } else { Ok(()) }
    }

    /// Takes in what a read of the socket has brought.
    fn begin(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<()> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if is_first
            && matches!(self.session, Session::Hello(..))
            && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        {
            return Err(ErrorKind::Unsupported.into());
        }
        let left = self.take(fd, bytes)?;
        self.waiting.extend_from_slice(&bytes[bytes.len() - left..]);
        Ok(())
    }

    /// The peer has ended its side.
    fn end(&mut self) -> io::Result<()> {
        match &mut self.session {
            Session::Open(connection) => {
                connection.read_tls(&mut io::empty())?;
                match connection.is_handshaking() {
                    true => Err(ErrorKind::UnexpectedEof.into()),
                    false => Ok(()),
                }
            }
            Session::Hello(..) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Hands bytes to rustls until it holds enough; returns how many are left.
    fn take(&mut self, fd: RawFd, mut bytes: &[u8]) -> io::Result<usize> {
        loop {
            match &mut self.session {
                Session::Hello(acceptor, certificates) => {
                    acceptor.read_tls(&mut bytes)?;
                    let accepted = match acceptor.accept() {
                        Ok(None) if bytes.is_empty() => return Ok(0),
                        Ok(None) => continue,
                        Ok(Some(accepted)) => accepted,
                        Err(refused) => return Err(told(fd, refused)),
                    };
                    let config = certificates.of(accepted.client_hello().server_name());
                    let connection = accepted
                        .into_connection(Arc::clone(config))
                        .map_err(|refused| told(fd, refused))?;
                    self.session = Session::Open(Box::new(connection.into()));
                    self.limit();
                }
                Session::Open(connection) => {
                    if self.decrypted >= FILL_BYTES {
                        return Ok(bytes.len());
                    }
                    if !bytes.is_empty() && connection.read_tls(&mut bytes)? == 0 {
                        // Behind a close_notify nothing counts.
                        return Ok(0);
                    }
                }
            }
            if let Session::Open(connection) = &mut self.session {
                match connection.process_new_packets() {
                    Ok(state) => self.decrypted = state.plaintext_bytes_to_read(),
                    Err(error) => {
                        // It has an alert to send.
                        drop(self.flush(fd));
                        return Err(io::Error::new(ErrorKind::InvalidData, error));
                    }
                }
            }
            if bytes.is_empty() {
                return Ok(0);
            }
        }
    }
}

/// Tells the peer why its hello is refused.
fn told(fd: RawFd, (error, mut alert): (rustls::Error, AcceptedAlert)) -> io::Error {
    drop(alert.write_all(&mut Socket(fd)));
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Where rustls writes.
struct Socket(RawFd);

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        socket::send(self.0, bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send_pieces(self.0, pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
