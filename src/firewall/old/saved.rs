//! The firewall's settings as text: what is written is read back.
//!
//! Sections `[rate_limits]` (`key = number`), `[whitelist]` (`address,permanent,expiry`), `[blacklist]`
//! (`address,reason,description`) and `[attack_patterns]` (`pattern,severity`, the severity after the
//! last comma). Lines that begin with `#` are comments, so a pattern that begins so is not kept.

use super::{Denied, Firewall};

const RATE_LIMITS: &[u8] = b"[rate_limits]";
const WHITELIST: &[u8] = b"[whitelist]";
const BLACKLIST: &[u8] = b"[blacklist]";
const PATTERNS: &[u8] = b"[attack_patterns]";

impl Firewall {
    /// Limits, lists and patterns as text.
    pub fn to_text(&mut self, now: i64) -> Vec<u8> {
        let mut text = b"# Firewall settings: limits, address lists, patterns.\n".to_vec();
        let limits = self.limits;
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
        for (address, until, ()) in self.allow.entries(now) {
            let rest = format!("{},{}", i32::from(until.is_none()), until.unwrap_or(0));
            line(&mut text, &[address, rest.as_bytes()]);
        }
        section(&mut text, BLACKLIST);
        for (address, _, denied) in self.deny.entries(now) {
            line(&mut text, &[address, denied.reason.to_string().as_bytes(), &denied.description]);
        }
        section(&mut text, PATTERNS);
        for pattern in self.rules.patterns() {
            line(&mut text, &[pattern.text(), pattern.severity().to_string().as_bytes()]);
        }
        text
    }

    /// Adds what the text holds. Lines that make no sense are passed over.
    pub fn add_text(&mut self, text: &[u8], now: i64) {
        let mut within: &[u8] = b"";
        for line in lines(text) {
            if line.starts_with(b"[") && line.ends_with(b"]") {
                within = line;
                continue;
            }
            match within {
                RATE_LIMITS => self.read_limit(line),
                WHITELIST => self.read_allowed(line, now),
                BLACKLIST => self.read_denied(line, now),
                PATTERNS => {
                    self.read_pattern(line);
                }
                _ => {}
            }
        }
    }

    /// Adds `pattern,severity` lines; how many made sense.
    pub fn add_patterns_text(&mut self, text: &[u8]) -> usize {
        lines(text).filter(|line| self.read_pattern(line)).count()
    }

    fn read_limit(&mut self, line: &[u8]) {
        let Some((key, value)) = split(line, b'=') else { return };
        let Some(value) = number(value).and_then(|value| i32::try_from(value).ok()) else { return };
        match key.trim_ascii() {
            b"max_requests_per_minute" => self.limits.requests_per_minute = value,
            b"block_duration_minutes" => self.limits.block_minutes = value,
            b"suspicious_threshold" => self.limits.suspicious_threshold = value,
            b"brute_force_threshold" => self.limits.brute_force_threshold = value,
            b"brute_force_window_seconds" => self.limits.brute_force_window_s = value,
            _ => {}
        }
    }

    fn read_allowed(&mut self, line: &[u8], now: i64) {
        let Some((address, rest)) = split(line, b',') else { return };
        let Some((permanent, until)) = split(rest, b',') else { return };
        let (Some(permanent), Some(until)) = (number(permanent), number(until)) else { return };
        if permanent != 0 {
            self.allow.add(address, (), None);
        } else if until >= now {
            self.allow.add(address, (), Some(until));
        }
    }

    fn read_denied(&mut self, line: &[u8], now: i64) {
        let Some((address, rest)) = split(line, b',') else { return };
        let (reason, description) = split(rest, b',').unwrap_or((rest, b""));
        let Some(reason) = number(reason).and_then(|reason| i32::try_from(reason).ok()) else {
            return;
        };
        let description = description[..description.len().min(super::TEXT_MAX)].to_vec();
        self.deny.add(address, Denied { reason, description, added: now }, None);
    }

    fn read_pattern(&mut self, line: &[u8]) -> bool {
        let Some(comma) = memchr::memrchr(b',', line) else { return false };
        let (pattern, severity) = (&line[..comma], &line[comma + 1..]);
        match number(severity).and_then(|severity| i32::try_from(severity).ok()) {
            Some(severity) => self.rules.add(pattern, severity),
            None => false,
        }
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
    use super::super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut first = Firewall::new(Vec::new(), 0);
        first.set_limits(Limits {
            requests_per_minute: 7,
            suspicious_threshold: 99,
            ..Limits::default()
        });
        first.add_pattern(b"a,b,c", 6);
        first.add_pattern(b"[odd]", 4);
        first.remove_pattern(b"nmap");
        first.allow_list().add(b"10.0.0.1", (), None);
        first.allow_list().add(b"10.0.0.2", (), Some(500));
        let denied = Denied { reason: 2, description: b"too, many\nlines".to_vec(), added: 100 };
        first.deny_list().add(b"10.0.0.3", denied, None);
        let text = first.to_text(100);

        let mut second = Firewall::new(Vec::new(), 0);
        second.clear();
        second.add_text(&text, 100);
        assert_eq!(second.limits(), first.limits());
        let patterns = |firewall: &Firewall| -> Vec<(Vec<u8>, i32)> {
            firewall.patterns().iter().map(|p| (p.text().to_vec(), p.severity())).collect()
        };
        assert_eq!(patterns(&second), patterns(&first));
        assert!(second.allow_list().contains(b"10.0.0.1", 1000));
        assert!(second.allow_list().contains(b"10.0.0.2", 500));
        assert!(!second.allow_list().contains(b"10.0.0.2", 501));
        let entries = second.deny_list().entries(100);
        assert_eq!(entries[0].2.description, b"too, many lines");
        assert_eq!(entries[0].2.reason, 2);
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        let mut firewall = Firewall::new(Vec::new(), 0);
        firewall.clear();
        firewall.add_text(
            b"x,1\n[rate_limits]\nmax_requests_per_minute = 99999999999\nnonsense\n[whitelist]\nonly\na,b,c\n\
              [blacklist]\nno-reason\n[attack_patterns]\n,5\nx,\ny,11\nz,5\n\xff\xfe,3\r\n[unknown]\nq,5",
            0,
        );
        assert_eq!(firewall.limits(), Limits::default());
        assert_eq!(firewall.patterns().len(), 2);
        assert_eq!(firewall.allow_list().count(0), 0);
        assert_eq!(firewall.deny_list().count(0), 0);
        assert_eq!(firewall.add_patterns_text(b"# c\n\nz,5\nnew,6\nbad\n"), 2);
    }
}
