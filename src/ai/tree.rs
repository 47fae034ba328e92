//! A JSON text as a tree that borrows from it.
//!
//! Unlike `serde_json::Value`, every value keeps its own text (so a number or a schema crosses a
//! translation exactly as it was written), members keep their order, and repeated members stay
//! visible. Depth and number of values are bounded, so a hostile body cannot grow the tree or the
//! stack. RFC 8259.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use crate::json;

/// Deepest nesting of arrays and objects, the same as without a tree.
pub const DEPTH_MAX: usize = json::DEPTH_MAX as usize;
/// Most values in one tree; about 16 MiB of nodes.
pub const NODES_MAX: usize = 1 << 18;

/// One value and the text it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    /// The value's text, without blanks around it.
    pub raw: &'a str,
    /// The value.
    pub value: Value<'a>,
}

/// A value; a number is its text in [`Node::raw`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, valid by the grammar of JSON.
    Number,
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object: members in the order of the text.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// Why a text is not a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeError {
    /// Byte offset.
    pub at: usize,
    /// What was expected or found.
    pub what: &'static str,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Reads one JSON text, blanks around it allowed.
pub fn parse(bytes: &[u8]) -> Result<Node<'_>, TreeError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            return Err(TreeError { at: e.valid_up_to(), what: "text that is not UTF-8" });
        }
    };
    parse_str(text)
}

/// Reads one JSON text, blanks around it allowed.
pub fn parse_str(text: &str) -> Result<Node<'_>, TreeError> {
    let mut parser = Parser { text, at: 0, nodes: 0 };
    parser.blanks();
    let node = parser.node(0)?;
    parser.blanks();
    if parser.at != text.len() {
        return Err(parser.error("text after the JSON value"));
    }
    Ok(node)
}

impl<'a> Node<'a> {
    /// The first member with this name, unless it is `null`.
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.members()
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, node)| node)
            .filter(|node| !node.is_null())
    }

    /// Follows names through objects.
    pub fn path(&self, names: &[&str]) -> Option<&Node<'a>> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The members of an object; none for another value.
    pub fn members(&self) -> &[(Cow<'a, str>, Node<'a>)] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of an array; none for another value.
    pub fn items(&self) -> &[Node<'a>] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// A string's text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A boolean.
    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A number without fraction, sign or exponent that fits; `3.0` counts as 3, as some clients
    /// write whole numbers so.
    pub fn unsigned(&self) -> Option<u64> {
        if matches!(self.value, Value::Number) { whole_number(self.raw) } else { None }
    }

    /// A number as floating point.
    pub fn float(&self) -> Option<f64> {
        if matches!(self.value, Value::Number) { self.raw.parse().ok() } else { None }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        matches!(self.value, Value::Array(_))
    }

    /// The text of the string member `name`.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Node::text)
    }

    /// The value of the whole-number member `name`.
    pub fn unsigned_of(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Node::unsigned)
    }

    /// What the value is, for an error message: "a string".
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number if self.raw.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) => {
                "a decimal number"
            }
            Value::Number => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

/// A number's text as a whole number, as [`Node::unsigned`] takes it.
pub fn whole_number(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let (whole, zeros) = text.split_once('.')?;
        if zeros.bytes().all(|b| b == b'0') { whole.parse().ok() } else { None }
    })
}

/// A number of up to 15 digits and nothing else, as a whole number nearly always is.
pub fn digits(text: &[u8]) -> Option<u64> {
    let are_digits = matches!(text.len(), 1..=15) && text.iter().all(u8::is_ascii_digit);
    are_digits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A value of a document that was read before, when its text tells it at a glance: a word, a number,
/// a string without escapes.
pub fn glance(bytes: &[u8]) -> Option<Node<'_>> {
    let raw = std::str::from_utf8(bytes).ok()?;
    let value = match bytes {
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        b"null" => Value::Null,
        [b'-' | b'0'..=b'9', ..] => Value::Number,
        [b'"', text @ .., b'"'] if memchr::memchr(b'\\', text).is_none() => {
            Value::String(Cow::Borrowed(raw.get(1..raw.len() - 1)?))
        }
        _ => return None,
    };
    Some(Node { raw, value })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &'static str) -> TreeError {
        TreeError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The text from `start` to here. Both ends stand beside an ASCII byte or at an end of the
    /// text, hence on character boundaries.
    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    fn node(&mut self, depth: usize) -> Result<Node<'a>, TreeError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.error("more values than are allowed"));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => Value::String(self.string()?),
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) => return Err(self.error("a character that begins no JSON value")),
            None => return Err(self.error("the end of the text where a value was expected")),
        };
        Ok(Node { raw: self.slice(start), value })
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, TreeError> {
        match self.text.as_bytes().get(self.at..) {
            Some(rest) if rest.starts_with(word.as_bytes()) => {
                self.at += word.len();
                Ok(value)
            }
            _ => Err(self.error("a character that begins no JSON value")),
        }
    }

    fn digits(&mut self) -> Result<(), TreeError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a number without a digit"));
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'a>, TreeError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number)
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, TreeError> {
        if depth >= DEPTH_MAX {
            return Err(self.error("nesting deeper than is allowed"));
        }
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.blanks();
            items.push(self.node(depth + 1)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.error("neither a comma nor the end of an array")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, TreeError> {
        if depth >= DEPTH_MAX {
            return Err(self.error("nesting deeper than is allowed"));
        }
        self.at += 1;
        let mut members = Vec::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.error("a member without a quoted name"));
            }
            let name = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.error("a member without a colon"));
            }
            self.at += 1;
            self.blanks();
            members.push((name, self.node(depth + 1)?));
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.error("neither a comma nor the end of an object")),
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, TreeError> {
        self.at += 1;
        let start = self.at;
        self.plain()?;
        if self.peek() == Some(b'"') {
            let text = self.slice(start);
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::from(self.slice(start));
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                _ => self.escape(&mut text)?,
            }
            let start = self.at;
            self.plain()?;
            text.push_str(self.slice(start));
        }
    }

    /// Goes on to the next quote or backslash of a string.
    fn plain(&mut self) -> Result<(), TreeError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or(&[]);
        let Some(len) = memchr::memchr2(b'"', b'\\', rest) else {
            self.at = self.text.len();
            return Err(self.error("a string without an end"));
        };
        let run = rest.get(..len).unwrap_or(&[]);
        // Without a way out of the loop many bytes are looked at together.
        if run.iter().fold(false, |bad, &b| bad | (b < 0x20)) {
            self.at += run.iter().position(|&b| b < 0x20).unwrap_or(0);
            return Err(self.error("a bare control character in a string"));
        }
        self.at += len;
        Ok(())
    }

    fn escape(&mut self, text: &mut String) -> Result<(), TreeError> {
        self.at += 1;
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                text.push(self.code_point()?);
                return Ok(());
            }
            _ => return Err(self.error("an unknown escape in a string")),
        };
        self.at += 1;
        text.push(escaped);
        Ok(())
    }

    fn code_point(&mut self) -> Result<char, TreeError> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u"))
                {
                    return Err(self.error("half of a surrogate pair"));
                }
                self.at += 2;
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.error("half of a surrogate pair"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.error("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, TreeError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.error("an escape without four digits"))?;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_serde_json_on_what_is_valid() {
        let texts: &[&str] = &[
            "null",
            " true ",
            "[]",
            "{}",
            "[1,2]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "01",
            "-",
            "-0",
            "1.",
            "1.5e+3",
            "1e",
            ".5",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\x\"",
            "\"a\u{1}\"",
            "\"é\"",
            "\"",
            "tru",
            "[1 2]",
            "",
            " ",
            "{\"a\":}",
            "\"\\u12\"",
            "[[[[]]]]",
            "nulls",
            "{a:1}",
            "\"\\\\\"",
            "[\"\\\"\"]",
            "\u{feff}1",
            "1 1",
        ];
        for text in texts {
            let ours = parse(text.as_bytes());
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: {ours:?} against {theirs:?}");
            if let (Ok(node), Ok(value)) = (&ours, &theirs)
                && let Some(string) = value.as_str()
            {
                assert_eq!(node.text(), Some(string));
            }
        }
    }

    #[test]
    fn values_keep_their_text() {
        let node =
            parse(br#" {"n": 0.70, "big": 123456789012345678901234567890, "o": {"b":1,"a":[ ]}} "#)
                .unwrap();
        assert_eq!(node.get("n").unwrap().raw, "0.70");
        assert_eq!(node.get("big").unwrap().raw, "123456789012345678901234567890");
        assert_eq!(node.get("o").unwrap().raw, r#"{"b":1,"a":[ ]}"#);
        assert_eq!(node.get("big").unwrap().unsigned(), None);
        assert_eq!(parse(b"3.0").unwrap().unsigned(), Some(3));
        assert_eq!(parse(b"3.5").unwrap().unsigned(), None);
    }

    #[test]
    fn hostile_shapes_are_refused_not_followed() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).unwrap_err().what, "nesting deeper than is allowed");
        let wide = format!("[{}0]", "0,".repeat(NODES_MAX));
        assert_eq!(parse(wide.as_bytes()).unwrap_err().what, "more values than are allowed");
        assert_eq!(parse(b"\"\xff\"").unwrap_err().at, 1);
        // Every prefix of a valid text is an error, never a panic.
        let text = "{\"a\":[1.5e3,\"\\ud83d\\ude00é\",null],\"b\":{\"c\":true}}";
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
