//! Content codings of responses (RFC 9110 section 8.4): which one a client takes, and writing in it.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};

/// A content coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

impl Coding {
    /// Its name in Content-Encoding.
    pub fn token(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    /// From its name.
    pub fn from_token(token: &str) -> Option<Coding> {
        Some(match token {
            "gzip" => Coding::Gzip,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return None,
        })
    }
}

/// Which of `offered` a client takes best, by the values of its Accept-Encoding fields (RFC 9110
/// section 12.5.3); of those it likes the same, the first. `None`: the body goes out as it is. An
/// element that breaks the grammar names nothing.
pub fn negotiate<'a>(
    accepted: impl Iterator<Item = &'a [u8]> + Clone,
    offered: &[Coding],
) -> Option<Coding> {
    let weight_of = |wanted: &str| {
        let mut elements = accepted.clone().flat_map(|value| value.split(|&byte| byte == b','));
        elements.find_map(|element| weight(element, wanted))
    };
    let any = weight_of("*");
    let plain = weight_of("identity").unwrap_or(0);
    let mut best = None;
    for coding in offered {
        let mut weight = weight_of(coding.token());
        if *coding == Coding::Gzip {
            weight = weight.or_else(|| weight_of("x-gzip"));
        }
        let weight = weight.or(any).unwrap_or(0);
        if weight > 0 && weight >= plain && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, *coding));
        }
    }
    best.map(|(_, coding)| coding)
}

/// The weight, in thousandths, of an element such as `gzip;q=0.5`, if it names `wanted`.
fn weight(element: &[u8], wanted: &str) -> Option<u16> {
    let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    if !parts.next()?.eq_ignore_ascii_case(wanted.as_bytes()) {
        return None;
    }
    let Some(parameter) = parts.next() else { return Some(1000) };
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, digits) = match value {
        [whole, b'.', digits @ ..] => (*whole, digits),
        [whole] => (*whole, &[][..]),
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut thousandths = 0;
    for place in 0..3 {
        thousandths = thousandths * 10 + u16::from(digits.get(place).map_or(0, |d| d - b'0'));
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The window of a brotli or zstd encoder, as a power of two: a quarter of a megabyte remembers
/// enough of an answer, and what a hundred streams hold stays bounded.
const WINDOW_BITS: u32 = 18;
/// The block a brotli encoder collects before it works, in bytes.
const BROTLI_BLOCK_BYTES: usize = 4096;

/// Writes one body in a coding.
pub struct Encoder(Kind);

enum Kind {
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// An encoder at the beginning of a body. `level` is 1, the quickest, to 9, the smallest;
    /// `length` that of the body, if it is known: a small body needs small tables.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding, level: u32, length: Option<u64>) -> io::Result<Encoder> {
        let level = level.clamp(1, 9);
        // The smallest window that holds the body; 2^10 is the smallest that there is.
        let bits = length.map_or(WINDOW_BITS, |length| u64::BITS - length.leading_zeros());
        let window_bits = bits.clamp(10, WINDOW_BITS);
        Ok(Encoder(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(level);
                Kind::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
            Coding::Brotli => Kind::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BLOCK_BYTES,
                level,
                window_bits,
            ))),
            Coding::Zstd => {
                let level = i32::try_from(level).unwrap_or(1);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(window_bits)?;
                encoder.set_pledged_src_size(length)?;
                Kind::Zstd(encoder)
            }
        }))
    }

    /// Takes in a piece of the body; appends to `out` what is ready.
    ///
    /// # Errors
    /// The encoder has failed: the body cannot be completed.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.write_all(data)?,
            Kind::Brotli(encoder) => encoder.write_all(data)?,
            Kind::Zstd(encoder) => encoder.write_all(data)?,
        }
        self.hand_over(out);
        Ok(())
    }

    /// Appends everything that was taken in, so that the client can read all of it now.
    ///
    /// # Errors
    /// As [`Encoder::feed`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.flush()?,
            Kind::Brotli(encoder) => encoder.flush()?,
            Kind::Zstd(encoder) => encoder.flush()?,
        }
        self.hand_over(out);
        Ok(())
    }

    /// The body is complete: appends the rest.
    ///
    /// # Errors
    /// As [`Encoder::feed`].
    pub fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        let rest = match self.0 {
            Kind::Gzip(encoder) => encoder.finish()?,
            Kind::Brotli(encoder) => encoder.into_inner(),
            Kind::Zstd(encoder) => encoder.finish()?,
        };
        out.extend_from_slice(&rest);
        Ok(())
    }

    fn hand_over(&mut self, out: &mut Vec<u8>) {
        let ready = match &mut self.0 {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
        };
        out.append(ready);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// What a client can read of a body that has not ended.
    fn readable(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut reader: Box<dyn std::io::Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        };
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            text.extend_from_slice(&piece[..count]);
        }
        text
    }

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match coding {
            Coding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
            }
            Coding::Brotli => {
                brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text).unwrap();
            }
            Coding::Zstd => {
                zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text).unwrap();
            }
        }
        text
    }

    /// A client that is sent what it cannot read sees garbage.
    #[test]
    fn a_client_gets_what_it_likes_best() {
        let check = |accepted: &[&str], want: Option<Coding>| {
            let values = accepted.iter().map(|value| value.as_bytes());
            assert_eq!(negotiate(values, &ALL), want, "{accepted:?}");
        };
        check(&[], None);
        check(&[""], None);
        check(&["gzip"], Some(Coding::Gzip));
        check(&["x-gzip"], Some(Coding::Gzip));
        check(&["GZIP, deflate, br"], Some(Coding::Brotli));
        check(&["gzip, deflate, br, zstd"], Some(Coding::Zstd));
        check(&["gzip", "br;q=0.9"], Some(Coding::Gzip));
        check(&["gzip;q=0, br;q=0"], None);
        check(&["*"], Some(Coding::Zstd));
        check(&["*;q=0.1, gzip ; q=0.2"], Some(Coding::Gzip));
        check(&["zstd;q=0, *"], Some(Coding::Brotli));
        check(&["gzip;q=0.5, identity"], None);
        check(&["gzip;q=0.5, identity;q=0.5"], Some(Coding::Gzip));
        check(&["identity"], None);
        check(&["identity;q=0"], None);
        check(&["gzip;q=2", "br;q=0.1234", "zstd;quality=1"], None);
        check(&["gzip;q=1.000"], Some(Coding::Gzip));
        check(&["gzip;q=1.001"], None);
        check(&["gzipx, xbr, deflate"], None);
    }

    /// A stream that is not flushed whole keeps a client waiting for words that were said.
    #[test]
    fn what_was_flushed_can_be_read_and_the_whole_is_what_went_in() {
        for coding in ALL {
            for level in [1, 4, 9] {
                let mut encoder = Encoder::new(coding, level, None).unwrap();
                let (mut out, mut text) = (Vec::new(), Vec::new());
                for round in 0..50_u32 {
                    let piece = format!("{{\"round\":{round},\"text\":\"again and again\"}}\n");
                    text.extend_from_slice(piece.as_bytes());
                    encoder.feed(piece.as_bytes(), &mut out).unwrap();
                    encoder.flush(&mut out).unwrap();
                    assert_eq!(readable(coding, &out), text, "{coding:?} {level} {round}");
                }
                let flushed = out.len();
                encoder.finish(&mut out).unwrap();
                assert!(out.len() - flushed < 64, "{coding:?}: the end holds text back");
                assert_eq!(decoded(coding, &out), text, "{coding:?}");
            }
        }
    }

    /// Told the length or not, and around the sizes of windows.
    #[test]
    fn bodies_of_any_length_come_back() {
        let bytes = |length: usize| (0..=255).cycle().take(length).collect::<Vec<u8>>();
        let cycles = [0, 1, 1023, 1024, 1025, 16 << 10, (1 << 18) + 1, 100_000].map(bytes);
        for text in cycles.into_iter().chain([vec![b'x'; 3 << 20]]) {
            for (coding, is_told) in
                ALL.iter().flat_map(|coding| [(*coding, true), (*coding, false)])
            {
                let length = is_told.then_some(text.len() as u64);
                let mut encoder = Encoder::new(coding, 4, length).unwrap();
                let mut out = Vec::new();
                for piece in text.chunks(30_000) {
                    encoder.feed(piece, &mut out).unwrap();
                }
                encoder.finish(&mut out).unwrap();
                assert_eq!(decoded(coding, &out), text, "{coding:?} {length:?}");
            }
        }
    }
}
