//! Classes of bytes, for who has to look at each byte of a text.

/// It begins something in a code, or is part of it.
pub const ENCODED: u8 = 1;
/// White space.
pub const SPACE: u8 = 2;
/// A control character.
pub const CONTROL: u8 = 4;
/// A shell reads over it within a word.
pub const QUOTE: u8 = 8;
/// It separates commands of a shell.
pub const SEPARATOR: u8 = 16;
/// A comment ends here.
pub const COMMENT: u8 = 32;
/// It is no letter, digit or one of `_.-`, and began as none of the codes.
pub const OTHER: u8 = 64;
/// A comment may begin or end here.
pub const STOP: u8 = 128;

/// The classes of each byte.
pub const CLASS: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-') {
            table[byte] = 0;
        } else if b >= 0x80 || matches!(b, b'%' | b'&') {
            table[byte] |= ENCODED;
        } else if b == b'\\' {
            table[byte] |= ENCODED | QUOTE;
        } else if matches!(b, b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | b' ') {
            table[byte] |= SPACE;
        } else if b < 0x20 || b == 0x7f {
            table[byte] |= CONTROL;
        }
        if matches!(b, b'\'' | b'"' | b'^') {
            table[byte] |= QUOTE;
        }
        if matches!(b, b';' | b'|' | b'`' | b'$' | b'&' | b'\n' | b'<' | b'>') {
            table[byte] |= SEPARATOR;
        }
        if b == b'*' {
            table[byte] |= COMMENT;
        }
        if matches!(b, b'*' | b'/') {
            table[byte] |= STOP;
        }
        byte += 1;
    }
    table
};

/// Bytes whose classes are looked at together.
const CHUNK: usize = 32;

/// The classes of all bytes of a text together.
pub fn classes(text: &[u8]) -> u8 {
    let (chunks, rest) = text.as_chunks::<CHUNK>();
    let mut seen = 0;
    for chunk in chunks {
        // Words and the commas between them are most of a text: without branches, so that many bytes
        // are looked at at once.
        let (mut is_odd, mut has_blank, mut has_comma) = (false, false, false);
        for &byte in chunk {
            let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
            // '-', '.', and the digits; '/' is among them and no word's.
            let is_word =
                is_letter | (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'-') < 2);
            is_odd |= !(is_word | (byte == b' ') | (byte == b','));
            has_blank |= byte == b' ';
            has_comma |= byte == b',';
        }
        if is_odd {
            seen |= each(chunk);
            continue;
        }
        seen |= if has_blank { SPACE | OTHER } else { 0 };
        seen |= if has_comma { OTHER } else { 0 };
    }
    seen | each(rest)
}

fn each(text: &[u8]) -> u8 {
    text.iter().fold(0, |seen, &byte| seen | CLASS[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a byte that the look at many passes over.
    #[test]
    fn many_bytes_together_are_of_the_classes_of_each() {
        for byte in 0..=u8::MAX {
            for at in [0, 5, CHUNK - 1, CHUNK, CHUNK + 3] {
                for fill in [b"a", b"-", b"7"] {
                    let mut text = fill.repeat(2 * CHUNK + 5);
                    text[at] = byte;
                    assert_eq!(classes(&text), CLASS[usize::from(byte)], "{byte} at {at}");
                }
            }
        }
        assert_eq!(classes("Some words, here: ".repeat(9).as_bytes()), SPACE | OTHER);
    }
}
