//! A streamed body on its way through an encoder into chunks.

use crate::http::coding::Encoder;
use crate::http::encode;

/// The encoder of one streamed answer.
pub(super) struct Coded {
    encoder: Encoder,
    /// What was encoded and is not in a chunk yet.
    ready: Vec<u8>,
    /// Every turn's bytes are to be read by the client at once: the length of the body was not
    /// known, so whoever writes it may wait between two pieces.
    flushes: bool,
    is_dirty: bool,
    /// The encoder has failed: the body must not look whole.
    is_broken: bool,
}

impl Coded {
    pub(super) fn new(encoder: Encoder, flushes: bool) -> Coded {
        Coded { encoder, ready: Vec::new(), flushes, is_dirty: false, is_broken: false }
    }

    /// Takes in body bytes; appends chunks to `out`.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.is_dirty = true;
        self.is_broken |= self.encoder.feed(bytes, &mut self.ready).is_err();
        self.hand_over(out);
    }

    /// The turn is over: what the client may read now is in `out`.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        if self.flushes && std::mem::take(&mut self.is_dirty) {
            self.is_broken |= self.encoder.flush(&mut self.ready).is_err();
            self.hand_over(out);
        }
    }

    /// The body is complete: appends the rest and the last chunk. False: it cannot be completed.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> bool {
        let mut ready = self.ready;
        if self.is_broken || self.encoder.finish(&mut ready).is_err() {
            return false;
        }
        encode::chunk(out, &ready);
        out.extend_from_slice(encode::LAST_CHUNK);
        true
    }

    fn hand_over(&mut self, out: &mut Vec<u8>) {
        encode::chunk(out, &self.ready);
        self.ready.clear();
    }
}
