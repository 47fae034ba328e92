//! JSON bodies, without a tree.
//!
//! A body is walked once. In a request to a model the walk knows the members in which people
//! and programs write (messages, prompts, tool results, in every dialect we speak) and passes over
//! them: language about attacks is no attack. Everything else is structure and read strictly.

use super::engine::Engine;
use super::inspect::{self, BodyProfile};
use super::place;
use super::scan::{Part, Scan};

/// Levels that are walked: no fewer than readers of JSON take. What lies deeper is read as text.
const DEPTH_MAX: usize = 128;

/// Members whose strings are language, wherever they stand in a request to a model: of OpenAI's chat,
/// completions, embeddings and responses, Anthropic's messages, and our own.
const LANGUAGE: &[&[u8]] = &[
    b"content",
    b"text",
    b"prompt",
    b"input",
    b"system",
    b"instructions",
    b"arguments",
    b"output",
    b"result",
    b"thinking",
    b"reasoning",
    b"reasoning_content",
    b"summary",
    b"refusal",
    b"description",
    b"suffix",
    b"stop",
    b"stop_sequences",
    b"title",
    b"transcript",
    b"code",
    b"context",
    b"data",
    b"signature",
    b"encrypted_content",
    b"cited_text",
    b"query",
    b"queries",
    b"logs",
    b"partial_json",
    b"file_data",
    b"prediction",
    b"grammar",
    b"definition",
    b"regex",
    b"caption",
    b"message",
    b"error",
    b"redacted_thinking",
    b"response",
    b"source",
    b"source_text",
    b"document",
    b"documents",
    b"snippet",
    b"old_str",
    b"new_str",
    b"file_text",
    b"command",
    b"stdout",
    b"stderr",
    b"diff",
    b"patch",
];

/// Members that hold whole trees of it: arguments of tools and schemas.
const TREES: &[&[u8]] = &[
    b"arguments",
    b"parameters",
    b"input_schema",
    b"schema",
    b"json_schema",
    b"properties",
    b"output",
    b"result",
    b"variables",
    b"action",
    b"actions",
    b"results",
    b"examples",
    b"annotations",
    b"citations",
    b"operation",
];

/// How the values of a container are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Structure.
    Strict,
    /// A part of a request to a model: its members decide.
    Model,
    /// The same, and strings without a name are language.
    Language,
    /// Nothing in it is structure.
    Free,
}

struct Level<'a> {
    mode: Mode,
    is_object: bool,
    /// Under which name its strings are told; of arrays that of the array.
    name: &'a [u8],
}

/// Walks a JSON body.
pub fn read(engine: &Engine, scan: &mut Scan, text: &[u8], profile: BodyProfile) {
    let first = if profile == BodyProfile::Model { Mode::Model } else { Mode::Strict };
    let mut walk = Walk { engine, scan, text, at: 0, unescaped: Vec::new() };
    if walk.document(first).is_none() {
        // No JSON from here on: whoever reads it otherwise may find something.
        let rest = text.get(walk.at..).unwrap_or_default();
        let part = Part { place: place::TEXT, name: b"", is_prose: true, is_secret: false };
        if profile == BodyProfile::Plain {
            scan.value(engine, rest, part);
        }
    }
}

struct Walk<'a, 'e> {
    engine: &'e Engine,
    scan: &'e mut Scan,
    text: &'a [u8],
    at: usize,
    unescaped: Vec<u8>,
}

impl<'a> Walk<'a, '_> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// `None` where it is not JSON.
    fn document(&mut self, first: Mode) -> Option<()> {
        let mut levels: Vec<Level<'a>> = Vec::new();
        let mut mode = first;
        let mut name: &'a [u8] = b"";
        loop {
            // A value.
            match self.peek()? {
                b'"' => {
                    let raw = self.string()?;
                    self.read_string(raw, mode, name);
                }
                open @ (b'{' | b'[') => {
                    if levels.len() >= DEPTH_MAX {
                        return None;
                    }
                    self.at += 1;
                    // Elements bear the name of their array.
                    let is_member = levels.last().is_some_and(|level| level.is_object);
                    let inner = inner_mode(mode, name, open == b'{', is_member, levels.len());
                    levels.push(Level { mode: inner, is_object: open == b'{', name });
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek()? != close {
                        (mode, name) = self.next(levels.last()?)?;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                    let rest = self.text.get(self.at..)?;
                    let is_word =
                        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
                    self.at += rest.iter().take_while(|byte| is_word(byte)).count();
                }
                _ => return None,
            }
            if self.scan.is_decided() {
                return Some(());
            }
            // What follows it.
            loop {
                let Some(level) = levels.last() else {
                    return if self.peek().is_none() { Some(()) } else { None };
                };
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        (mode, name) = self.next(level)?;
                        break;
                    }
                    b'}' if level.is_object => {}
                    b']' if !level.is_object => {}
                    _ => return None,
                }
                self.at += 1;
                levels.pop();
            }
        }
    }

    /// Goes to the next value of a container: its name and how it is read.
    fn next(&mut self, level: &Level<'a>) -> Option<(Mode, &'a [u8])> {
        if !level.is_object {
            return Some((level.mode, level.name));
        }
        if self.peek()? != b'"' {
            return None;
        }
        let name = self.string()?;
        let mode = level.mode;
        if mode != Mode::Free && inspect::is_odd_name(name) {
            let part = Part {
                place: place::JSON | place::NAME,
                name: b"",
                is_prose: false,
                is_secret: false,
            };
            self.value(name, part);
        }
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        // The members of an object decide by themselves.
        let mode = if mode == Mode::Language { Mode::Model } else { mode };
        Some((mode, name))
    }

    /// The raw string at hand, without its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            let rest = self.text.get(end..)?;
            end += memchr::memchr2(b'"', b'\\', rest)?;
            if self.text.get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    fn read_string(&mut self, raw: &'a [u8], mode: Mode, name: &'a [u8]) {
        let is_language = match mode {
            Mode::Free | Mode::Language => true,
            Mode::Model => LANGUAGE.contains(&name),
            Mode::Strict => false,
        };
        if is_language || raw.is_empty() || is_inline_data(raw) {
            return;
        }
        let is_prose = inspect::is_written(name);
        self.value(raw, Part { place: place::JSON, name, is_prose, is_secret: false });
    }

    fn value(&mut self, raw: &[u8], part: Part<'_>) {
        if memchr::memchr(b'\\', raw).is_none() {
            self.scan.value(self.engine, raw, part);
            return;
        }
        let mut unescaped = std::mem::take(&mut self.unescaped);
        unescape(raw, &mut unescaped);
        self.scan.value(self.engine, &unescaped, part);
        self.unescaped = unescaped;
    }
}

fn inner_mode(mode: Mode, name: &[u8], is_object: bool, is_member: bool, depth: usize) -> Mode {
    match mode {
        Mode::Model | Mode::Language => {
            // `input` at the top is the request's, and the items in it have a structure; further down
            // it is what a tool is called with.
            let is_called_with = name == b"input" && is_object && is_member && depth > 1;
            let is_tree = TREES.contains(&name) || is_called_with;
            if is_tree {
                Mode::Free
            } else if !is_object && (mode == Mode::Language || LANGUAGE.contains(&name)) {
                Mode::Language
            } else {
                Mode::Model
            }
        }
        other => other,
    }
}

/// A picture, sound or document within the body.
fn is_inline_data(raw: &[u8]) -> bool {
    const KINDS: [&[u8]; 7] = [
        b"data:image/png",
        b"data:image/jp",
        b"data:image/gif",
        b"data:image/webp",
        b"data:audio/",
        b"data:video/",
        b"data:application/pdf",
    ];
    raw.len() > 64
        && KINDS.iter().any(|kind| raw.starts_with(kind))
        && raw.get(..48).is_some_and(|head| memchr::memmem::find(head, b";base64,").is_some())
}

/// Undoes the escapes of a JSON string; what is none stays.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            let rest = raw.get(at..).unwrap_or_default();
            let run = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            out.extend_from_slice(rest.get(..run).unwrap_or_default());
            at += run;
            continue;
        }
        at += 2;
        match raw.get(at - 1) {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b' | b'f') => out.push(b' '),
            Some(b'u') => {
                let unit = |from: usize| -> Option<u32> {
                    let digits = std::str::from_utf8(raw.get(from..from + 4)?).ok()?;
                    u32::from_str_radix(digits, 16).ok()
                };
                let Some(mut code) = unit(at) else { continue };
                at += 4;
                if (0xd800..0xdc00).contains(&code)
                    && raw.get(at..at + 2) == Some(b"\\u")
                    && let Some(low) = unit(at + 2).filter(|low| (0xdc00..0xe000).contains(low))
                {
                    code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    at += 6;
                }
                let mut buffer = [0; 4];
                let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
            }
            Some(&other) => out.push(other),
            None => {}
        }
    }
}
