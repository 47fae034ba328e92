//! Numbers of cards and accounts, with their checks; addresses of mail; telephone numbers; the
//! social security numbers of the United States.
#![forbid(unsafe_code)]

use super::Category;
use super::scan::{Found, Tail, Try};

fn found(rule: &'static str, len: usize) -> Try {
    let category = Category::Personal;
    Try::Found(Found { category, rule, skip: 0, len, tail: Tail::None, score: 0 })
}

/// What begins at the beginning of `text`, behind the byte `before`.
pub fn at(text: &[u8], before: u8, is_end: bool) -> Try {
    let Some(&first) = text.first() else { return Try::No };
    let mut tried = Try::No;
    if first.is_ascii_digit() && !matches!(before, b'.' | b',' | b'/' | b'-' | b'+') {
        tried = card(text, is_end);
        if tried == Try::No {
            tried = social(text, is_end);
        }
    } else if first == b'+' {
        tried = phone(text, is_end);
    } else if first.is_ascii_uppercase() {
        tried = iban(text, is_end);
    }
    if tried == Try::No && first.is_ascii_alphanumeric() {
        tried = mail(text, is_end);
    }
    tried
}

/// 13 to 19 digits in groups, first digits of an issuer, and the check digit (ISO/IEC 7812).
fn card(text: &[u8], is_end: bool) -> Try {
    let mut digits = [0u8; 20];
    let (mut count, mut at, mut end) = (0, 0, 0);
    loop {
        match text.get(at) {
            Some(byte) if byte.is_ascii_digit() => {
                let Some(place) = digits.get_mut(count) else { return Try::No };
                *place = byte - b'0';
                count += 1;
                at += 1;
                end = at;
            }
            // One blank or dash between groups.
            Some(b' ' | b'-') if at == end => at += 1,
            Some(byte) if at == end && (byte.is_ascii_alphabetic() || *byte == b'_') => {
                return Try::No;
            }
            None if !is_end => return Try::Open,
            _ => break,
        }
        if count == 0 {
            return Try::No;
        }
    }
    let number = digits.get(..count).unwrap_or_default();
    let is_issued = matches!(number.first(), Some(2..=6));
    if !(13..=19).contains(&count) || !is_issued || !luhn(number) {
        return Try::No;
    }
    let is_one = number.windows(2).all(|pair| pair[0] == pair[1]);
    if is_one { Try::No } else { found("card", end) }
}

/// The check of card numbers.
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match (index % 2, u32::from(digit)) {
            (1, digit) if digit > 4 => digit * 2 - 9,
            (1, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `NNN-NN-NNNN`, where such a number can be issued.
fn social(text: &[u8], is_end: bool) -> Try {
    const FORM: &[u8] = b"ddd-dd-dddd";
    for (index, &form) in FORM.iter().enumerate() {
        match text.get(index) {
            None => return if is_end { Try::No } else { Try::Open },
            Some(byte) if form == b'd' && byte.is_ascii_digit() || *byte == form => {}
            Some(_) => return Try::No,
        }
    }
    match text.get(FORM.len()) {
        None if !is_end => return Try::Open,
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'-' => return Try::No,
        _ => {}
    }
    let is_never = text.starts_with(b"000") || text.starts_with(b"666") || text.starts_with(b"9");
    if is_never { Try::No } else { found("ssn", FORM.len()) }
}

/// `+`, a country, 8 to 15 digits in groups (ITU-T E.164).
fn phone(text: &[u8], is_end: bool) -> Try {
    let (mut count, mut end, mut at, mut gap) = (0, 1, 1, 0);
    loop {
        match text.get(at) {
            Some(byte) if byte.is_ascii_digit() => {
                if count == 0 && *byte == b'0' {
                    return Try::No;
                }
                (count, gap) = (count + 1, 0);
                end = at + 1;
                if count > 15 {
                    return Try::No;
                }
            }
            Some(b' ' | b'-' | b'.' | b'(' | b')' | b'/') if count > 0 && gap < 2 => gap += 1,
            Some(byte) if gap == 0 && (byte.is_ascii_alphabetic() || *byte == b'_') => {
                return Try::No;
            }
            None if !is_end => return Try::Open,
            _ => break,
        }
        at += 1;
    }
    if (8..=15).contains(&count) && text.get(end) != Some(&b'=') {
        found("phone", end)
    } else {
        Try::No
    }
}

/// An international account number with its check (ISO 13616), in groups of four or in one.
fn iban(text: &[u8], is_end: bool) -> Try {
    const CHARS_MAX: usize = 34;
    let open = if is_end { Try::No } else { Try::Open };
    let mut chars = [0u8; CHARS_MAX];
    let (mut count, mut at, mut end) = (0usize, 0, 0);
    let mut best = 0;
    loop {
        let Some(&byte) = text.get(at) else {
            if !is_end {
                return open;
            }
            break;
        };
        let fits = match count {
            0 | 1 => byte.is_ascii_uppercase(),
            2 | 3 => byte.is_ascii_digit(),
            _ => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        };
        if fits {
            let Some(place) = chars.get_mut(count) else { break };
            *place = byte;
            count += 1;
            at += 1;
            end = at;
        } else if byte == b' ' && at == end && count.is_multiple_of(4) && count > 0 {
            // A word in capitals may follow: what was read so far may be the number.
            if count >= 15 && checks(chars.get(..count).unwrap_or_default()) {
                best = end;
            }
            at += 1;
        } else {
            if at == end && (byte.is_ascii_lowercase() || byte == b'_') {
                end = best;
                count = if best > 0 { count } else { 0 };
            }
            break;
        }
    }
    if count >= 15 && end > best && checks(chars.get(..count).unwrap_or_default()) {
        best = end;
    }
    if best > 0 { found("iban", best) } else { Try::No }
}

/// ISO 7064, modulo 97-10.
fn checks(chars: &[u8]) -> bool {
    let (head, rest) = chars.split_at(chars.len().min(4));
    let value = rest.iter().chain(head).fold(0u32, |value, &byte| match byte {
        b'0'..=b'9' => (value * 10 + u32::from(byte - b'0')) % 97,
        _ => (value * 100 + u32::from(byte.saturating_sub(b'A')) + 10) % 97,
    });
    value == 1
}

/// An address of mail, in the form that people use.
fn mail(text: &[u8], is_end: bool) -> Try {
    const LOCAL_BYTES_MAX: usize = 64;
    const DOMAIN_BYTES_MAX: usize = 190;
    let open = if is_end { Try::No } else { Try::Open };
    let is_local = |b: &&u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
    let local = text.iter().take(LOCAL_BYTES_MAX + 1).take_while(is_local).count();
    match text.get(local) {
        _ if local > LOCAL_BYTES_MAX => return Try::No,
        None => return open,
        Some(b'@') => {}
        Some(_) => return Try::No,
    }
    let rest = text.get(local + 1..).unwrap_or_default();
    let is_domain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let bytes = rest.iter().take(DOMAIN_BYTES_MAX).take_while(is_domain).count();
    if bytes == rest.len() && bytes < DOMAIN_BYTES_MAX && !is_end {
        return Try::Open;
    }
    let mut domain = rest.get(..bytes).unwrap_or_default();
    // The stop behind a sentence is none of it.
    while let Some((b'.' | b'-', begin)) = domain.split_last() {
        domain = begin;
    }
    let Some(dot) = domain.iter().rposition(|&b| b == b'.') else { return Try::No };
    let top = domain.get(dot + 1..).unwrap_or_default();
    let is_top = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
    if dot == 0 || !is_top { Try::No } else { found("email", local + 1 + domain.len()) }
}
