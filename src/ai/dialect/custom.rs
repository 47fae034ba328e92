//! Custom tools: OpenAI's tools that take free text instead of JSON.
//!
//! No other format has them. On the way out such a tool is a function with one string, `input`; on
//! the way back the text is read out of the arguments of its calls, which may be cut anywhere. What
//! a model writes instead of that one string is the text as it stands.
#![forbid(unsafe_code)]

use super::read;
use crate::ai::chat::Tool;
use crate::ai::tree::{self, Node};
use crate::ai::write;
use crate::base::error::Failure;

const PARAMETERS: &str = concat!(
    r#"{"type":"object","properties":{"input":{"type":"string","#,
    r#""description":"The whole input of the tool, as plain text."}},"#,
    r#""required":["input"],"additionalProperties":false}"#
);

/// The text beginning of arguments is looked for in so many bytes.
const OPENING_BYTES_MAX: usize = 64;

/// The function that stands for a custom tool. A grammar becomes part of its description.
pub(super) fn tool(node: &Node<'_>, at: std::fmt::Arguments<'_>) -> Result<Tool, Failure> {
    read::object(node, at)?;
    let mut description = read::optional_text(node, "description", at)?;
    if let Some(format) = node.get("format") {
        let at = format_args!("{at}.format");
        read::object(format, at)?;
        match read::required_text(format, "type", at)? {
            "text" => {}
            "grammar" => {
                // Chat completions have it one level deeper than responses.
                let grammar = format.get("grammar").unwrap_or(format);
                let syntax = read::required_text(grammar, "syntax", at)?;
                let definition = read::required_text(grammar, "definition", at)?;
                let all = description.get_or_insert_default();
                if !all.is_empty() {
                    all.push_str("\n\n");
                }
                all.push_str(&format!(
                    "The input must follow this grammar ({syntax}):\n{definition}"
                ));
            }
            _ => {
                let param = format_args!("{at}.type");
                return Err(read::wrong_value(param, "'text' or 'grammar'"));
            }
        }
    }
    Ok(Tool::Function {
        name: read::required_text(node, "name", at)?.to_owned(),
        description,
        parameters: Some(PARAMETERS.to_owned()),
        strict: None,
    })
}

/// The arguments of a call with this text.
pub(in crate::ai) fn arguments(input: &str) -> String {
    let mut out = Vec::with_capacity(input.len() + 16);
    write::object(&mut out, |o| {
        o.string("input", input);
    });
    String::from_utf8(out).unwrap_or_default()
}

/// The text in the arguments of a call.
pub(super) fn input(arguments: &str) -> String {
    let mut input = Input::default();
    let mut text = input.feed(arguments);
    text.push_str(&input.finish());
    text
}

/// Reads the text of one call out of its arguments, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Input {
    state: State,
    /// What came so far and is not understood yet.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `{"input":"` may still come.
    #[default]
    Before,
    /// In the string.
    Inside,
    /// Behind it.
    After,
    /// Something else came: it is looked at as a whole.
    Other,
}

impl Input {
    /// Takes in a piece of the arguments; the piece of the text that is known by it.
    pub(super) fn feed(&mut self, json: &str) -> String {
        let mut text = String::new();
        if self.state == State::After {
            return text;
        }
        self.held.push_str(json);
        if self.state == State::Before {
            self.state = match opening(&self.held) {
                Opening::Unknown if self.held.len() <= OPENING_BYTES_MAX => return text,
                Opening::Unknown | Opening::Other => State::Other,
                Opening::Behind(at) => {
                    self.held.drain(..at);
                    State::Inside
                }
            };
        }
        if self.state == State::Inside {
            let (read, has_ended) = unescape(&self.held, &mut text);
            self.held.drain(..read);
            if has_ended {
                self.state = State::After;
            }
        }
        text
    }

    /// The arguments are complete; what of the text was not known before.
    pub(super) fn finish(&mut self) -> String {
        let state = std::mem::replace(&mut self.state, State::After);
        let held = std::mem::take(&mut self.held);
        if matches!(state, State::Inside | State::After) {
            return String::new();
        }
        match tree::parse_str(&held) {
            Ok(node) if node.is_object() => match node.get("input") {
                Some(input) => input.text().unwrap_or(input.raw).to_owned(),
                None if node.members().is_empty() => String::new(),
                None => held,
            },
            Ok(node) => node.text().map_or_else(|| held.clone(), str::to_owned),
            Err(_) => held,
        }
    }
}

enum Opening {
    /// The string begins behind this byte.
    Behind(usize),
    Unknown,
    Other,
}

/// Looks for `{"input":"` at the beginning.
fn opening(json: &str) -> Opening {
    let mut rest = json;
    for token in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_ascii_start();
        match rest.strip_prefix(token) {
            Some(behind) => rest = behind,
            None if token.starts_with(rest) => return Opening::Unknown,
            None => return Opening::Other,
        }
    }
    Opening::Behind(json.len() - rest.len())
}

/// Appends what a JSON string says up to its end or an escape that is cut: how many bytes were
/// read, and whether its end was among them. What is no escape stands for itself.
fn unescape(json: &str, text: &mut String) -> (usize, bool) {
    let mut at = 0;
    loop {
        let rest = json.get(at..).unwrap_or_default();
        let Some(plain) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) else {
            text.push_str(rest);
            return (json.len(), false);
        };
        text.push_str(rest.get(..plain).unwrap_or_default());
        at += plain;
        let rest = json.get(at..).unwrap_or_default();
        if rest.starts_with('"') {
            return (at + 1, true);
        }
        match escape(rest) {
            Some((found, bytes)) => {
                text.push(found);
                at += bytes;
            }
            None => return (at, false),
        }
    }
}

/// The character that the escape at the beginning stands for, and its length; none when it is cut.
fn escape(json: &str) -> Option<(char, usize)> {
    let simple = match json.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'u' => {
            let first = match hex4(json)? {
                Ok(code) => code,
                Err(()) => return Some(('\\', 1)),
            };
            if !(0xd800..0xdc00).contains(&first) {
                return Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
            }
            let lone = Some((char::REPLACEMENT_CHARACTER, 6));
            let next = json.get(6..)?;
            if next.is_empty() || next == "\\" {
                return None;
            }
            if !next.starts_with("\\u") {
                return lone;
            }
            return match hex4(next)? {
                Ok(second @ 0xdc00..=0xdfff) => {
                    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    char::from_u32(code).map(|found| (found, 12))
                }
                _ => lone,
            };
        }
        _ => return Some(('\\', 1)),
    };
    Some((simple, 2))
}

/// The four digits behind `\u`; none when they are cut.
fn hex4(json: &str) -> Option<Result<u32, ()>> {
    let digits = json.as_bytes().get(2..).unwrap_or_default();
    let digits = digits.get(..4).unwrap_or(digits);
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Some(Err(()));
    }
    let text = std::str::from_utf8(digits).ok().filter(|text| text.len() == 4)?;
    Some(u32::from_str_radix(text, 16).map_err(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "*** Begin\n\t\"é\\ 😀\u{1}\u{7f}/";

    #[test]
    fn a_text_comes_back_at_every_cut() {
        let escaped = r#" { "input" : "a\u00e9\ud83d\ude00\n\"\\\/\u0041" , "x":1}"#;
        for (json, expected) in [
            (arguments(ODD), ODD),
            (arguments(""), ""),
            (escaped.to_owned(), "aé😀\n\"\\/A"),
            // What models write that is no such object.
            (r#"{"x":1,"input":"b"}"#.to_owned(), "b"),
            (r#"{"input":5}"#.to_owned(), "5"),
            (r#"{"patch":"b"}"#.to_owned(), r#"{"patch":"b"}"#),
            (r#""b""#.to_owned(), "b"),
            ("plain é".to_owned(), "plain é"),
            ("{}".to_owned(), ""),
            (String::new(), ""),
            // Cut by the limit of tokens, or wrongly escaped.
            (r#"{"input":"abc\u00"#.to_owned(), "abc"),
            (r#"{"input":"\ud83d x \x \uZZ \udead"}"#.to_owned(), "\u{fffd} x \\x \\uZZ \u{fffd}"),
            (r#"{"input":"\ud83d\u0041"}"#.to_owned(), "\u{fffd}A"),
            (r#"{"inp"#.to_owned(), r#"{"inp"#),
        ] {
            assert_eq!(input(&json), expected, "{json}");
            for cut in (0..=json.len()).filter(|cut| json.is_char_boundary(*cut)) {
                let (head, tail) = json.split_at(cut);
                let mut input = Input::default();
                let text = [input.feed(head), input.feed(tail), input.finish()].concat();
                assert_eq!(text, expected, "{json} cut at {cut}");
            }
            let mut input = Input::default();
            let mut text: String = json.chars().map(|c| input.feed(&c.to_string())).collect();
            text.push_str(&input.finish());
            assert_eq!(text, expected, "{json} in single characters");
        }
    }

    #[test]
    fn a_text_comes_as_soon_as_it_is_known() {
        let mut input = Input::default();
        let pieces = ["{\"in", "put\": \"", "ab", "\\", "nc\\ud8", "3d\\ude00", "\"", "}"];
        let texts: Vec<String> = pieces.iter().map(|piece| input.feed(piece)).collect();
        assert_eq!(texts, ["", "", "ab", "", "\nc", "😀", "", ""]);
        assert_eq!(input.finish(), "");
    }

    #[test]
    fn endless_blanks_are_not_searched_again_and_again() {
        let mut input = Input::default();
        for _ in 0..100_000 {
            assert_eq!(input.feed(" "), "");
        }
        assert_eq!(input.state, State::Other);
        input.feed("{\"input\":\"a\"}");
        assert_eq!(input.finish(), "a");
    }

    #[test]
    fn a_grammar_is_told_in_words() {
        for format in [
            r#"{"type":"grammar","syntax":"lark","definition":"start: \"a\""}"#,
            r#"{"type":"grammar","grammar":{"syntax":"lark","definition":"start: \"a\""}}"#,
        ] {
            let json = format!(r#"{{"name":"patch","description":"edits","format":{format}}}"#);
            let node = tree::parse_str(&json).unwrap();
            let Tool::Function { name, description, parameters, .. } =
                tool(&node, format_args!("tools[0]")).unwrap()
            else {
                panic!("a function")
            };
            assert_eq!(name, "patch");
            assert_eq!(
                description.as_deref(),
                Some("edits\n\nThe input must follow this grammar (lark):\nstart: \"a\"")
            );
            tree::parse_str(&parameters.unwrap()).unwrap();
        }
        let node = tree::parse_str(r#"{"name":"p","format":{"type":"yaml"}}"#).unwrap();
        let failure = tool(&node, format_args!("tools[0]")).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("tools[0].format.type"));
    }
}
