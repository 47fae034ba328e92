//! ai/tokenizer.h: words, numbers and punctuation. Not a model's vocabulary.

use crate::boundary::guard;
use crate::legacy::memory::{allocate, give, release, text};
use crate::legacy::types::Token;
use std::ffi::{CStr, c_char, c_int};

/// What a piece of text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Word = 0,
    Punctuation = 1,
    Number = 2,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_punctuation(byte: u8) -> bool {
    b".,!?;:()[]{}\"'-_".contains(&byte)
}

/// The first piece of a text that does not begin with a blank.
fn piece(text: &[u8]) -> (Kind, usize) {
    let first = text.first().copied().unwrap_or(b' ');
    let (kind, goes_on): (Kind, fn(u8) -> bool) = if is_punctuation(first) {
        (Kind::Punctuation, is_punctuation)
    } else if first.is_ascii_digit() {
        (Kind::Number, |byte| byte.is_ascii_digit() || byte == b'.')
    } else {
        (Kind::Word, |byte| !is_blank(byte) && !is_punctuation(byte))
    };
    let end = text.iter().position(|&byte| !goes_on(byte)).unwrap_or(text.len());
    (kind, end.max(1))
}

fn split(text: &[u8]) -> Vec<(Kind, &[u8])> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.iter().position(|&byte| !is_blank(byte)) {
        rest = &rest[start..];
        let (kind, end) = piece(rest);
        let end = end.min(rest.len());
        pieces.push((kind, &rest[..end]));
        rest = &rest[end..];
    }
    pieces
}

/// # Safety
/// See ai/tokenizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_init() -> c_int {
    0
}

/// # Safety
/// See ai/tokenizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_cleanup() {}

/// A malloc'd token; NULL when there is no memory.
fn give_token(content: &[u8], id: c_int, kind: Kind) -> *mut Token {
    let token = allocate(size_of::<Token>()).cast::<Token>();
    let copy = give(content);
    // SAFETY: both are new blocks of the right size, or NULL.
    unsafe {
        if token.is_null() || copy.is_null() {
            release(token.cast());
            release(copy.cast());
            return std::ptr::null_mut();
        }
        token.write(Token { text: copy, id, type_: kind as c_int });
    }
    token
}

/// # Safety
/// `text` is NULL or NUL-terminated; the outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_tokenize(
    text: *const c_char,
    tokens: *mut *mut *mut Token,
    count: *mut c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(content) = (unsafe { self::text(text) }) else { return -1 };
        if tokens.is_null() || count.is_null() {
            return -1;
        }
        let pieces = split(content);
        let Ok(number) = c_int::try_from(pieces.len()) else { return -1 };
        let array = allocate(pieces.len() * size_of::<*mut Token>()).cast::<*mut Token>();
        if array.is_null() {
            return -1;
        }
        for (index, (kind, content)) in pieces.iter().enumerate() {
            let token = give_token(content, index as c_int, *kind);
            if token.is_null() {
                // SAFETY: the places before `index` are filled.
                unsafe { free_all(array, index) };
                return -1;
            }
            // SAFETY: the array has one place per piece.
            unsafe { array.add(index).write(token) };
        }
        // SAFETY: checked not to be NULL, so writable.
        unsafe {
            tokens.write(array);
            count.write(number);
        }
        0
    })
}

/// # Safety
/// `token` is NULL or a malloc'd token, not used again.
unsafe fn free_one(token: *mut Token) {
    if !token.is_null() {
        // SAFETY: the caller's promise.
        unsafe {
            release((*token).text.cast());
            release(token.cast());
        }
    }
}

/// # Safety
/// `tokens` came from malloc with `count` tokens, not used again.
unsafe fn free_all(tokens: *mut *mut Token, count: usize) {
    for index in 0..count {
        // SAFETY: the caller's promise.
        unsafe { free_one(*tokens.add(index)) };
    }
    // SAFETY: the caller's promise.
    unsafe { release(tokens.cast()) };
}

/// # Safety
/// `tokens` is NULL or an array of `count` tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_detokenize(
    tokens: *mut *mut Token,
    count: c_int,
    output: *mut c_char,
    output_size: usize,
) -> c_int {
    guard(-1, || {
        let count = usize::try_from(count).unwrap_or(0);
        if tokens.is_null() || count == 0 || output.is_null() {
            return -1;
        }
        let mut joined = Vec::new();
        let mut after_word = false;
        for index in 0..count {
            // SAFETY: an array of `count` tokens by the caller's promise; entries may be NULL.
            let Some(token) = (unsafe { (*tokens.add(index)).as_ref() }) else { return -1 };
            // SAFETY: NULL or NUL-terminated.
            let Some(content) = (unsafe { text(token.text) }) else { return -1 };
            let word = token.type_ == Kind::Word as c_int;
            if word && after_word {
                joined.push(b' ');
            }
            after_word = word;
            joined.extend_from_slice(content);
            if joined.len() >= output_size {
                return -1;
            }
        }
        // SAFETY: the text and its NUL fit into the output.
        unsafe {
            std::ptr::copy_nonoverlapping(joined.as_ptr(), output.cast::<u8>(), joined.len());
            output.add(joined.len()).write(0);
        }
        0
    })
}

/// # Safety
/// `tokens` is NULL or came from tokenizer_tokenize with this count, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_free_tokens(tokens: *mut *mut Token, count: c_int) {
    guard((), || {
        if !tokens.is_null() {
            // SAFETY: as promised by the caller.
            unsafe { free_all(tokens, usize::try_from(count).unwrap_or(0)) };
        }
    });
}

/// # Safety
/// `token` is NULL or came from tokenizer_tokenize, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_free_token(token: *mut Token) {
    // SAFETY: as promised by the caller.
    guard((), || unsafe { free_one(token) });
}

/// # Safety
/// See ai/tokenizer.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokenizer_get_type_name(type_: c_int) -> *const c_char {
    let name: &'static CStr = match type_ {
        0 => c"word",
        1 => c"punctuation",
        2 => c"number",
        3 => c"special",
        _ => c"unknown",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides() {
        for (text, expected) in [
            ("", ""),
            (" \t\n ", ""),
            ("Hello, world!", "wHello p, wworld p!"),
            ("abc123 123abc", "wabc123 n123 wabc"),
            ("3.14.", "n3.14."),
            (".5", "p. n5"),
            ("a--b", "wa p-- wb"),
            ("\"({_})\"", "p\"({_})\""),
            ("grün ☃", "wgrün w☃"),
            ("x=1+2", "wx=1+2"),
        ] {
            let pieces: Vec<String> = split(text.as_bytes())
                .into_iter()
                .map(|(kind, piece)| {
                    let mark = match kind {
                        Kind::Word => 'w',
                        Kind::Punctuation => 'p',
                        Kind::Number => 'n',
                    };
                    format!("{mark}{}", String::from_utf8_lossy(piece))
                })
                .collect();
            assert_eq!(pieces.join(" "), expected, "{text}");
        }
    }
}
