//! Token counts out of an answer that passes by unread, whole or streamed, in constant memory.
//!
//! [`Watch`] looks for `"usage":{` in the passing bytes. Inside a JSON string those quotes would be
//! escaped, so it cannot be mistaken for text. [`Filter`] takes the usage chunk that we asked for
//! out of a stream whose client did not ask.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::ai::chat::Usage;
use crate::ai::tree::{self, Node};
use crate::json;

/// Longest usage object that is read.
const OBJECT_BYTES_MAX: usize = 4096;
const NAME: &[u8] = b"\"usage\"";
/// Finds the name; made once, since making it costs more than a look through one event.
static NAME_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// Watches passing bytes for usage objects.
#[derive(Debug, Default)]
pub struct Watch {
    state: State,
    /// How much of the name the last bytes ended with.
    matched: usize,
    /// The object so far.
    held: Vec<u8>,
    found: Found,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Name,
    Colon,
    Brace,
    Object(Nesting),
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes in the next byte of an object; whether it is the last one.
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            b'{' if !self.in_string => self.depth += 1,
            b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

impl Watch {
    /// Nothing seen yet.
    pub fn new() -> Watch {
        Watch::default()
    }

    /// Takes in passing bytes, cut anywhere. Whether a usage object stands in them, or may have begun
    /// or gone on.
    pub fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_met = self.is_within();
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Name => self.name(bytes),
                State::Colon => self.skip(bytes, b':', State::Brace),
                State::Brace => self.skip(bytes, b'{', State::Object(Nesting::default())),
                State::Object(nesting) => self.object(bytes, nesting),
            };
            has_met |= matches!(self.state, State::Object(_));
        }
        has_met || self.is_within()
    }

    /// The name, or what follows it, has begun.
    fn is_within(&self) -> bool {
        self.matched > 0 || self.state != State::Name
    }

    /// What the answer told last: later counts replace earlier ones, member by member, as
    /// Anthropic tells the input first and the output last.
    pub fn usage(&self) -> Option<Usage> {
        self.found.usage()
    }

    fn name<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        // Across a cut byte by byte: only its quote can begin the name anew.
        if self.matched > 0 {
            for (at, byte) in bytes.iter().enumerate() {
                if NAME.get(self.matched) == Some(byte) {
                    self.matched += 1;
                } else {
                    self.matched = usize::from(*byte == b'"');
                }
                if self.matched == 0 || self.matched == NAME.len() {
                    if self.matched == NAME.len() {
                        self.state = State::Colon;
                    }
                    self.matched = 0;
                    return bytes.get(at + 1..).unwrap_or(&[]);
                }
            }
            return &[];
        }
        match NAME_FINDER.find(bytes) {
            Some(at) => {
                self.state = State::Colon;
                bytes.get(at + NAME.len()..).unwrap_or(&[])
            }
            None => {
                // The name can only be cut where its first quote is among the last bytes.
                let tail = bytes.get(bytes.len().saturating_sub(NAME.len() - 1)..).unwrap_or(bytes);
                if memchr::memchr(b'"', tail).is_some() {
                    let is_end = |len: &usize| NAME.get(..*len).is_some_and(|n| tail.ends_with(n));
                    self.matched = (1..NAME.len()).rev().find(is_end).unwrap_or(0);
                }
                &[]
            }
        }
    }

    fn skip<'b>(&mut self, bytes: &'b [u8], wanted: u8, next: State) -> &'b [u8] {
        let blanks = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let rest = bytes.get(blanks..).unwrap_or(&[]);
        match rest.first() {
            None => rest,
            Some(&byte) if byte == wanted && wanted == b'{' => {
                // The brace belongs to the object.
                self.held.clear();
                self.state = next;
                rest
            }
            Some(&byte) if byte == wanted => {
                self.state = next;
                rest.get(1..).unwrap_or(&[])
            }
            Some(_) => {
                self.state = State::Name;
                rest
            }
        }
    }

    fn object<'b>(&mut self, bytes: &'b [u8], mut nesting: Nesting) -> &'b [u8] {
        if self.held.is_empty()
            && nesting == Nesting::default()
            && let Some(end) = memchr::memchr(b'}', bytes)
            && end < OBJECT_BYTES_MAX
            && let (object, rest) = bytes.split_at(end + 1)
            && self.found.merge(object)
        {
            // Whole and flat, as it nearly always is. What is not is no JSON up to here.
            self.state = State::Name;
            return rest;
        }
        let room = (OBJECT_BYTES_MAX + 1).saturating_sub(self.held.len());
        let end = bytes.iter().take(room).position(|&byte| nesting.ends_with(byte));
        let taken = end.map_or(room.min(bytes.len()), |end| end + 1);
        let (object, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        if end.is_none() && taken < room {
            self.held.extend_from_slice(object);
            self.state = State::Object(nesting);
            return rest;
        }
        if end.is_some() {
            // Nearly always the object came in one piece.
            if self.held.is_empty() {
                self.found.merge(object);
            } else {
                self.held.extend_from_slice(object);
                self.found.merge(&self.held);
            }
        }
        self.held.clear();
        self.state = State::Name;
        rest
    }
}

/// Counts as OpenAI, Anthropic and their compatibles name them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Found {
    /// OpenAI's count, cached tokens included.
    prompt: Option<u64>,
    /// Anthropic's count, cached tokens not included.
    uncached: Option<u64>,
    completion: Option<u64>,
    cached: Option<u64>,
    cache_written: Option<u64>,
    reasoning: Option<u64>,
}

impl Found {
    /// Takes over the counts that a usage object tells. False: it is no JSON object.
    pub(super) fn merge(&mut self, object: &[u8]) -> bool {
        fn take(slot: &mut Option<u64>, value: Option<u64>) {
            if value.is_some() {
                *slot = value;
            }
        }
        let mut raw = [None; MEMBERS.len()];
        let read = json::for_each_member(object, |member| {
            let name = object.get(member.key).unwrap_or_default();
            let place = MEMBERS.iter().position(|known| known.as_bytes() == name);
            if let Some(slot) = place.and_then(|place| raw.get_mut(place)) {
                *slot = object.get(member.value);
            }
        });
        if read.is_err() {
            return false;
        }
        let [prompt, input, completion, output, total, read, written, hit, details @ ..] = raw;
        take(&mut self.prompt, count(prompt));
        let [prompt_details, input_details, completion_details, output_details] = details;
        // OpenAI's responses say `input_tokens` too, cached ones included, and have a total.
        if is_told(total) || is_told(input_details) {
            take(&mut self.prompt, count(input));
        } else {
            take(&mut self.uncached, count(input));
        }
        take(&mut self.completion, count(completion));
        take(&mut self.completion, count(output));
        take(&mut self.cached, count(read));
        take(&mut self.cache_written, count(written));
        take(&mut self.cached, count(hit));
        for details in [prompt_details, input_details] {
            let [cached, written] = counts(details, ["cached_tokens", "cache_write_tokens"]);
            take(&mut self.cached, cached);
            take(&mut self.cache_written, written);
        }
        for details in [completion_details, output_details] {
            let [reasoning, thinking] = counts(details, ["reasoning_tokens", "thinking_tokens"]);
            take(&mut self.reasoning, reasoning);
            take(&mut self.reasoning, thinking);
        }
        true
    }

    /// The counts as the neutral usage, if there are any.
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.prompt.is_none() && self.uncached.is_none() && self.completion.is_none() {
            return None;
        }
        let aside = self.cached.unwrap_or(0).saturating_add(self.cache_written.unwrap_or(0));
        Some(Usage {
            prompt_tokens: match (self.prompt, self.uncached) {
                (Some(prompt), _) => prompt,
                (None, uncached) => uncached.unwrap_or(0).saturating_add(aside),
            },
            completion_tokens: self.completion.unwrap_or(0),
            cached: self.cached,
            cache_written: self.cache_written,
            reasoning: self.reasoning,
            is_estimated: false,
        })
    }
}

/// What is read of a usage object.
const MEMBERS: [&str; 12] = [
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "prompt_cache_hit_tokens",
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
];

fn is_told(raw: Option<&[u8]>) -> bool {
    raw.is_some_and(|raw| raw != b"null")
}

fn count(raw: Option<&[u8]>) -> Option<u64> {
    let raw = raw?;
    tree::digits(raw).or_else(|| tree::whole_number(std::str::from_utf8(raw).ok()?))
}

/// Two counts of an object within the usage, if it is there.
fn counts(object: Option<&[u8]>, names: [&str; 2]) -> [Option<u64>; 2] {
    let mut ranges = [None, None];
    let Some(object) = object else { return [None; 2] };
    // Of a repeated member the last counts; no object has none.
    let _ = json::members(object, &names, &mut ranges);
    ranges.map(|range| count(range.and_then(|range| object.get(range))))
}

/// Largest event the filter holds back; a larger one is no usage chunk and passes.
const EVENT_BYTES_MAX: usize = 8192;

/// Takes usage chunks (`"choices":[]` with a usage object) out of a stream in OpenAI's dialect.
///
/// Whole events are handed on as they come, byte for byte; the beginning of an event is held until
/// its end arrives.
#[derive(Debug, Default)]
pub struct Filter {
    held: Vec<u8>,
    /// The held event has grown beyond what is looked at: its bytes pass.
    passing: bool,
    /// Line ends since the last other byte, and whether the last byte was CR.
    ends: u8,
    after_cr: bool,
    /// The event that ended last was taken out.
    dropped: bool,
}

impl Filter {
    /// A filter at the beginning of a stream.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Whether these bytes are the client's as they are: whole events, as they nearly always come, and
    /// no usage object in them, as [`Watch::feed`] has said. Then they count as taken in; else they
    /// are for [`Filter::feed`].
    pub fn passes(&mut self, bytes: &[u8], has_usage: bool) -> bool {
        let is_between = self.held.is_empty() && !self.passing && !self.after_cr;
        if !is_between || has_usage || !bytes.ends_with(b"\n\n") {
            return false;
        }
        (self.ends, self.dropped) = (2, false);
        true
    }

    /// Takes in bytes, cut anywhere; appends to `out` what the client sees.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut bytes = bytes;
        if self.after_cr
            && self.ends >= 2
            && let Some(rest) = bytes.strip_prefix(b"\n")
        {
            // The second half of the CR LF that ended an event shares its fate.
            if !self.dropped {
                out.push(b'\n');
            }
            self.after_cr = false;
            bytes = rest;
        }
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.after_cr => {
                    // The second half of a CR LF that was counted already.
                    self.after_cr = false;
                    continue;
                }
                b'\n' | b'\r' => self.ends += 1,
                _ if self.ends >= 2 => {
                    // The first byte behind a blank line begins the next event.
                    self.hold(bytes.get(from..at).unwrap_or(&[]), out);
                    self.end_event(out);
                    from = at;
                    self.ends = 0;
                }
                _ => self.ends = 0,
            }
            self.after_cr = byte == b'\r';
        }
        self.hold(bytes.get(from..).unwrap_or(&[]), out);
        // A blank line ends the event now: the client must not wait for the next one.
        if self.ends >= 2 {
            self.end_event(out);
        }
    }

    /// The stream has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_event(out);
    }

    fn hold(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.passing {
            out.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() > EVENT_BYTES_MAX {
            out.append(&mut self.held);
            self.passing = true;
        }
    }

    fn end_event(&mut self, out: &mut Vec<u8>) {
        if self.held.is_empty() && !self.passing {
            return;
        }
        self.dropped = !std::mem::take(&mut self.passing) && is_usage_chunk(&self.held);
        if !self.dropped {
            out.append(&mut self.held);
        }
        self.held.clear();
    }
}

fn is_usage_chunk(event: &[u8]) -> bool {
    if NAME_FINDER.find(event).is_none() {
        return false;
    }
    let Some(open) = memchr::memchr(b'{', event) else {
        return false;
    };
    let data = event.get(open..).unwrap_or(&[]).trim_ascii_end();
    let Ok(node) = tree::parse(data) else {
        return false;
    };
    let is_bare = node.get("choices").is_some_and(|c| c.is_array() && c.items().is_empty());
    is_bare && node.get("usage").is_some_and(Node::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(chunks: &[&[u8]]) -> Option<Usage> {
        let mut watch = Watch::new();
        for chunk in chunks {
            watch.feed(chunk);
        }
        watch.usage()
    }

    /// Wrong: a way around the filter that shows what it hides, or hides what it shows.
    #[test]
    fn what_passes_at_once_is_what_the_filter_shows() {
        let plain = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\": null}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let done = "data: [DONE]\n\n";
        for text in [
            [plain, plain, usage, done].concat(),
            [usage, plain, done, ": x\n\n"].concat(),
            [plain, usage, done].concat().replace('\n', "\r\n"),
            [plain, &plain.replace('\n', "\r"), usage, done].concat(),
        ] {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let (mut filter, mut quick) = (Filter::new(), Filter::new());
                    let (mut wanted, mut shown) = (Vec::new(), Vec::new());
                    let mut watch = Watch::new();
                    for piece in pieces.map(str::as_bytes) {
                        filter.feed(piece, &mut wanted);
                        let has_usage = watch.feed(piece);
                        if quick.passes(piece, has_usage) {
                            shown.extend_from_slice(piece);
                        } else {
                            quick.feed(piece, &mut shown);
                        }
                    }
                    filter.finish(&mut wanted);
                    quick.finish(&mut shown);
                    assert_eq!(shown, wanted, "cut at {first} and {second}: {text}");
                    assert!(!shown.windows(13).any(|it| it == b"prompt_tokens"));
                }
            }
        }
    }

    #[test]
    fn usage_is_found_at_every_cut() {
        let usage = |prompt_tokens, completion_tokens| Usage {
            prompt_tokens,
            completion_tokens,
            ..Usage::default()
        };
        for (text, expected) in [
            (
                r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#,
                Some(usage(3, 5)),
            ),
            (
                "data: {\"usage\":null}\n\ndata: {\"usage\" : {\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n",
                Some(usage(3, 5)),
            ),
            (r#"{"content":"\"usage\":{\"prompt_tokens\":9}","x":"usage"}"#, None),
            (
                r#"{"usage":{"input_tokens":3,"output_tokens":1}} {"usage":{"output_tokens":5}}"#,
                Some(usage(3, 5)),
            ),
            (
                r#"{"usage":{"a":{"}":1},"prompt_tokens":3,"completion_tokens":5}}"#,
                Some(usage(3, 5)),
            ),
            (r#""us"usage":{"prompt_tokens":3,"completion_tokens":5}"#, Some(usage(3, 5))),
            (r#"{"usage":{"prompt_tokens":3"#, None),
        ] {
            assert_eq!(watch(&[text.as_bytes()]), expected, "{text}");
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(watch(&[head, tail]), expected, "{text} cut at {cut}");
            }
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(watch(&single), expected, "{text} byte by byte");
        }
    }

    #[test]
    fn cached_tokens_are_inside_in_openais_count_and_outside_in_anthropics() {
        let openai = br#"{"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,
            "prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#;
        let found = watch(&[openai]).unwrap();
        assert_eq!((found.prompt_tokens, found.cached, found.reasoning), (10, Some(4), Some(1)));
        let anthropic = br#"{"usage":{"input_tokens":10,"cache_read_input_tokens":4,
            "cache_creation_input_tokens":2,"output_tokens":1}}"#;
        let found = watch(&[anthropic]).unwrap();
        assert_eq!((found.prompt_tokens, found.cached), (16, Some(4)));
        let responses = br#"{"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},
            "output_tokens":1,"total_tokens":11}}"#;
        assert_eq!(watch(&[responses]).unwrap().prompt_tokens, 10);
    }

    #[test]
    fn an_endless_usage_object_is_let_go() {
        let mut watch = Watch::new();
        watch.feed(b"\"usage\":{\"a\":\"");
        watch.feed(&vec![b'x'; 1 << 20]);
        assert!(watch.held.len() <= OBJECT_BYTES_MAX + 1);
    }

    #[test]
    fn the_usage_chunk_is_hidden_at_every_cut() {
        let delta = "data: {\"choices\":[{\"delta\":{\"content\":\"é\"}}],\"usage\":null}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let azure = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
        let text = format!(": ping\n\n{azure}{delta}{delta}{usage}data: [DONE]\n\n");
        for end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', end);
            let expected = text.replace(&usage.replace('\n', end), "");
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                let mut filter = Filter::new();
                let mut out = Vec::new();
                filter.feed(head, &mut out);
                filter.feed(tail, &mut out);
                filter.finish(&mut out);
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{end:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn whole_events_are_not_held_back() {
        let mut filter = Filter::new();
        let mut out = Vec::new();
        filter.feed(b"data: 1\n\ndata: 2\n\ndata:", &mut out);
        assert_eq!(out, b"data: 1\n\ndata: 2\n\n");
        filter.feed(&vec![b'x'; 2 * EVENT_BYTES_MAX], &mut out);
        assert!(out.len() > 2 * EVENT_BYTES_MAX, "a large event passes");
    }
}
