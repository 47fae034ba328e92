//! HTTP dates (RFC 9110 section 5.6.7). Seconds since 1970-01-01T00:00:00Z, without leap seconds.
#![forbid(unsafe_code)]

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const LONG_DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The first and last second that four digits of a year can express.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT`. Times outside the years 0000 to 9999 are clamped.
pub fn imf_fixdate(unix_seconds: i64) -> [u8; 29] {
    let seconds = unix_seconds.clamp(FIRST, LAST);
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let weekday = (days + 4).rem_euclid(7) as usize;

    let mut text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
    text[0..3].copy_from_slice(DAYS[weekday % 7]);
    put_two(&mut text, 5, day);
    text[8..11].copy_from_slice(MONTHS[(month as usize - 1) % 12]);
    put_two(&mut text, 12, year / 100);
    put_two(&mut text, 14, year % 100);
    put_two(&mut text, 17, second / 3600);
    put_two(&mut text, 20, second / 60 % 60);
    put_two(&mut text, 23, second % 60);
    text
}

/// `1994-11-06T08:49:37Z` (RFC 3339). Times outside the years 0000 to 9999 are clamped.
pub fn rfc3339(unix_seconds: i64) -> String {
    String::from_utf8_lossy(&[&second(unix_seconds)[..], b"Z"].concat()).into_owned()
}

/// Appends `1994-11-06T08:49:37.250Z`.
pub fn rfc3339_ms(out: &mut Vec<u8>, unix_ms: i64) {
    let ms = unix_ms.rem_euclid(1_000);
    let mut part = *b".000Z";
    part[1] += (ms / 100) as u8;
    put_two(&mut part, 2, ms);
    out.extend_from_slice(&second(unix_ms.div_euclid(1_000)));
    out.extend_from_slice(&part);
}

/// `1994-11-06T08:49:37`.
fn second(unix_seconds: i64) -> [u8; 19] {
    let seconds = unix_seconds.clamp(FIRST, LAST);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let mut text = *b"0000-00-00T00:00:00";
    put_two(&mut text, 0, year / 100);
    put_two(&mut text, 2, year % 100);
    put_two(&mut text, 5, month);
    put_two(&mut text, 8, day);
    put_two(&mut text, 11, second / 3600);
    put_two(&mut text, 14, second / 60 % 60);
    put_two(&mut text, 17, second % 60);
    text
}

fn put_two(text: &mut [u8], at: usize, value: i64) {
    text[at] = b'0' + (value / 10 % 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

/// Reads any of the three formats: IMF-fixdate, RFC 850 and asctime. A two-digit year from 70 on
/// is of the last century. `None` when it is not a date, day and time out of range included.
pub fn parse(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let Some((day_name, rest)) = text.split_once(", ") else {
        return asctime(text);
    };
    let long = LONG_DAYS.contains(&day_name);
    if !long && !is_day(day_name) {
        return None;
    }
    let rest = rest.strip_suffix(" GMT")?;
    let separator = if long { '-' } else { ' ' };
    let (day, rest) = rest.split_once(separator)?;
    let (month, rest) = rest.split_once(separator)?;
    let (year, time) = rest.split_once(' ')?;
    let year = if long {
        let short = digits(year, 2)?;
        if short < 70 { 2000 + short } else { 1900 + short }
    } else {
        digits(year, 4)?
    };
    seconds_of(year, month, digits(day, 2)?, time)
}

/// Reads RFC 3339 (`1994-11-06T08:49:37.25+01:00`); a part of a second counts as a whole one.
pub fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = usize::try_from(digits(parts.next()?, 2)?).ok()?.checked_sub(1)?;
    let month = std::str::from_utf8(*MONTHS.get(month)?).ok()?;
    let day = digits(parts.next()?, 2)?;
    let (time, rest) = rest.split_at_checked(8)?;
    let seconds = seconds_of(year, month, day, time).filter(|_| parts.next().is_none())?;
    let (part, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    let has_part = part.bytes().any(|digit| digit != b'0');
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let offset = digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60;
            if sign == "+" { offset } else { -offset }
        }
        _ => return None,
    };
    Some(seconds - offset + i64::from(has_part))
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<i64> {
    let (day_name, rest) = text.split_once(' ')?;
    if !is_day(day_name) {
        return None;
    }
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let day = match day.strip_prefix(' ') {
        Some(one) => digits(one, 1)?,
        None => digits(day, 2)?,
    };
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    seconds_of(digits(year, 4)?, month, day, time)
}

fn is_day(name: &str) -> bool {
    DAYS.iter().any(|day| name.as_bytes() == day.as_slice())
}

/// Exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    if text.len() != count || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn seconds_of(year: i64, month: &str, day: i64, time: &str) -> Option<i64> {
    let month = MONTHS.iter().position(|name| name.as_slice() == month.as_bytes())? as i64 + 1;
    let mut parts = time.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = digits(parts.next()?, 2)?;
    // 60 is a leap second; it counts as the next second, as everywhere.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    // Comparing back refuses the 30th of February without a table of month lengths.
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years begin in March, so
/// the leap day is the last day of a year and months follow one formula; 400 years repeat.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse: year, month (1..=12), day (1..=31).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong Date breaks caches; a misread Retry-After hammers an upstream.
    #[test]
    fn known_dates_both_ways() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_609_459_199, "Thu, 31 Dec 2020 23:59:59 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (FIRST, "Sat, 01 Jan 0000 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)).unwrap(), text);
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
        }
        assert_eq!(imf_fixdate(i64::MAX), imf_fixdate(LAST));
        assert_eq!(imf_fixdate(i64::MIN), imf_fixdate(FIRST));
    }

    #[test]
    fn times_as_rfc_3339_has_them() {
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59Z");
        for (ms, expected) in [
            (784_111_777_250, "1994-11-06T08:49:37.250Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (7, "1970-01-01T00:00:00.007Z"),
        ] {
            let mut text = Vec::new();
            rfc3339_ms(&mut text, ms);
            assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
        }
    }

    /// Every day of four centuries, so that no rule of the calendar is missed.
    #[test]
    fn every_day_comes_back() {
        let mut date = (1970, 1, 1);
        for day in 0..146_097 {
            assert_eq!(civil_from_days(day), date);
            assert_eq!(days_from_civil(date.0, date.1, date.2), day);
            let leap = date.0 % 4 == 0 && (date.0 % 100 != 0 || date.0 % 400 == 0);
            let length = match date.1 {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            date = match date {
                (year, 12, 31) => (year + 1, 1, 1),
                (year, month, day) if day == length => (year, month + 1, 1),
                (year, month, day) => (year, month, day + 1),
            };
        }
    }

    /// The two obsolete formats must be understood, nothing else.
    #[test]
    fn formats_and_garbage() {
        for text in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(parse(b"Sun Nov 16 08:49:37 1994"), Some(784_111_777 + 864_000));
        assert_eq!(parse(b"Friday, 06-Nov-26 08:49:37 GMT"), Some(1_793_954_977));
        assert_eq!(parse(b"Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_800));
        for bad in [
            "",
            "120",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 30 Feb 2000 00:00:00 GMT",
            "Sun, 00 Jan 2000 00:00:00 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun,06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Foo, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov",
            "Sun Nov é6",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "\u{ff11}",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"\xff"), None);
    }
}
