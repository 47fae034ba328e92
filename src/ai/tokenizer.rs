//! Counting tokens with the published byte-pair encodings.
//!
//! The vocabularies are part of the program and are unpacked at the first use of each: that takes
//! about half a second and 50 MiB, and a count about a quarter of a millisecond a KiB. So a first
//! use, and a count of more than a few KiB, belongs on a thread that may block. Unpacked once, an
//! encoding stays: the one table here, written once, that is shared by the whole process.
//!
//! Special tokens such as `<|endoftext|>` count as the text they are written as.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use crate::ai::chat::{Part, Request, ResponseFormat, Tool};

/// A published encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Encoding {
    /// `o200k_base`: OpenAI's models since GPT-4o.
    O200k,
    /// `cl100k_base`: GPT-3.5 and GPT-4.
    Cl100k,
}

/// Longest piece of text that is encoded at a time, in bytes. The encoder's expressions search
/// backwards through blanks and give up, with a panic, on a million of them; its time for a word
/// grows faster than the word.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// What an image counts for in an estimate: what Anthropic names for one at full size.
pub(super) const IMAGE_TOKENS: u64 = 1600;
/// What a page or a sound counts for in an estimate.
const FILE_TOKENS: u64 = 3000;
/// What frames a message, a call or a tool in the models' own formats.
pub(super) const FRAME_TOKENS: u64 = 4;

impl Encoding {
    /// From its name: `o200k`, `o200k_base`, `cl100k`, `cl100k_base`.
    pub fn from_name(name: &str) -> Option<Encoding> {
        match name {
            "o200k" | "o200k_base" => Some(Encoding::O200k),
            "cl100k" | "cl100k_base" => Some(Encoding::Cl100k),
            _ => None,
        }
    }

    fn table(self) -> &'static CoreBPE {
        let table = match self {
            Encoding::O200k => o200k_base_singleton(),
            Encoding::Cl100k => cl100k_base_singleton(),
        };
        // Relaxed: who does not see it yet only takes the long way once more.
        self.loaded().store(true, Ordering::Relaxed);
        table
    }

    fn loaded(self) -> &'static AtomicBool {
        static LOADED: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
        match self {
            Encoding::O200k => &LOADED[0],
            Encoding::Cl100k => &LOADED[1],
        }
    }
}

/// Whether the vocabulary is unpacked, so that a count begins at once.
pub fn is_loaded(encoding: Encoding) -> bool {
    encoding.loaded().load(Ordering::Relaxed)
}

/// Tokens of `text`. Equal to the published encoding, except that within 16 KiB without a blank
/// before a letter and without a line end the count may be off by one or two.
pub fn count_tokens(encoding: Encoding, text: &str) -> u64 {
    let table = encoding.table();
    let mut tokens = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(piece_len(rest));
        tokens += table.count_ordinary(piece) as u64;
        rest = after;
    }
    tokens
}

/// An estimate of the tokens a model reads for `request`: exact for the texts in the encoding, by
/// rule of thumb for images, files and what the model's own format puts around.
pub fn count_request(encoding: Encoding, request: &Request) -> u64 {
    let text = |text: &str| count_tokens(encoding, text);
    let mut tokens = 0_u64;
    for message in &request.messages {
        tokens += FRAME_TOKENS + message.name.as_deref().map_or(0, text);
        tokens += message.parts.iter().map(|part| count_part(encoding, part)).sum::<u64>();
    }
    for tool in &request.tools {
        tokens += FRAME_TOKENS;
        tokens += match tool {
            Tool::Function { name, description, parameters, .. } => {
                text(name)
                    + description.as_deref().map_or(0, text)
                    + parameters.as_deref().map_or(0, text)
            }
            Tool::Provider { json, .. } => text(json),
        };
    }
    if let ResponseFormat::JsonSchema { schema, .. } = &request.response_format {
        tokens += text(schema);
    }
    // The beginning of the answer is read too.
    tokens + 3
}

fn count_part(encoding: Encoding, part: &Part) -> u64 {
    let text = |text: &str| count_tokens(encoding, text);
    match part {
        Part::Text(found) | Part::Refusal(found) => text(found),
        Part::Thinking { text: found, .. } => text(found),
        // It is longer than what it stands for.
        Part::RedactedThinking(data) => (data.len() / 6) as u64,
        Part::Image { .. } => IMAGE_TOKENS,
        Part::Audio { .. } | Part::File { .. } => FILE_TOKENS,
        Part::ToolCall(call) => FRAME_TOKENS + text(&call.name) + text(&call.arguments),
        Part::ToolResult { parts, .. } => {
            FRAME_TOKENS + parts.iter().map(|part| count_part(encoding, part)).sum::<u64>()
        }
    }
}

/// The length of the next piece. It ends where a token ends in any case: behind a line end and
/// before a letter, or before a lone blank between letters.
fn piece_len(text: &str) -> usize {
    if text.len() <= PIECE_BYTES_MAX {
        return text.len();
    }
    let bytes = text.as_bytes();
    let letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    for at in (PIECE_BYTES_MAX / 2..PIECE_BYTES_MAX).rev() {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let is_line_end = before == Some(&b'\n') && letter(at);
        let is_blank = bytes.get(at) == Some(&b' ') && letter(at + 1) && letter(at - 1);
        if is_line_end || is_blank {
            return at;
        }
    }
    let mut end = PIECE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::dialect::Dialect;

    const TEXT: &str = include_str!("../../tests/data/ai/multilingual.txt");

    #[test]
    fn counts_equal_the_published_encodings() {
        for (encoding, table) in
            [(Encoding::O200k, o200k_base_singleton()), (Encoding::Cl100k, cl100k_base_singleton())]
        {
            assert_eq!(count_tokens(encoding, TEXT), table.encode_ordinary(TEXT).len() as u64);
            // Cut into pieces it is the same.
            let long = TEXT.repeat(60);
            assert!(long.len() > 3 * PIECE_BYTES_MAX);
            assert_eq!(count_tokens(encoding, &long), table.encode_ordinary(&long).len() as u64);
        }
        // Found with a second, independent implementation of the encodings.
        assert_eq!(count_tokens(Encoding::O200k, TEXT), 318);
        assert_eq!(count_tokens(Encoding::Cl100k, TEXT), 454);
        assert_eq!(count_tokens(Encoding::O200k, ""), 0);
        assert_eq!(count_tokens(Encoding::O200k, "hello world"), 2);
    }

    #[test]
    fn hostile_texts_are_counted_not_choked_on() {
        for text in [
            " ".repeat(1 << 21) + "x",
            "\u{a0}".repeat(1 << 20) + "x",
            "a".repeat(1 << 17),
            "é".repeat(1 << 16),
            " \t".repeat(1 << 17),
        ] {
            let tokens = count_tokens(Encoding::O200k, &text);
            assert!(tokens > 0 && tokens <= text.len() as u64);
        }
    }

    #[test]
    fn a_request_counts_all_it_holds() {
        let count = |json: &str| {
            let request = Dialect::AnthropicCountTokens.decode_request(json.as_bytes()).unwrap();
            count_request(Encoding::O200k, &request)
        };
        let plain = count(r#"{"messages":[{"role":"user","content":"hello world"}]}"#);
        assert_eq!(plain, 2 + FRAME_TOKENS + 3);
        let tools = count(
            r#"{"messages":[{"role":"user","content":"hello world"}],
              "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#,
        );
        assert!(tools > plain);
        let image = count(
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hello world"},
              {"type":"image","source":{"type":"url","url":"https://x/y.png"}}]}]}"#,
        );
        assert_eq!(image, plain + IMAGE_TOKENS);
    }
}
