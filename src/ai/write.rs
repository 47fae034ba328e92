//! JSON and server-sent events written by plain pushes.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::ai::tree;
use crate::json;

/// Appends `text` as a JSON string with its quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    json::escape_into(out, text);
}

/// Appends a whole number in decimal.
pub fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut len = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        len += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - len..).unwrap_or(&[]));
}

/// A JSON object in the writing. Call [`Object::end`].
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    /// Writes the opening brace.
    pub fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        out.push(b'{');
        Object { out, first: true }
    }

    /// Writes a name and hands out the buffer for its value. `name` is one of ours: it needs no
    /// escape.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A string member.
    pub fn string(&mut self, name: &str, value: &str) -> &mut Self {
        string(self.key(name), value);
        self
    }

    /// A string member if there is a value.
    pub fn string_if(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.string(name, value);
        }
        self
    }

    /// A string member, or `null`.
    pub fn string_or_null(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.string(name, value),
            None => self.raw(name, "null"),
        }
    }

    /// A whole-number member.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        number(self.key(name), value);
        self
    }

    /// A boolean member.
    pub fn boolean(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// A member whose value is JSON text already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        self.key(name).extend_from_slice(json.as_bytes());
        self
    }

    /// A member whose value is JSON text already, if there is one.
    pub fn raw_if(&mut self, name: &str, json: Option<&str>) -> &mut Self {
        if let Some(json) = json {
            self.raw(name, json);
        }
        self
    }

    /// A member whose name came from a peer, with JSON text as its value.
    pub fn foreign(&mut self, name: &str, json: &str) -> &mut Self {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        string(self.out, name);
        self.out.push(b':');
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// An object member.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        let mut inner = Object::begin(self.key(name));
        fill(&mut inner);
        inner.end();
        self
    }

    /// An array member.
    pub fn array(&mut self, name: &str, fill: impl FnOnce(&mut Array<'_>)) -> &mut Self {
        let mut inner = Array::begin(self.key(name));
        fill(&mut inner);
        inner.end();
        self
    }

    /// Writes the closing brace.
    pub fn end(&mut self) {
        self.out.push(b'}');
    }
}

/// A JSON array in the writing. Call [`Array::end`].
pub struct Array<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Array<'o> {
    /// Writes the opening bracket.
    pub fn begin(out: &'o mut Vec<u8>) -> Array<'o> {
        out.push(b'[');
        Array { out, first: true }
    }

    /// Writes no bracket: for one item that stands alone. Do not call [`Array::end`].
    pub fn bare(out: &'o mut Vec<u8>) -> Array<'o> {
        Array { out, first: true }
    }

    /// Hands out the buffer for the next item.
    pub fn item(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    /// An object item.
    pub fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        let mut inner = Object::begin(self.item());
        fill(&mut inner);
        inner.end();
        self
    }

    /// A string item.
    pub fn string(&mut self, value: &str) -> &mut Self {
        string(self.item(), value);
        self
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.first
    }

    /// Writes the closing bracket.
    pub fn end(&mut self) {
        self.out.push(b']');
    }
}

/// Arguments of a tool call as a JSON object. Models write some that are none, above all when the
/// token limit cut them: such text is kept as the one member `_invalid_json`.
pub fn object_text(json: &str) -> Cow<'_, str> {
    match tree::parse_str(json) {
        Ok(node) if node.is_object() => Cow::Borrowed(json),
        _ if json.trim().is_empty() => Cow::Borrowed("{}"),
        _ => {
            let mut out = Vec::new();
            object(&mut out, |o| {
                o.string("_invalid_json", json);
            });
            Cow::Owned(String::from_utf8(out).unwrap_or_default())
        }
    }
}

/// Appends JSON text as one line: line ends can only stand between its tokens.
pub fn one_line(out: &mut Vec<u8>, json: &str) {
    out.extend(json.bytes().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
}

/// Appends `object` as a JSON object.
pub fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::begin(out);
    fill(&mut object);
    object.end();
}

/// Appends one server-sent event whose data is a JSON object, hence one line.
pub fn event(out: &mut Vec<u8>, name: Option<&str>, fill: impl FnOnce(&mut Object<'_>)) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    object(out, fill);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_through_a_parser() {
        let all: String = (0..0x250).filter_map(char::from_u32).chain(['\u{1f600}']).collect();
        let mut out = Vec::new();
        string(&mut out, &all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 99, 100, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn arguments_are_always_an_object() {
        for (json, expected) in [
            ("{\"a\": 1.0}", "{\"a\": 1.0}"),
            ("", "{}"),
            (" ", "{}"),
            ("{\"a\":", "{\"_invalid_json\":\"{\\\"a\\\":\"}"),
            ("[1]", "{\"_invalid_json\":\"[1]\"}"),
        ] {
            assert_eq!(object_text(json), expected);
        }
    }

    #[test]
    fn objects_and_events_nest() {
        let mut out = Vec::new();
        event(&mut out, Some("x"), |o| {
            o.string("a", "b").array("l", |l| {
                l.string("1").object(|o| {
                    o.number("n", 2);
                });
            });
            o.raw("z", "null").foreign("q\"", "1");
        });
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: x\ndata: {\"a\":\"b\",\"l\":[\"1\",{\"n\":2}],\"z\":null,\"q\\\"\":1}\n\n"
        );
    }
}
