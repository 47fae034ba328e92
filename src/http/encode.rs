//! Writing heads and chunks. All functions append to a buffer that the caller reuses.
#![forbid(unsafe_code)]

use super::chars;
use super::date;
use super::status;

/// The last chunk of a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends `HTTP/1.1 200 OK\r\n`. A status without a standard phrase has an empty one.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    match status::line(status) {
        Some(line) => out.extend_from_slice(line),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            decimal(out, u64::from(status));
            out.extend_from_slice(b" \r\n");
        }
    }
}

/// A status line with a reason phrase of one's own, which must have passed [`valid_value`].
pub fn status_line_with(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Appends `name: value\r\n`. What did not come out of a parsed head must have passed
/// [`valid_name`] and [`valid_value`].
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(valid_name(name) && valid_value(value));
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `content-length: N\r\n`.
#[inline]
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// `date: Sun, 06 Nov 1994 08:49:37 GMT\r\n`, to be made once per second and copied.
pub fn date_line(unix_seconds: i64) -> [u8; 37] {
    let mut line = *b"date:                              \r\n";
    if let Some(place) = line.get_mut(6..35) {
        place.copy_from_slice(&date::imf_fixdate(unix_seconds));
    }
    line
}

/// Appends one chunk. Empty data appends nothing, since an empty chunk would end the body.
#[inline]
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    chunk_header(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the size line of a chunk of `length` bytes; the data and CR LF must follow.
#[inline]
pub fn chunk_header(out: &mut Vec<u8>, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut buffer = [0; 18];
    let mut start = 16;
    let mut rest = length;
    loop {
        start -= 1;
        buffer[start] = DIGITS[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    buffer[16] = b'\r';
    buffer[17] = b'\n';
    out.extend_from_slice(buffer.get(start..).unwrap_or_default());
}

/// Appends a whole response that says no more than its status, and closes.
pub fn bare(out: &mut Vec<u8>, code: u16) {
    status_line(out, code);
    out.extend_from_slice(b"Content-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Two digits at a time.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// Appends a number in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut buffer = [0; 20];
    let mut start = 20;
    let mut rest = value;
    while rest >= 100 {
        let [tens, ones] = PAIRS[(rest % 100) as usize];
        rest /= 100;
        start -= 2;
        buffer[start] = tens;
        buffer[start + 1] = ones;
    }
    let [tens, ones] = PAIRS[(rest % 100) as usize];
    start -= 1;
    buffer[start] = ones;
    if rest >= 10 {
        start -= 1;
        buffer[start] = tens;
    }
    out.extend_from_slice(buffer.get(start..).unwrap_or_default());
}

/// Whether this is a field name: a token (RFC 9110 section 5.1).
pub fn valid_name(name: &[u8]) -> bool {
    !name.is_empty() && chars::all(name, chars::TOKEN)
}

/// Whether this is a field value that arrives as it was sent: visible characters, bytes above
/// 0x7f, and blanks between them; no CR, LF, NUL or other control character (RFC 9110
/// section 5.5).
pub fn valid_value(value: &[u8]) -> bool {
    chars::end_of_value(value, 0) == value.len() && chars::trim(value).len() == value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"|".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// A wrong byte here breaks every response.
    #[test]
    fn lines() {
        assert_eq!(written(|out| status_line(out, 200)), "|HTTP/1.1 200 OK\r\n");
        assert_eq!(written(|out| status_line(out, 299)), "|HTTP/1.1 299 \r\n");
        assert_eq!(written(|out| field(out, b"a", b"b c")), "|a: b c\r\n");
        assert_eq!(written(|out| field(out, b"a", b"")), "|a: \r\n");
        assert_eq!(written(|out| content_length(out, 120)), "|content-length: 120\r\n");
        let date = date_line(784_111_777);
        assert_eq!(&date, b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    }

    /// A wrong length lets the client read into the next response.
    #[test]
    fn numbers() {
        let mut values = vec![0, u64::MAX, u64::MAX / 10];
        for power in 0..20 {
            let ten = 10u64.pow(power);
            values.extend([ten - 1, ten, ten + 1]);
        }
        for shift in 0..64 {
            values.extend([1 << shift, (1 << shift) - 1]);
        }
        for value in values {
            assert_eq!(written(|out| decimal(out, value)), format!("|{value}"));
            let header = written(|out| chunk_header(out, value as usize));
            assert_eq!(header, format!("|{value:x}\r\n"));
        }
    }

    /// An empty chunk would end the body.
    #[test]
    fn chunks() {
        assert_eq!(written(|out| chunk(out, b"hello")), "|5\r\nhello\r\n");
        assert_eq!(written(|out| chunk(out, b"")), "|");
        let data = [b'x'; 300];
        assert!(written(|out| chunk(out, &data)).starts_with("|12c\r\nxxx"));
    }

    /// What passes here cannot split a response.
    #[test]
    fn names_and_values() {
        for (name, valid) in [
            ("a", true),
            ("X-a_1", true),
            ("", false),
            ("a b", false),
            ("a:", false),
            ("a\r", false),
        ] {
            assert_eq!(valid_name(name.as_bytes()), valid, "{name:?}");
        }
        for (value, valid) in [
            ("", true),
            ("a b\tc", true),
            ("\u{e9}", true),
            (" a", false),
            ("a ", false),
            ("\ta", false),
            ("a\r\nSet-Cookie: b", false),
            ("a\nb", false),
            ("a\rb", false),
            ("a\0b", false),
            ("a\x7f", false),
            ("123456789\x01", false),
        ] {
            assert_eq!(valid_value(value.as_bytes()), valid, "{value:?}");
        }
    }
}
