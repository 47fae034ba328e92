//! Content codings of an upstream's answer (RFC 9110 section 8.4.1), decoded as it comes in.
//!
//! We ask for none, so that what passes can be read; some upstreams compress all the same, and a
//! stream cut into compressed pieces is still one body: one decoder reads it from beginning to end,
//! wherever it is cut, and hands on all that a piece amounts to.
#![forbid(unsafe_code)]

use std::io::{Error, ErrorKind, Result, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Reads one body.
pub struct Decoder {
    inner: Inner,
}

enum Inner {
    Gzip(MultiGzDecoder<Sink>),
    Zlib(ZlibDecoder<Sink>),
    Raw(DeflateDecoder<Sink>),
    /// "deflate" whose first bytes, which tell the two kinds apart, have not come.
    Unknown(Vec<u8>, usize),
}

impl Decoder {
    /// The decoder of a coding; none for one that we do not know. One piece of input may grow to
    /// `bytes_max` bytes.
    pub fn new(coding: &[u8], bytes_max: usize) -> Option<Decoder> {
        let sink = Sink { bytes: Vec::new(), bytes_max };
        let inner = match coding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Inner::Gzip(MultiGzDecoder::new(sink)),
            b"deflate" => Inner::Unknown(Vec::new(), bytes_max),
            _ => return None,
        };
        Some(Decoder { inner })
    }

    /// Decodes a piece, cut anywhere.
    ///
    /// # Errors
    /// It is not what the coding says, or grows beyond its bound.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        if let Inner::Unknown(held, bytes_max) = &mut self.inner {
            held.extend_from_slice(piece);
            let &[first, second, ..] = held.as_slice() else { return Ok(Vec::new()) };
            let sink = Sink { bytes: Vec::new(), bytes_max: *bytes_max };
            let held = std::mem::take(held);
            // RFC 1950 section 2.2; many servers say "deflate" and leave that envelope out.
            let is_zlib =
                first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0;
            self.inner = match is_zlib {
                true => Inner::Zlib(ZlibDecoder::new(sink)),
                false => Inner::Raw(DeflateDecoder::new(sink)),
            };
            return self.feed(&held);
        }
        match &mut self.inner {
            Inner::Gzip(decoder) => {
                decoder.write_all(piece)?;
                decoder.flush()?;
                Ok(decoder.get_mut().take())
            }
            Inner::Zlib(decoder) => {
                decoder.write_all(piece)?;
                decoder.flush()?;
                Ok(decoder.get_mut().take())
            }
            Inner::Raw(decoder) => {
                decoder.write_all(piece)?;
                decoder.flush()?;
                Ok(decoder.get_mut().take())
            }
            Inner::Unknown(..) => Ok(Vec::new()),
        }
    }

    /// The body has ended: the rest of it.
    ///
    /// # Errors
    /// The end is missing.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.inner {
            Inner::Gzip(decoder) => Ok(decoder.finish()?.bytes),
            Inner::Zlib(decoder) => Ok(decoder.finish()?.bytes),
            Inner::Raw(decoder) => Ok(decoder.finish()?.bytes),
            Inner::Unknown(held, _) if held.is_empty() => Ok(held),
            Inner::Unknown(..) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Takes what was decoded, up to a bound.
struct Sink {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Sink {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> Result<usize> {
        if self.bytes.len() + piece.len() > self.bytes_max {
            return Err(Error::other("a piece that grows beyond its bound"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"größer\"}}]}\n\n";

    fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            _ => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// Wrong: a decoder for each piece, which fails at the second; a body that is lost at a cut.
    #[test]
    fn one_decoder_reads_a_body_at_every_cut() {
        let text = TEXT.repeat(3);
        for (coding, name) in [("gzip", "GZIP "), ("zlib", "deflate"), ("raw", "deflate")] {
            let bytes = coded(coding, text.as_bytes());
            for cut in 0..=bytes.len() {
                let mut decoder = Decoder::new(name.as_bytes(), 1 << 20).unwrap();
                let mut out = decoder.feed(&bytes[..cut]).unwrap();
                out.extend(decoder.feed(&bytes[cut..]).unwrap());
                out.extend(decoder.finish().unwrap());
                assert_eq!(String::from_utf8(out).unwrap(), text, "{coding} cut at {cut}");
            }
        }
        // Two members one after the other are one body (RFC 1952 section 2.2).
        let twice = [coded("gzip", b"one "), coded("gzip", b"two")].concat();
        let mut decoder = Decoder::new(b"gzip", 1 << 20).unwrap();
        let mut out = decoder.feed(&twice).unwrap();
        out.extend(decoder.finish().unwrap());
        assert_eq!(out, b"one two");
    }

    /// Wrong: an event that waits in the decoder for the next piece.
    #[test]
    fn a_flushed_piece_is_handed_on_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = Decoder::new(b"gzip", 1 << 20).unwrap();
        for _ in 0..3 {
            encoder.write_all(TEXT.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let piece = std::mem::take(encoder.get_mut());
            assert_eq!(decoder.feed(&piece).unwrap(), TEXT.as_bytes());
        }
    }

    #[test]
    fn bombs_garbage_and_cut_bodies_are_errors() {
        let bomb = coded("gzip", &vec![0; 1 << 22]);
        assert!(Decoder::new(b"gzip", 1 << 20).unwrap().feed(&bomb).is_err());
        assert!(Decoder::new(b"gzip", 1 << 20).unwrap().feed(b"{\"a\":1}{\"b\":22}").is_err());
        let whole = coded("gzip", TEXT.as_bytes());
        let mut cut = Decoder::new(b"gzip", 1 << 20).unwrap();
        cut.feed(&whole[..whole.len() - 9]).unwrap();
        assert!(cut.finish().is_err());
        assert!(Decoder::new(b"br", 1).is_none());
    }
}
