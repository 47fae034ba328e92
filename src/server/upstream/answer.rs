//! What comes back: a head, interim ones before it, a body in its framing, an end.

use std::io::ErrorKind as Io;
use std::os::fd::AsRawFd;

use super::{Trouble, UpState, answer_limits};
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Progress, parse_response};
use crate::http::method::Method;
use crate::pipeline::cut_off;
use crate::server::transport::Transport;
use crate::server::worker::Worker;
use crate::sys::socket;

impl Worker {
    /// Reads the answer as long as there is something to read and somebody who takes it.
    pub(super) fn read_answer(&mut self, key: Key) {
        for round in 0.. {
            let Some(up) = self.ups.get_mut(key) else { return };
            let Some(call) = up.call else { return };
            let is_paused = self.calls.get(call).is_some_and(|state| state.is_paused);
            if up.state != UpState::Busy || !up.is_readable || is_paused {
                return;
            }
            if round == 8 {
                self.list_up(key);
                return;
            }
            let fd = up.fd.as_raw_fd();
            let mut scratch = self.take_scratch();
            let Some(up) = self.ups.get_mut(key) else { return };
            let got = match &mut up.transport {
                Transport::Plain => socket::receive(fd, &mut scratch),
                transport => {
                    let mut cipher = std::mem::take(&mut self.tls_scratch);
                    cipher.resize(limits::READ_BYTES, 0);
                    let got = transport.receive(fd, &mut scratch, &mut cipher);
                    self.tls_scratch = cipher;
                    got
                }
            };
            match got {
                Ok(0) => {
                    self.put_scratch(scratch);
                    self.on_answer_end(key, true);
                    return;
                }
                Ok(count) => {
                    // Less than there was room for: the kernel's buffer is empty (epoll(7)). After a
                    // hang-up no further edge tells of the end: only reading finds it.
                    if count < scratch.len() && !up.transport.is_tls() && !up.is_hung_up {
                        up.is_readable = false;
                    }
                    up.has_answered = true;
                    self.take_answer(key, call, &scratch[..count]);
                    self.put_scratch(scratch);
                    self.flush_call(call);
                }
                Err(error) => {
                    up.is_readable &= error.kind() != Io::WouldBlock;
                    self.put_scratch(scratch);
                    if !matches!(error.kind(), Io::WouldBlock | Io::Interrupted) {
                        self.on_answer_end(key, false);
                        return;
                    }
                }
            }
        }
    }

    /// Takes bytes of an answer: head, body, or what should not be there.
    fn take_answer(&mut self, key: Key, call: Key, bytes: &[u8]) {
        let Some(up) = self.ups.get_mut(key) else { return };
        if up.in_body {
            self.take_answer_body(key, call, bytes);
            return;
        }
        let held = !up.input.is_empty();
        let mut owned = Vec::new();
        let mut rest = bytes;
        if held {
            up.input.extend_from_slice(bytes);
            owned = std::mem::take(&mut up.input);
            rest = &owned;
        }
        loop {
            let Some(up) = self.ups.get_mut(key) else { return };
            let parsed = parse_response(rest, &answer_limits(), Method::Post, &mut up.head);
            match parsed {
                Ok(Progress::Partial) => {
                    up.input = rest.to_vec();
                    return;
                }
                Err(error) => {
                    tracing::warn!("the provider {} answered garbage: {error}", up.provider.name);
                    let failure = Failure::new(502, "the provider's answer is not valid HTTP");
                    self.up_failed(key, Trouble::Answer(failure.code("upstream_garbage")));
                    return;
                }
                Ok(Progress::Complete) => {}
            }
            let size = up.head.size;
            if up.head.status < 200 {
                up.interim += 1;
                if up.interim > limits::UPSTREAM_INTERIM_MAX {
                    let failure = Failure::new(502, "the provider sends no final answer");
                    self.up_failed(key, Trouble::Answer(failure.code("upstream_garbage")));
                    return;
                }
                up.head.reset();
                rest = &rest[size..];
                if rest.is_empty() {
                    return;
                }
                continue;
            }
            up.in_body = true;
            up.decoder = BodyDecoder::new(up.head.body);
            up.keep_alive = up.head.keep_alive;
            let head = std::mem::take(&mut up.head);
            let decided = self.answer_head(call, &head, &rest[..size]);
            if let Some(up) = self.ups.get_mut(key) {
                up.head = head;
            }
            match decided {
                Ok(()) => self.take_answer_body(key, call, &rest[size..]),
                Err(failure) => self.up_failed(key, Trouble::Answer(failure)),
            }
            break;
        }
        // The memory of a held head serves again.
        if let Some(up) = self.ups.get_mut(key) {
            owned.clear();
            if up.input.is_empty() && owned.capacity() <= 16 * 1024 {
                up.input = owned;
            }
        }
    }

    fn take_answer_body(&mut self, key: Key, call: Key, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let Some(up) = self.ups.get_mut(key) else { return };
            if up.decoder.is_done() {
                if at < bytes.len() {
                    // Bytes after the answer: this connection is not to be trusted again.
                    up.keep_alive = false;
                }
                self.up_done(key, call);
                return;
            }
            if at == bytes.len() {
                return;
            }
            let piece = match up.decoder.decode(&bytes[at..]) {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::warn!("the provider {} broke its framing: {error}", up.provider.name);
                    let failure = Failure::new(502, "the provider's answer is not valid HTTP");
                    self.up_failed(key, Trouble::Answer(failure.code("upstream_garbage")));
                    return;
                }
            };
            let data = &bytes[at..][piece.data.clone()];
            at += piece.consumed;
            if !data.is_empty()
                && let Err(failure) = self.answer_data(call, data)
            {
                self.up_failed(key, Trouble::Answer(failure));
                return;
            }
        }
    }

    /// The provider has closed; a reset, or an end that TLS does not vouch for, is no clean end and
    /// never completes a body.
    fn on_answer_end(&mut self, key: Key, is_clean: bool) {
        let Some(up) = self.ups.get_mut(key) else { return };
        let Some(call) = up.call else { return };
        if up.in_body {
            up.keep_alive = false;
            match up.decoder.end_of_input() {
                Ok(()) if is_clean => self.up_done(key, call),
                _ => self.up_failed(key, Trouble::Answer(cut_off())),
            }
            return;
        }
        let failure = Failure::new(502, "the provider closed without an answer");
        let failure = failure.code("upstream_cut");
        let trouble =
            if up.has_answered { Trouble::Answer(failure) } else { Trouble::Connection(failure) };
        self.up_failed(key, trouble);
    }
}
