//! Patterns of the old functions: plain texts with a severity, found in any case as they are spelled.

use aho_corasick::{AhoCorasick, MatchKind};

/// The highest severity; the lowest is 1.
pub const SEVERITY_MAX: i32 = 10;
/// Longer patterns are cut to this many bytes.
pub const TEXT_MAX: usize = 255;
/// Patterns at a time.
const PATTERNS_MAX: usize = 4096;

/// What is looked for from the start.
const BUILT_IN: [(&str, i32); 25] = [
    (" UNION ", 8),
    (" OR 1=1", 9),
    (" DROP TABLE", 10),
    (" SELECT * FROM", 8),
    (" INSERT INTO", 7),
    (" DELETE FROM", 8),
    (" UPDATE SET", 7),
    (" HAVING ", 7),
    ("--", 5),
    ("<script", 9),
    ("javascript:", 8),
    ("onload=", 8),
    ("onerror=", 8),
    ("alert(", 8),
    ("document.cookie", 8),
    ("eval(", 9),
    ("iframe", 7),
    ("fromCharCode", 8),
    ("../", 5),
    ("%2e%2e", 5),
    ("..\\", 5),
    ("sqlmap", 10),
    ("nmap", 10),
    ("nikto", 10),
    ("masscan", 10),
];

/// A text to look for.
pub struct Pattern {
    /// As it was given.
    pub text: Vec<u8>,
    /// 1 to [`SEVERITY_MAX`].
    pub severity: i32,
    /// When it was last found, in Unix seconds; 0: never.
    pub last_seen: i64,
}

/// All patterns, in order of addition.
#[derive(Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// Over all of them, made when it is needed.
    automaton: Option<AhoCorasick>,
}

impl Patterns {
    /// The built-in patterns.
    pub fn built_in() -> Patterns {
        let mut patterns = Patterns::default();
        for (text, severity) in BUILT_IN {
            patterns.add(text.as_bytes(), severity);
        }
        patterns
    }

    /// Adds a text, cut to [`TEXT_MAX`] bytes; one that is there stays as it is. False when it is none:
    /// empty, a severity out of range, or too many.
    pub fn add(&mut self, text: &[u8], severity: i32) -> bool {
        let text = text.get(..TEXT_MAX).unwrap_or(text);
        if text.is_empty() || !(1..=SEVERITY_MAX).contains(&severity) {
            return false;
        }
        if self.patterns.iter().any(|pattern| pattern.text == text) {
            return true;
        }
        if self.patterns.len() >= PATTERNS_MAX {
            return false;
        }
        self.patterns.push(Pattern { text: text.to_vec(), severity, last_seen: 0 });
        self.automaton = None;
        true
    }

    /// Removes a pattern; whether it was there.
    pub fn remove(&mut self, text: &[u8]) -> bool {
        let before = self.patterns.len();
        self.patterns.retain(|pattern| pattern.text != text);
        self.automaton = None;
        self.patterns.len() < before
    }

    /// In order of addition.
    pub fn all(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The highest severity of a pattern that `data` holds, if it is at least `from`.
    pub fn worst_in(&mut self, data: &[u8], from: i32, now: i64) -> Option<i32> {
        let patterns = &mut self.patterns;
        if self.automaton.is_none() {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::Standard).ascii_case_insensitive(true);
            self.automaton = builder.build(patterns.iter().map(|pattern| &pattern.text)).ok();
        }
        let mut worst = None;
        for hit in self.automaton.as_ref()?.find_overlapping_iter(data) {
            if let Some(pattern) = patterns.get_mut(hit.pattern().as_usize())
                && pattern.severity >= from
            {
                pattern.last_seen = now;
                worst = worst.max(Some(pattern.severity));
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_pattern_counts_in_any_case() {
        let mut patterns = Patterns::built_in();
        for (data, from, expected) in [
            ("hello", 1, None),
            ("A union B", 1, Some(8)),
            ("a--b", 1, Some(5)),
            ("a--b", 6, None),
            ("<SCRIPT>alert(1)", 6, Some(9)),
            ("union", 1, None),
            ("%2E%2e/..\\", 1, Some(5)),
        ] {
            assert_eq!(patterns.worst_in(data.as_bytes(), from, 7), expected, "{data}");
        }
        assert_eq!(patterns.all()[0].last_seen, 7);
        assert!(patterns.add(b"b", 10));
        assert_eq!(patterns.worst_in(b"B", 1, 8), Some(10));
    }

    #[test]
    fn nonsense_is_no_pattern() {
        let mut patterns = Patterns::default();
        assert_eq!(patterns.worst_in(b"x", 1, 0), None);
        for (text, severity, taken) in
            [("", 5, false), ("x", 0, false), ("x", 11, false), ("x", 1, true), ("x", 9, true)]
        {
            assert_eq!(patterns.add(text.as_bytes(), severity), taken, "{text} {severity}");
        }
        assert!(patterns.add(&[b'y'; 300], 3));
        assert_eq!(patterns.all()[1].text.len(), TEXT_MAX);
        assert!(patterns.remove(b"x"));
        assert!(!patterns.remove(b"x"));
    }
}
