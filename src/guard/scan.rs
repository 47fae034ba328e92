//! Where finds begin and end in a text that may go on.
//!
//! Every rule begins at the edge of a word or with a mark of its own, and is bounded. So each such
//! place is tried once, with bytes bounded by [`OPEN_BYTES_MAX`], and the work is linear. A rule
//! that would need more text than there is says so: from there on the text is open.
#![forbid(unsafe_code)]

use super::{Actions, Category, injection, personal, secrets};
use crate::config::GuardAction;

/// The most bytes of a text that may be open.
pub const OPEN_BYTES_MAX: usize = 512;

/// What a rule says about a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Try {
    /// Nothing begins here.
    No,
    /// It may, if the text goes on so.
    Open,
    /// It does.
    Found(Found),
}

/// Something that was found at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it is about.
    pub category: Category,
    /// The rule.
    pub rule: &'static str,
    /// Bytes before it that give it away and stay, as the name of a password does.
    pub skip: usize,
    /// Bytes, those before it counted.
    pub len: usize,
    /// What goes on behind it.
    pub tail: Tail,
    /// What an injection weighs.
    pub score: u32,
}

/// How a find goes on beyond what was needed to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// It does not.
    None,
    /// As long as there are bytes of a token; so many more at most.
    Token(u32),
    /// To the end line of a key in PEM: bytes left, runs of five dashes seen, dashes in a row.
    Pem(u32, u8, u8),
}

impl Tail {
    /// Whether the next byte belongs to it.
    pub fn takes(&mut self, byte: u8) -> bool {
        let is_taken = match self {
            Tail::None => false,
            Tail::Token(left) => {
                *left = left.saturating_sub(1);
                *left > 0 && (is_token(byte) || byte == b'.' || byte == b'=')
            }
            Tail::Pem(left, runs, dashes) => {
                *left = left.saturating_sub(1);
                if *left == 0 || *runs == 2 {
                    false
                } else if byte == b'-' {
                    *dashes += 1;
                    if *dashes == 5 {
                        (*dashes, *runs) = (0, *runs + 1);
                    }
                    true
                } else {
                    *dashes = 0;
                    byte.is_ascii_alphanumeric() || b"+/=\r\n\t \\:,".contains(&byte)
                }
            }
        };
        if !is_taken {
            *self = Tail::None;
        }
        is_taken
    }
}

/// Bytes of keys and tokens.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'+')
}

/// Bytes of words.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Bytes of a mark or blank beyond ASCII at the beginning of `text`, which parts words.
fn wide_mark(text: &[u8]) -> usize {
    match text {
        [0xe2, 0x80 | 0x81, _, ..] | [0xe3, 0x80, 0x80..=0x91, ..] => 3,
        [0xc2, 0xa0..=0xbf, ..] => 2,
        _ => 0,
    }
}

/// The next find in `text` from `from` on, which follows the byte `before`. `Err`: there is none up
/// to here, where the text is open; its length when it is not.
pub fn next(
    text: &[u8],
    from: usize,
    before: u8,
    is_end: bool,
    actions: &Actions,
) -> Result<(usize, Found), usize> {
    let (mut at, mut before) = (from, before);
    let wants = |category| actions.of(category) != GuardAction::Off;
    let wants_secrets = wants(Category::Secrets);
    let wants_personal = wants(Category::Personal);
    let wants_injection = wants(Category::Injection);
    while let Some(&byte) = text.get(at) {
        let wide = wide_mark(text.get(at..).unwrap_or_default());
        if wide > 0 {
            (at, before) = (at + wide, b' ');
            continue;
        }
        let is_edge = if is_word(byte) {
            !is_word(before) || byte >= 0xe3
        } else {
            matches!(byte, b'+' | b'-' | b'<' | b'[' | b'#')
        };
        if is_edge {
            let rest = text.get(at..).unwrap_or_default();
            let mut tried = Try::No;
            if wants_secrets {
                tried = secrets::at(rest, is_end);
            }
            if wants_personal && tried == Try::No {
                tried = personal::at(rest, before, is_end);
            }
            if wants_injection && tried == Try::No {
                tried = injection::at(rest, before, is_end);
            }
            match tried {
                Try::Found(found) => return Ok((at, found)),
                Try::Open if !is_end && rest.len() < OPEN_BYTES_MAX => return Err(at),
                Try::Open | Try::No => {}
            }
        }
        before = byte;
        at += 1;
    }
    Err(text.len())
}
