//! The old functions' settings as text: what is written is read back.
//!
//! Sections `[rate_limits]` (`key = number`), `[whitelist]` (`address,permanent,expiry`), `[blacklist]`
//! (`address,reason,description`) and `[attack_patterns]` (`pattern,severity`, the severity after the
//! last comma). Lines that begin with `#` are comments, so a pattern that begins so is not kept.

use super::policy::{Limits, Policy};
use crate::firewall::Moment;

const RATE_LIMITS: &[u8] = b"[rate_limits]";
const WHITELIST: &[u8] = b"[whitelist]";
const BLACKLIST: &[u8] = b"[blacklist]";
const PATTERNS: &[u8] = b"[attack_patterns]";

impl Policy {
    /// Limits, lists and patterns as text.
    pub fn to_text(&mut self, now: i64) -> Vec<u8> {
        let mut text = b"# Firewall settings: limits, address lists, patterns.\n".to_vec();
        let limits = self.limits();
        section(&mut text, RATE_LIMITS);
        for (key, value) in [
            ("max_requests_per_minute", limits.requests_per_minute),
            ("block_duration_minutes", limits.block_minutes),
            ("suspicious_threshold", limits.suspicious_threshold),
            ("brute_force_threshold", limits.brute_force_threshold),
            ("brute_force_window_seconds", limits.brute_force_window_s),
        ] {
            text.extend_from_slice(format!("{key} = {value}\n").as_bytes());
        }
        section(&mut text, WHITELIST);
        for (address, until) in self.allowed(now) {
            let rest = format!("{},{}", i32::from(until.is_none()), until.unwrap_or(0));
            line(&mut text, &[&address, rest.as_bytes()]);
        }
        section(&mut text, BLACKLIST);
        for (address, reason, description) in self.denied() {
            line(&mut text, &[&address, reason.to_string().as_bytes(), description.as_bytes()]);
        }
        section(&mut text, PATTERNS);
        for pattern in self.patterns().all() {
            line(&mut text, &[&pattern.text, pattern.severity.to_string().as_bytes()]);
        }
        text
    }

    /// Adds what the text holds. Lines that make no sense are passed over.
    pub fn add_text(&mut self, text: &[u8], moment: Moment) {
        let now = moment.unix_s;
        let mut limits = self.limits();
        let mut within: &[u8] = b"";
        for line in lines(text) {
            if line.starts_with(b"[") && line.ends_with(b"]") {
                within = line;
                continue;
            }
            match within {
                RATE_LIMITS => read_limit(&mut limits, line),
                WHITELIST => self.read_allowed(line, now),
                BLACKLIST => self.read_denied(line, now),
                PATTERNS => {
                    self.read_pattern(line);
                }
                _ => {}
            }
        }
        self.set_limits(limits, moment);
    }

    /// Adds `pattern,severity` lines; how many made sense.
    pub fn add_patterns_text(&mut self, text: &[u8]) -> usize {
        lines(text).filter(|line| self.read_pattern(line)).count()
    }

    fn read_allowed(&mut self, line: &[u8], now: i64) {
        let Some((address, rest)) = split(line, b',') else { return };
        let Some((permanent, until)) = split(rest, b',') else { return };
        let (Some(permanent), Some(until)) = (number(permanent), number(until)) else { return };
        if permanent != 0 {
            self.allow(address, None, now);
        } else if until >= now {
            self.allow(address, Some(until), now);
        }
    }

    fn read_denied(&mut self, line: &[u8], now: i64) {
        let Some((address, rest)) = split(line, b',') else { return };
        let (reason, description) = split(rest, b',').unwrap_or((rest, b""));
        let Some(reason) = number(reason).and_then(|reason| i32::try_from(reason).ok()) else {
            return;
        };
        self.deny(address, reason, description, now);
    }

    fn read_pattern(&mut self, line: &[u8]) -> bool {
        let Some(comma) = memchr::memrchr(b',', line) else { return false };
        let (pattern, severity) = (&line[..comma], &line[comma + 1..]);
        match number(severity).and_then(|severity| i32::try_from(severity).ok()) {
            Some(severity) => self.patterns_mut().add(pattern, severity),
            None => false,
        }
    }
}

fn read_limit(limits: &mut Limits, line: &[u8]) {
    let Some((key, value)) = split(line, b'=') else { return };
    let Some(value) = number(value).and_then(|value| i32::try_from(value).ok()) else { return };
    match key.trim_ascii() {
        b"max_requests_per_minute" => limits.requests_per_minute = value,
        b"block_duration_minutes" => limits.block_minutes = value,
        b"suspicious_threshold" => limits.suspicious_threshold = value,
        b"brute_force_threshold" => limits.brute_force_threshold = value,
        b"brute_force_window_seconds" => limits.brute_force_window_s = value,
        _ => {}
    }
}

fn section(text: &mut Vec<u8>, name: &[u8]) {
    text.push(b'\n');
    text.extend_from_slice(name);
    text.push(b'\n');
}

/// One line of fields; line breaks inside a field become blanks, or it would be read as two lines.
fn line(text: &mut Vec<u8>, fields: &[&[u8]]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend(
            field.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }),
        );
    }
    text.push(b'\n');
}

/// Lines without their ends, blank ones and comments left out. Leading blanks stay: they may belong to
/// a pattern.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#"))
}

fn split(line: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, line)?;
    Some((&line[..place], &line[place + 1..]))
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment { now_ms: 1_000, unix_s: seconds }
    }

    fn cleared() -> Policy {
        let mut policy = Policy::new(Vec::new(), 0);
        policy.clear();
        policy
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut first = Policy::new(Vec::new(), 0);
        let limits =
            Limits { requests_per_minute: 7, suspicious_threshold: 99, ..Limits::default() };
        first.set_limits(limits, at(0));
        first.patterns_mut().add(b"a,b,c", 6);
        first.patterns_mut().add(b"[odd]", 4);
        first.patterns_mut().remove(b"nmap");
        first.allow(b"10.0.0.1", None, 0);
        first.allow(b"a host", Some(500), 0);
        first.deny(b"10.0.0.3", 2, b"too, many\nlines", 100);
        let text = first.to_text(100);

        let mut second = cleared();
        second.add_text(&text, at(100));
        assert_eq!(second.limits(), first.limits());
        let patterns = |policy: &Policy| -> Vec<(Vec<u8>, i32)> {
            policy.patterns().all().iter().map(|p| (p.text.clone(), p.severity)).collect()
        };
        assert_eq!(patterns(&second), patterns(&first));
        assert!(second.is_allowed(b"10.0.0.1", 1000) && second.is_allowed(b"a host", 500));
        assert!(!second.is_allowed(b"a host", 501));
        assert_eq!(second.denied(), [(b"10.0.0.3".to_vec(), 2, "too, many lines".into())]);
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        let mut policy = cleared();
        policy.add_text(
            b"x,1\n[rate_limits]\nmax_requests_per_minute = 99999999999\nnonsense\n[whitelist]\nonly\na,b,c\n\
              [blacklist]\nno-reason\n[attack_patterns]\n,5\nx,\ny,11\nz,5\n\xff\xfe,3\r\n[unknown]\nq,5",
            at(0),
        );
        assert_eq!(policy.limits(), Limits::default());
        assert_eq!(policy.patterns().all().len(), 2);
        assert!(policy.allowed(0).is_empty() && policy.denied().is_empty());
        assert_eq!(policy.add_patterns_text(b"# c\n\nz,5\nnew,6\nbad\n"), 2);
    }
}
