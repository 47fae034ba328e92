//! A stream in the client's own dialect under a guard that may hold back the end of a text.
//!
//! What is held back of a delta goes out with the next one, or, when its text ends, in an event of
//! its own: a copy of the delta with that text. Deltas in which nothing is left are dropped unless
//! they say more. Responses' sequence numbers stay without a gap.
#![forbid(unsafe_code)]

use super::screened::walk_answer;
use super::{Edit, Edits, Speaker};
use crate::ai::dialect::Dialect;
use crate::ai::tree::{self, Node};
use crate::ai::write;
use crate::base::error::Failure;
use crate::base::limits;
use crate::http::sse::{SseEvent, SseReader, write_event};

/// One text of a stream among those that come at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// Texts of other groups do not end this one.
    pub group: u64,
    /// What it is, by a number of its dialect.
    pub kind: u64,
    /// Which one of its kind.
    pub index: u64,
}

/// A guard.
pub trait Screen {
    /// A whole text; what stands in its place, none if it stays.
    ///
    /// # Errors
    /// It is refused.
    fn whole(&mut self, speaker: Speaker, text: &str) -> Result<Option<String>, Failure>;

    /// The next piece of a text, with what was held back before it; the last one when `is_end`.
    ///
    /// # Errors
    /// It is refused.
    fn piece(&mut self, lane: Lane, text: &str, is_end: bool) -> Result<Option<String>, Failure>;

    /// Whether some of a text is held back.
    fn holds(&self, lane: Lane) -> bool;

    /// Whether texts may come out other than they went in.
    fn interferes(&self) -> bool;
}

/// A text of which something is held back.
struct Pending {
    lane: Lane,
    name: Option<String>,
    /// An event that can carry it.
    carrier: Vec<u8>,
}

/// Reads a stream, has each text screened, writes the stream.
pub struct ScreenedStream {
    dialect: Dialect,
    reader: SseReader,
    pending: Vec<Pending>,
    sequence: Option<u64>,
}

impl ScreenedStream {
    /// A reader at the beginning of a stream.
    pub fn new(dialect: Dialect) -> ScreenedStream {
        let reader = SseReader::new(limits::UPSTREAM_ANSWER_BYTES_MAX);
        ScreenedStream { dialect, reader, pending: Vec::new(), sequence: None }
    }

    /// Takes in bytes, cut anywhere; appends whole events to `out`.
    ///
    /// # Errors
    /// What `screen` says, or an endless event. What was appended before is the client's.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        screen: &mut dyn Screen,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut reader = std::mem::replace(&mut self.reader, SseReader::new(0));
        let mut result = Ok(());
        let fed = reader.feed(bytes, |event| {
            if result.is_ok() {
                result = self.event(event, screen, out);
            }
        });
        self.reader = reader;
        result.and(fed.map_err(|_| {
            Failure::new(502, "the provider's stream is not valid").code("upstream_invalid")
        }))
    }

    /// The stream has ended; a last event without its blank line counts.
    ///
    /// # Errors
    /// What `screen` says.
    pub fn finish(&mut self, screen: &mut dyn Screen, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut reader = std::mem::replace(&mut self.reader, SseReader::new(0));
        let mut result = Ok(());
        reader.finish(|event| {
            if result.is_ok() {
                result = self.event(event, screen, out);
            }
        });
        result?;
        self.flush(&|_| true, screen, out)
    }

    /// The stream cannot go on: what was held back goes out as far as it may.
    pub fn give_up(&mut self, screen: &mut dyn Screen, out: &mut Vec<u8>) {
        while !self.pending.is_empty() {
            // A text that is refused is left out; the others are not.
            let _ = self.flush(&|_| true, screen, out);
        }
    }

    /// Ends the texts that `ends` names.
    fn flush(
        &mut self,
        ends: &dyn Fn(Lane) -> bool,
        screen: &mut dyn Screen,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        while let Some(at) = self.pending.iter().position(|pending| ends(pending.lane)) {
            let pending = self.pending.remove(at);
            let text = screen.piece(pending.lane, "", true)?.unwrap_or_default();
            let Ok(root) = tree::parse(&pending.carrier) else { continue };
            let mut edits = Edits::default();
            if let Some((_, node)) =
                pieces(self.dialect, &root).first().filter(|_| !text.is_empty())
            {
                edits.set(node, Edit::Text(text));
                drop_logprobs(&root, &mut edits);
                self.write(pending.name.as_deref(), &root, edits, out);
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        event: SseEvent<'_>,
        screen: &mut dyn Screen,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let name = std::str::from_utf8(event.event).ok().filter(|name| !name.is_empty());
        let Ok(root) = tree::parse(event.data) else {
            // OpenAI's mark of the end, or words that are no JSON.
            self.flush(&|_| true, screen, out)?;
            let text = String::from_utf8_lossy(event.data);
            let new = screen.whole(Speaker::Assistant, &text)?;
            write_event(out, name, new.as_ref().map_or(event.data, String::as_bytes));
            return Ok(());
        };
        let pieces = pieces(self.dialect, &root);
        let dialect = self.dialect;
        let ends = |lane: Lane| is_ended(dialect, &root, lane);
        if pieces.is_empty() {
            self.flush(&ends, screen, out)?;
            let edits = walk_answer(&root, &mut |speaker, text| screen.whole(speaker, text))?;
            self.write(name, &root, edits, out);
            return Ok(());
        }
        let mut edits = Edits::default();
        let mut says_more = pieces.len() > 1 || says_more(self.dialect, &root);
        for (lane, node) in &pieces {
            let others = |other: Lane| other.group == lane.group && other != *lane;
            self.flush(&others, screen, out)?;
            let is_end = pieces.len() > 1 || is_ended(self.dialect, &root, *lane);
            let new = screen.piece(*lane, node.text().unwrap_or_default(), is_end)?;
            says_more |= new.as_ref().is_none_or(|new| !new.is_empty());
            if let Some(new) = new {
                edits.set(node, Edit::Text(new));
            }
            let place = self.pending.iter().position(|pending| pending.lane == *lane);
            match (place, screen.holds(*lane)) {
                (Some(at), false) => drop(self.pending.remove(at)),
                (None, true) => {
                    let carrier = carrier(self.dialect, *lane, &root, event.data);
                    let name = name.map(str::to_owned);
                    self.pending.push(Pending { lane: *lane, name, carrier });
                }
                _ => {}
            }
        }
        if screen.interferes() {
            drop_logprobs(&root, &mut edits);
        }
        if says_more {
            self.write(name, &root, edits, out);
        }
        Ok(())
    }

    fn write(&mut self, name: Option<&str>, root: &Node<'_>, mut edits: Edits, out: &mut Vec<u8>) {
        if let Some(node) = root.get("sequence_number")
            && let Some(number) = node.unsigned()
        {
            let expected = self.sequence.map_or(number, |last| last.saturating_add(1));
            self.sequence = Some(expected);
            if expected != number {
                edits.set(node, Edit::Number(expected));
            }
        }
        if edits.is_empty() {
            write_event(out, name, root.raw.as_bytes());
            return;
        }
        let mut data = Vec::with_capacity(root.raw.len());
        edits.render(root, &mut data);
        write_event(out, name, &data);
    }
}

/// The members of a chunk's delta that hold texts, by their kinds.
const TEXTS: [&str; 4] = ["content", "reasoning_content", "reasoning", "refusal"];
const ARGUMENTS: u64 = 10;
const OLD_ARGUMENTS: u64 = 11;
const CUSTOM_INPUT: u64 = 12;

/// The pieces of texts in an event, without empty ones.
fn pieces<'n, 'a>(dialect: Dialect, root: &'n Node<'a>) -> Vec<(Lane, &'n Node<'a>)> {
    let mut found = Vec::new();
    let mut add = |group, kind, index, node: Option<&'n Node<'a>>| {
        if let Some(node) = node.filter(|node| node.text().is_some_and(|text| !text.is_empty())) {
            found.push((Lane { group, kind, index }, node));
        }
    };
    let number = |node: &Node<'_>, name| node.unsigned_of(name).unwrap_or(0);
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            for choice in root.get("choices").map(Node::items).unwrap_or_default() {
                let group = number(choice, "index");
                add(group, 0, 0, choice.get("text"));
                let Some(delta) = choice.get("delta") else { continue };
                for (kind, name) in (0..).zip(TEXTS) {
                    add(group, kind, 0, delta.get(name));
                }
                for call in delta.get("tool_calls").map(Node::items).unwrap_or_default() {
                    let index = number(call, "index");
                    add(group, ARGUMENTS, index, call.path(&["function", "arguments"]));
                    add(group, CUSTOM_INPUT, index, call.path(&["custom", "input"]));
                }
                add(group, OLD_ARGUMENTS, 0, delta.path(&["function_call", "arguments"]));
            }
        }
        Dialect::AnthropicMessages => {
            if root.text_of("type") == Some("content_block_delta")
                && let Some(delta) = root.get("delta")
            {
                for (kind, name) in (0..).zip(["text", "thinking", "partial_json"]) {
                    add(0, kind, number(root, "index"), delta.get(name));
                }
            }
        }
        Dialect::OpenAiResponses => {
            if let Some(kind) = root.text_of("type").and_then(|kind| kind.strip_suffix(".delta")) {
                let kind = kind
                    .bytes()
                    .fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
                let part = number(root, "content_index").max(number(root, "summary_index"));
                let index = (number(root, "output_index") << 32) | (part & 0xffff_ffff);
                add(0, kind, index, root.get("delta"));
            }
        }
        _ => {}
    }
    found
}

/// Whether nothing more comes of a text after an event.
fn is_ended(dialect: Dialect, root: &Node<'_>, lane: Lane) -> bool {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            let choices = root.get("choices").map(Node::items).unwrap_or_default();
            choices.iter().any(|choice| {
                choice.unsigned_of("index").unwrap_or(0) == lane.group
                    && choice.get("finish_reason").is_some()
            })
        }
        Dialect::AnthropicMessages => {
            !matches!(root.text_of("type"), Some("content_block_delta" | "ping"))
        }
        _ => !root.text_of("type").is_some_and(|kind| kind.ends_with(".delta")),
    }
}

/// Whether a delta with one piece says more than that.
fn says_more(dialect: Dialect, root: &Node<'_>) -> bool {
    if !matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiCompletions) {
        return false;
    }
    let choices = root.get("choices").map(Node::items).unwrap_or_default();
    root.get("usage").is_some()
        || choices.len() > 1
        || choices.iter().any(|choice| {
            let delta = choice.get("delta");
            let calls = delta.and_then(|delta| delta.get("tool_calls")).map(Node::items);
            choice.get("finish_reason").is_some()
                || delta.is_some_and(|delta| delta.members().len() > 1)
                || calls.unwrap_or_default().iter().any(|call| {
                    call.get("id").is_some() || call.path(&["function", "name"]).is_some()
                })
        })
}

/// An event that carries a text and nothing that was said before.
fn carrier(dialect: Dialect, lane: Lane, root: &Node<'_>, data: &[u8]) -> Vec<u8> {
    if dialect != Dialect::OpenAiChat || !says_more(dialect, root) {
        return data.to_vec();
    }
    let mut out = Vec::new();
    let mut object = write::Object::begin(&mut out);
    for name in ["id", "object", "created", "model"] {
        if let Some(node) = root.get(name) {
            object.foreign_key(name).extend_from_slice(node.raw.as_bytes());
        }
    }
    let text = usize::try_from(lane.kind).ok().and_then(|kind| TEXTS.get(kind));
    let delta = match text {
        Some(name) => format!(r#"{{"{name}":"-"}}"#),
        None if lane.kind == ARGUMENTS => {
            let index = lane.index;
            format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"-"}}}}]}}"#)
        }
        None if lane.kind == CUSTOM_INPUT => {
            let index = lane.index;
            format!(r#"{{"tool_calls":[{{"index":{index},"custom":{{"input":"-"}}}}]}}"#)
        }
        None => r#"{"function_call":{"arguments":"-"}}"#.to_owned(),
    };
    let choice = format!(r#"[{{"index":{},"delta":{delta},"finish_reason":null}}]"#, lane.group);
    object.foreign_key("choices").extend_from_slice(choice.as_bytes());
    object.end();
    out
}

/// They tell the tokens of texts that may be edited.
fn drop_logprobs(root: &Node<'_>, edits: &mut Edits) {
    if let Some(node) = root.get("logprobs") {
        edits.set(node, Edit::Drop);
    }
    for choice in root.get("choices").map(Node::items).unwrap_or_default() {
        if let Some(node) = choice.get("logprobs") {
            edits.set(node, Edit::Null);
        }
    }
}
