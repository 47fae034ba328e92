//! Values that are Base64 as a whole.

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shorter values are words.
pub const BYTES_MIN: usize = 12;

const fn decoder(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

static PLAIN: GeneralPurpose = decoder(&STANDARD);
static URL: GeneralPurpose = decoder(&URL_SAFE);

/// Puts the text within a value that is Base64 into `out`. False: it is none, or holds no text.
pub fn text(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let raw = raw.trim_ascii();
    let is_sign =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    if raw.len() < BYTES_MIN || !raw.iter().all(is_sign) {
        return false;
    }
    let is_url = raw.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let decoder = if is_url { &URL } else { &PLAIN };
    out.clear();
    if decoder.decode_vec(raw, out).is_err() {
        return false;
    }
    let printable = out.iter().filter(|b| (0x20..0x7f).contains(*b) || b.is_ascii_whitespace());
    printable.count() * 10 >= out.len() * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_words() {
        let mut out = Vec::new();
        for (raw, want) in [
            ("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", Some("<script>alert(1)</script>")),
            ("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg", Some("<script>alert(1)</script>")),
            ("Pz8_Pz8-Pz8_Pz8-", Some("?????>?????>")),
            ("8f14e45fceea167a5a36dedd4bea2543", None),
            ("how-to-brew-coffee", None),
            ("aGk=", None),
        ] {
            let is_text = text(raw.as_bytes(), &mut out);
            assert_eq!(
                is_text.then(|| String::from_utf8_lossy(&out).into_owned()).as_deref(),
                want
            );
        }
    }
}
