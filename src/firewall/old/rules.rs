//! Patterns: plain texts with a severity, found in any case.

use memchr::memmem::Finder;

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
    text: Vec<u8>,
    severity: i32,
    last_seen: i64,
    lower: Finder<'static>,
}

impl Pattern {
    /// As it was given.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// 1 to [`SEVERITY_MAX`].
    pub fn severity(&self) -> i32 {
        self.severity
    }

    /// When it was last found, in Unix seconds; 0: never.
    pub fn last_seen(&self) -> i64 {
        self.last_seen
    }
}

/// The patterns of a firewall.
#[derive(Default)]
pub struct Rules {
    patterns: Vec<Pattern>,
}

impl Rules {
    /// The built-in patterns.
    pub fn built_in() -> Rules {
        let mut rules = Rules::default();
        for (text, severity) in BUILT_IN {
            rules.add(text.as_bytes(), severity);
        }
        rules
    }

    /// See [`super::Firewall::add_pattern`].
    pub fn add(&mut self, text: &[u8], severity: i32) -> bool {
        let text = &text[..text.len().min(TEXT_MAX)];
        if text.is_empty() || !(1..=SEVERITY_MAX).contains(&severity) {
            return false;
        }
        if self.patterns.iter().any(|pattern| pattern.text == text) {
            return true;
        }
        if self.patterns.len() >= PATTERNS_MAX {
            return false;
        }
        let lower = Finder::new(&text.to_ascii_lowercase()).into_owned();
        self.patterns.push(Pattern { text: text.to_vec(), severity, last_seen: 0, lower });
        true
    }

    /// Removes a pattern; whether it was there.
    pub fn remove(&mut self, text: &[u8]) -> bool {
        let before = self.patterns.len();
        self.patterns.retain(|pattern| pattern.text != text);
        self.patterns.len() < before
    }

    /// In order of addition.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The highest severity of a pattern that `data` holds, if it is at least `from`.
    pub fn worst_in(&mut self, data: &[u8], from: i32, now: i64) -> Option<i32> {
        let lower = data.to_ascii_lowercase();
        let mut worst = None;
        for pattern in self.patterns.iter_mut().filter(|pattern| pattern.severity >= from) {
            if pattern.lower.find(&lower).is_some() {
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
        let mut rules = Rules::built_in();
        for (data, from, expected) in [
            ("hello", 1, None),
            ("A union B", 1, Some(8)),
            ("a--b", 1, Some(5)),
            ("a--b", 6, None),
            ("<SCRIPT>alert(1)", 6, Some(9)),
            ("union", 1, None),
        ] {
            assert_eq!(rules.worst_in(data.as_bytes(), from, 7), expected, "{data}");
        }
        assert_eq!(rules.patterns()[0].last_seen(), 7);
    }

    #[test]
    fn nonsense_is_no_pattern() {
        let mut rules = Rules::default();
        for (text, severity, taken) in
            [("", 5, false), ("x", 0, false), ("x", 11, false), ("x", 1, true), ("x", 9, true)]
        {
            assert_eq!(rules.add(text.as_bytes(), severity), taken, "{text} {severity}");
        }
        assert!(rules.add(&[b'y'; 300], 3));
        assert_eq!(rules.patterns()[1].text().len(), TEXT_MAX);
        assert!(rules.remove(b"x"));
        assert!(!rules.remove(b"x"));
    }
}
