//! Route patterns: `/fixed`, `/:param`, `/*rest`.

use std::sync::Arc;

use crate::base::limits;

/// Why a pattern was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatternError {
    /// It does not begin with a slash.
    NoSlash,
    /// A parameter has no name, or its name holds more than letters, digits and underscores.
    Name,
    /// A parameter's name stands twice.
    NameTwice,
    /// The rest is not the last segment.
    RestInside,
    /// A bound was passed.
    TooLong,
    /// It holds a control character, a blank, `?` or `#`.
    Character,
}

impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PatternError::NoSlash => "a pattern begins with a slash",
            PatternError::Name => "a parameter is ':' or '*' and a name of letters, digits and '_'",
            PatternError::NameTwice => "a parameter's name stands twice in the pattern",
            PatternError::RestInside => "'*rest' is the last segment of a pattern",
            PatternError::TooLong => "the pattern or its number of parameters is too large",
            PatternError::Character => "the pattern holds a blank, '?', '#' or a control character",
        })
    }
}

/// One segment of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    Fixed(Vec<u8>),
    Param,
    Rest,
}

/// A checked pattern.
pub(super) struct Pattern {
    text: Vec<u8>,
    segments: Vec<Segment>,
    names: Vec<Arc<str>>,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, PatternError> {
        let inside = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        if text.len() > limits::ROUTE_PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if text.bytes().any(|b| b <= b' ' || b == 0x7F || b == b'?' || b == b'#') {
            return Err(PatternError::Character);
        }
        let mut pattern =
            Pattern { text: text.as_bytes().to_vec(), segments: Vec::new(), names: Vec::new() };
        let mut parts = inside.split('/').peekable();
        while let Some(part) = parts.next() {
            let segment = match part.as_bytes().first() {
                Some(b':') => Segment::Param,
                Some(b'*') => Segment::Rest,
                _ => Segment::Fixed(part.as_bytes().to_vec()),
            };
            if segment == Segment::Rest && parts.peek().is_some() {
                return Err(PatternError::RestInside);
            }
            if !matches!(segment, Segment::Fixed(_)) {
                pattern.add_name(&part[1..])?;
            }
            pattern.segments.push(segment);
        }
        Ok(pattern)
    }

    fn add_name(&mut self, name: &str) -> Result<(), PatternError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(PatternError::Name);
        }
        if self.names.iter().any(|have| &**have == name) {
            return Err(PatternError::NameTwice);
        }
        if self.names.len() >= limits::ROUTE_PARAMS_MAX {
            return Err(PatternError::TooLong);
        }
        self.names.push(name.into());
        Ok(())
    }

    /// The whole path, when nothing in it varies.
    pub(super) fn fixed_path(&self) -> Option<&[u8]> {
        self.names.is_empty().then_some(&self.text[..])
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn names(&self) -> Arc<[Arc<str>]> {
        self.names.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_patterns_are_named() {
        for (text, want) in [
            ("", PatternError::NoSlash),
            ("a", PatternError::NoSlash),
            ("/:", PatternError::Name),
            ("/*", PatternError::Name),
            ("/:a-b", PatternError::Name),
            ("/:a/:a", PatternError::NameTwice),
            ("/:a/*a", PatternError::NameTwice),
            ("/*a/b", PatternError::RestInside),
            ("/a b", PatternError::Character),
            ("/a?b", PatternError::Character),
        ] {
            assert_eq!(Pattern::parse(text).err(), Some(want), "{text}");
        }
        let long = format!("/{}", "x".repeat(limits::ROUTE_PATTERN_BYTES_MAX));
        assert_eq!(Pattern::parse(&long).err(), Some(PatternError::TooLong));
        let many: String = (0..=limits::ROUTE_PARAMS_MAX).map(|n| format!("/:p{n}")).collect();
        assert_eq!(Pattern::parse(&many).err(), Some(PatternError::TooLong));
        assert!(Pattern::parse("/a:b/c*d").is_ok());
    }
}
