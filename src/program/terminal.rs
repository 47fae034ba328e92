//! Figures as people read them, and whether people read them.

use std::fmt::Write as _;

/// A duration with the unit that fits, three figures: `1.23 ms`.
pub(crate) fn duration(us: f64) -> String {
    let (value, unit) = match us {
        _ if us < 1e3 => (us, "µs"),
        _ if us < 1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    format!("{} {unit}", figures(value))
}

/// Bytes with the unit that fits: `98.2 MiB`.
pub(crate) fn bytes(count: f64) -> String {
    let mut value = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = if unit == "B" { format!("{value:.0}") } else { figures(value) };
            return format!("{digits} {unit}");
        }
        value /= 1024.0;
    }
    format!("{} TiB", figures(value))
}

/// A count in groups of three: `1 234 567`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A rate: grouped when it is large, with decimals when it is small.
pub(crate) fn rate(value: f64) -> String {
    if value >= 100.0 { count(value.round() as u64) } else { figures(value) }
}

/// Three figures, or all digits before the point.
pub(crate) fn figures(value: f64) -> String {
    let decimals = match value.abs() {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if value == 0.0 { "0".to_owned() } else { text }
}

/// A bar of `width` columns, filled for a share from 0 to 1, in eighths of a column.
pub(crate) fn bar(share: f64, width: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    text.push_str(PARTS[eighths % 8]);
    let used = eighths.div_ceil(8);
    for _ in used..width {
        text.push('░');
    }
    text
}

/// Text that cannot move the cursor or end a line: control characters become `�`.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let _ = out.write_char(if letter.is_control() { '\u{fffd}' } else { letter });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_fits() {
        assert_eq!(duration(0.0), "0 µs");
        assert_eq!(duration(12.34), "12.3 µs");
        assert_eq!(duration(999_400.0), "999 ms");
        assert_eq!(duration(61e6), "61.0 s");
        assert_eq!(bytes(1023.0), "1023 B");
        assert_eq!(bytes(1536.0), "1.50 KiB");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(123), "123");
        assert_eq!(rate(51_234.4), "51 234");
        assert_eq!(rate(1.5), "1.50");
    }

    #[test]
    fn a_bar_is_as_wide_as_it_is_told() {
        for share in [-1.0, 0.0, 0.01, 0.5, 0.99, 1.0, 2.0] {
            assert_eq!(bar(share, 10).chars().count(), 10, "{share}");
        }
        assert_eq!(bar(0.5, 4), "██░░");
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
