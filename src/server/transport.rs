//! Bytes to and from an upstream: plain, or through TLS.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::RawFd;

use rustls::ClientConnection;

use crate::sys::socket;

/// How bytes travel.
pub(super) enum Transport {
    /// As they are.
    Plain,
    /// Through TLS.
    Tls(Box<Tls>),
}

/// A TLS connection and what it could not send.
pub(super) struct Tls {
    connection: ClientConnection,
    unsent: Vec<u8>,
}

impl Transport {
    pub(super) fn tls(connection: ClientConnection) -> Transport {
        Transport::Tls(Box::new(Tls { connection, unsent: Vec::new() }))
    }

    /// Whether application bytes can travel.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Transport::Plain => true,
            Transport::Tls(tls) => !tls.connection.is_handshaking(),
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
            if !tls.connection.is_handshaking() {
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
        let Transport::Tls(tls) = self else { return socket::receive(fd, into) };
        loop {
            match tls.connection.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An end without close_notify could be an attacker's cut.
                other => return other,
            }
            tls.fill(fd, scratch)?;
            // Answers of the protocol itself, such as a key update.
            match tls.flush(fd) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Sends what it can of two pieces; returns how many bytes were taken.
    pub(super) fn send(&mut self, fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let tls = match self {
            Transport::Plain if second.is_empty() => return socket::send(fd, first),
            Transport::Plain if first.is_empty() => return socket::send(fd, second),
            Transport::Plain => return socket::send_both(fd, first, second),
            Transport::Tls(tls) => tls,
        };
        tls.flush(fd)?;
        let mut count = tls.connection.writer().write(first)?;
        if count == first.len() {
            count += tls.connection.writer().write(second)?;
        }
        match tls.flush(fd) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ if count == 0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
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
            tls.connection.send_close_notify();
            // Nobody waits for it.
            drop(tls.flush(fd));
        }
    }
}

impl Tls {
    fn flush(&mut self, fd: RawFd) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.unsent)?;
        }
        let mut sent = 0;
        let result = loop {
            if sent == self.unsent.len() {
                break Ok(());
            }
            match socket::send(fd, &self.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.unsent.drain(..sent);
        result
    }

    /// Takes one read of the socket in.
    fn fill(&mut self, fd: RawFd, scratch: &mut [u8]) -> io::Result<()> {
        // A quarter of the buffer: rustls holds what it decrypts until it is read.
        let room = scratch.len().min(16 * 1024);
        let count = socket::receive(fd, &mut scratch[..room])?;
        if count == 0 {
            self.connection.read_tls(&mut io::empty())?;
            if self.connection.is_handshaking() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let mut bytes = &scratch[..count];
        loop {
            if !bytes.is_empty() {
                self.connection.read_tls(&mut bytes)?;
            }
            let processed = self.connection.process_new_packets();
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }
}
