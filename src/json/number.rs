//! Whether a JSON number lies within the range of a double, as `serde_json` sees it.
//!
//! `serde_json` refuses a number whose value overflows to infinity. It computes the value from a
//! significand of at most 64 bits and one or more multiplications by powers of ten, so right at
//! the largest double its verdict is not that of exact arithmetic. Documents that one part of
//! this server accepts and another refuses are a hazard, hence the same steps here. Nearly all
//! numbers are decided by their decimal magnitude alone.
#![forbid(unsafe_code)]

/// `text` is a number of valid syntax.
#[cold]
pub(super) fn is_in_range(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let Some((significand, exponent)) = parts(text) else {
        return false;
    };
    is_finite(significand, exponent)
}

/// Significand and exponent of ten; `None` when the exponent's digits alone put it out of range.
fn parts(text: &[u8]) -> Option<(u64, i32)> {
    let mut significand = 0u64;
    let mut exponent = 0i32;
    let mut rest = text;

    // Digits that no longer fit count as zeros before the point.
    let mut fits = true;
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        match extend(significand, *digit).filter(|_| fits) {
            Some(longer) => significand = longer,
            None => {
                fits = false;
                exponent = exponent.saturating_add(1);
            }
        }
        rest = tail;
    }
    // Behind the point the first digit that does not fit ends the significand.
    if let [b'.', tail @ ..] = rest {
        rest = tail;
        fits = true;
        while let [digit @ b'0'..=b'9', tail @ ..] = rest {
            match extend(significand, *digit).filter(|_| fits) {
                Some(longer) => {
                    significand = longer;
                    exponent = exponent.saturating_sub(1);
                }
                None => fits = false,
            }
            rest = tail;
        }
    }
    let [b'e' | b'E', tail @ ..] = rest else {
        return Some((significand, exponent));
    };
    let (is_negative, digits) = match tail {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let mut shift = 0i32;
    for &digit in digits {
        let longer = shift.checked_mul(10).and_then(|ten| ten.checked_add(i32::from(digit - b'0')));
        match longer {
            Some(longer) => shift = longer,
            None if significand == 0 || is_negative => return Some((0, 0)),
            None => return None,
        }
    }
    let exponent =
        if is_negative { exponent.saturating_sub(shift) } else { exponent.saturating_add(shift) };
    Some((significand, exponent))
}

fn extend(significand: u64, digit: u8) -> Option<u64> {
    significand.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
}

/// Whether significand times ten to the exponent is finite.
fn is_finite(significand: u64, exponent: i32) -> bool {
    if significand == 0 || exponent <= 0 {
        return true;
    }
    // The largest power of ten that a double holds is 10^308.
    if exponent > 308 {
        return false;
    }
    let power = format!("1e{exponent}").parse::<f64>().unwrap_or(f64::INFINITY);
    (significand as f64 * power).is_finite()
}
