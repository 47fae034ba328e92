//! Where a body ends. This is the only place that decides it (RFC 9112 sections 6 and 7).
//!
//! The chunked coding is read by an automaton over single bytes, strictly: lines end in CR LF and
//! in nothing else, sizes are one to sixteen hexadecimal digits, extensions and trailers follow
//! their grammar. Everything that is not data has a bound, each by itself and in sum, so that a
//! peer cannot make the server read much for little. Extensions are dropped; trailers are checked
//! and dropped, whatever their names: nothing here ever merges them into the head.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use super::chars;
use super::head::Body;

/// Hexadecimal digits of a chunk size, leading zeros included.
pub const CHUNK_SIZE_DIGITS_MAX: u16 = 16;
/// Bytes of the extensions of one chunk.
pub const CHUNK_EXTENSION_BYTES_MAX: u16 = 1024;
/// Bytes of extensions in sum that are not made up for by as many bytes of data.
pub const CHUNK_OVERHEAD_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of the trailer section, its blank line included.
pub const TRAILER_BYTES_MAX: u32 = 8 * 1024;

/// Where the decoder stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    Done,
    Length,
    UntilClose,
    /// In the digits of a chunk size.
    Size,
    /// After blanks: only a semicolon may follow.
    BeforeExtension,
    /// After a semicolon.
    ExtensionStart,
    ExtensionName,
    /// After blanks behind an extension's name.
    ExtensionNameBlank,
    /// After an equals sign.
    ValueStart,
    Value,
    Quoted,
    QuotedEscape,
    QuotedEnd,
    /// After the CR of a chunk's size line.
    SizeLf,
    Data,
    /// Behind the data of a chunk.
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last line.
    FinalLf,
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// Which of them are body data; may be empty.
    pub data: Range<usize>,
    /// Whether the body is complete; what follows `consumed` belongs to the next message.
    pub done: bool,
}

/// Why a body is refused. The connection cannot be used any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BodyError {
    /// A chunk size is missing, not hexadecimal or too long.
    BadChunkSize,
    /// A chunk extension breaks its grammar.
    BadChunkExtension,
    /// A chunk extension is too long.
    ChunkExtensionTooLong,
    /// All extensions together are too long for the data they came with.
    ChunkOverheadTooLarge,
    /// A chunk's data is not followed by CR LF.
    BadChunkEnd,
    /// A line feed without a carriage return.
    BareLf,
    /// A carriage return without a line feed.
    BareCr,
    /// A trailer line breaks its grammar.
    BadTrailer,
    /// The trailer section is too large.
    TrailerTooLarge,
    /// The connection ended before the body did.
    ClosedEarly,
}

impl BodyError {
    /// The status for a client: 400.
    pub fn status(&self) -> u16 {
        400
    }

    /// What was expected, in lower case without a full stop.
    pub fn message(&self) -> &'static str {
        match self {
            BodyError::BadChunkSize => "a chunk size must be 1 to 16 hexadecimal digits",
            BodyError::BadChunkExtension => "a chunk extension is malformed",
            BodyError::ChunkExtensionTooLong => "a chunk extension is too long",
            BodyError::ChunkOverheadTooLarge => "the chunk extensions are too long in sum",
            BodyError::BadChunkEnd => "the data of a chunk must be followed by CR LF",
            BodyError::BareLf => "a line must end in CR LF, not in LF alone",
            BodyError::BareCr => "a carriage return must be followed by a line feed",
            BodyError::BadTrailer => "a trailer line is malformed",
            BodyError::TrailerTooLarge => "the trailers are too large",
            BodyError::ClosedEarly => "the connection ended before the body did",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for BodyError {}

/// Finds the data of one body and its end.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    /// Bytes of data still to come: of the body, or of the current chunk.
    remaining: u64,
    /// Extension bytes not yet made up for.
    overhead: u32,
    /// Bytes of the trailer section so far.
    trailer: u32,
    /// Digits of the size, then bytes of the extensions, of the current chunk.
    line: u16,
    state: State,
}

const _: () = assert!(size_of::<BodyDecoder>() <= 32);

impl BodyDecoder {
    /// A decoder for a body that is delimited like this.
    pub fn new(body: Body) -> BodyDecoder {
        let (state, remaining) = match body {
            Body::None | Body::Length(0) => (State::Done, 0),
            Body::Length(length) => (State::Length, length),
            Body::Chunked => (State::Size, 0),
            Body::UntilClose => (State::UntilClose, 0),
        };
        BodyDecoder { remaining, overhead: 0, trailer: 0, line: 0, state }
    }

    /// Whether the body is complete.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data that are announced and not yet seen: of the whole body with a length, of the
    /// current chunk with the chunked coding. Lets a limit refuse before the bytes come.
    #[inline]
    pub fn announced(&self) -> u64 {
        // Digits of a size that goes on are no size: where they were cut must not decide what is
        // answered.
        if self.state == State::Size { 0 } else { self.remaining }
    }

    /// How much of a body with a length is still to come; 0 for every other body.
    #[inline]
    pub fn plain_left(&self) -> u64 {
        if self.state == State::Length { self.remaining } else { 0 }
    }

    /// Takes note of bytes of such a body that went where they belong without coming by here; at
    /// most [`BodyDecoder::plain_left`].
    pub fn passed(&mut self, count: u64) {
        debug_assert!(count <= self.plain_left());
        self.remaining = self.remaining.saturating_sub(count);
        if self.state == State::Length && self.remaining == 0 {
            self.state = State::Done;
        }
    }

    /// Takes up input. Each call finds at most one range of data and everything around it: call
    /// again with what was not consumed, until nothing is left or the body is done.
    pub fn decode(&mut self, input: &[u8]) -> Result<Piece, BodyError> {
        let mut data = 0..0;
        let mut position = 0;
        while let Some(&byte) = input.get(position) {
            match self.state {
                State::Done => break,
                State::UntilClose => {
                    data = position..input.len();
                    position = input.len();
                }
                State::Length | State::Data => {
                    if !data.is_empty() {
                        break;
                    }
                    let length = clamp(self.remaining).min(input.len() - position);
                    data = position..position + length;
                    position += length;
                    self.remaining -= length as u64;
                    if self.remaining == 0 {
                        let is_chunk = self.state == State::Data;
                        self.state = if is_chunk { State::DataCr } else { State::Done };
                    }
                }
                _ => position += self.framing(byte, &input[position..])?,
            }
        }
        Ok(Piece { consumed: position, data, done: self.is_done() })
    }

    /// The peer has closed. Only a body that lasts until then may end so.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::ClosedEarly),
        }
    }

    /// Framing that begins with `byte`, the first of `rest`; returns how much of it was taken. Lines
    /// that are whole and plain, as nearly all are, are taken at once, others byte by byte.
    #[inline]
    fn framing(&mut self, byte: u8, rest: &[u8]) -> Result<usize, BodyError> {
        match self.state {
            State::DataCr if rest.starts_with(b"\r\n") => {
                self.line = 0;
                self.state = State::Size;
                return Ok(2);
            }
            State::Size if self.line == 0 => {
                if let Some((size, digits)) = plain_size(rest) {
                    self.remaining = size;
                    self.state = self.begin_data()?;
                    return Ok(digits + 2);
                }
            }
            _ => {}
        }
        self.state = self.step(byte)?;
        Ok(1)
    }

    /// One byte of chunked framing.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::Size => self.size(byte),
            State::SizeLf => {
                expect_lf(byte)?;
                self.begin_data()
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataCr => Err(line_error(byte, BodyError::BadChunkEnd)),
            State::DataLf => {
                expect_lf(byte)?;
                self.line = 0;
                Ok(State::Size)
            }
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::FinalLf => self.trailer(byte),
            _ => self.extension(byte),
        }
    }

    #[inline]
    fn size(&mut self, byte: u8) -> Result<State, BodyError> {
        if let Some(digit) = chars::hex_value(byte) {
            if self.line >= CHUNK_SIZE_DIGITS_MAX {
                return Err(BodyError::BadChunkSize);
            }
            self.line += 1;
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        if self.line == 0 {
            return Err(line_error(byte, BodyError::BadChunkSize));
        }
        if byte == b'\r' {
            self.line = 0;
            return Ok(State::SizeLf);
        }
        if !matches!(byte, b';' | b' ' | b'\t') {
            return Err(line_error(byte, BodyError::BadChunkSize));
        }
        self.line = 1;
        Ok(if byte == b';' { State::ExtensionStart } else { State::BeforeExtension })
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`: blanks are taken where
    /// the grammar has them and nowhere else.
    #[cold]
    fn extension(&mut self, byte: u8) -> Result<State, BodyError> {
        if byte == b'\r' {
            let may_end =
                matches!(self.state, State::ExtensionName | State::Value | State::QuotedEnd);
            return if may_end { Ok(State::SizeLf) } else { Err(BodyError::BadChunkExtension) };
        }
        self.line += 1;
        if self.line > CHUNK_EXTENSION_BYTES_MAX {
            return Err(BodyError::ChunkExtensionTooLong);
        }
        let is_token = chars::is(byte, chars::TOKEN);
        let is_blank = matches!(byte, b' ' | b'\t');
        match (self.state, byte) {
            (State::BeforeExtension, _) if is_blank => Ok(State::BeforeExtension),
            (State::ExtensionStart, _) if is_blank => Ok(State::ExtensionStart),
            (State::ExtensionStart | State::ExtensionName, _) if is_token => {
                Ok(State::ExtensionName)
            }
            (State::ExtensionName | State::ExtensionNameBlank, b'=') => Ok(State::ValueStart),
            (State::ExtensionName | State::ExtensionNameBlank, _) if is_blank => {
                Ok(State::ExtensionNameBlank)
            }
            (State::ValueStart, _) if is_blank => Ok(State::ValueStart),
            (State::ValueStart, b'"') => Ok(State::Quoted),
            (State::ValueStart | State::Value, _) if is_token => Ok(State::Value),
            (State::Quoted, b'"') => Ok(State::QuotedEnd),
            (State::Quoted, b'\\') => Ok(State::QuotedEscape),
            (State::Quoted, _) if chars::is(byte, chars::QUOTED) => Ok(State::Quoted),
            (State::QuotedEscape, _) if chars::is(byte, chars::VALUE) => Ok(State::Quoted),
            (State::Value | State::QuotedEnd, _) if is_blank => Ok(State::BeforeExtension),
            (
                State::BeforeExtension
                | State::ExtensionName
                | State::ExtensionNameBlank
                | State::Value
                | State::QuotedEnd,
                b';',
            ) => Ok(State::ExtensionStart),
            _ => Err(line_error(byte, BodyError::BadChunkExtension)),
        }
    }

    /// A size line is complete: data follows, or after a size of zero the trailers.
    #[inline]
    fn begin_data(&mut self) -> Result<State, BodyError> {
        self.overhead += u32::from(self.line);
        if self.overhead > CHUNK_OVERHEAD_BYTES_MAX {
            return Err(BodyError::ChunkOverheadTooLarge);
        }
        let size = u32::try_from(self.remaining).unwrap_or(u32::MAX);
        self.overhead = self.overhead.saturating_sub(size);
        Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        self.trailer += 1;
        if self.trailer > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailerTooLarge);
        }
        let is_token = chars::is(byte, chars::TOKEN);
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::TrailerStart | State::TrailerName, _) if is_token => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if chars::is(byte, chars::VALUE) => Ok(State::TrailerValue),
            (State::TrailerLf, _) => {
                expect_lf(byte)?;
                Ok(State::TrailerStart)
            }
            (State::FinalLf, _) => {
                expect_lf(byte)?;
                Ok(State::Done)
            }
            _ => Err(line_error(byte, BodyError::BadTrailer)),
        }
    }
}

/// A size line of up to eight digits without extensions, if all of it is there: the size and how
/// many digits it has.
#[inline]
fn plain_size(line: &[u8]) -> Option<(u64, usize)> {
    let mut size = 0;
    let mut digits = 0;
    for &byte in line.iter().take(8) {
        let Some(digit) = chars::hex_value(byte) else { break };
        size = size << 4 | u64::from(digit);
        digits += 1;
    }
    let is_whole = digits > 0 && line.get(digits..digits + 2) == Some(b"\r\n");
    is_whole.then_some((size, digits))
}

fn clamp(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[inline]
fn expect_lf(byte: u8) -> Result<(), BodyError> {
    if byte == b'\n' { Ok(()) } else { Err(BodyError::BareCr) }
}

#[cold]
fn line_error(byte: u8, other: BodyError) -> BodyError {
    if byte == b'\n' { BodyError::BareLf } else { other }
}

#[cfg(test)]
mod tests;
