//! How many tokens went by, where nobody tells: a guess by the length of the texts.
//!
//! Providers tell the usage of most answers, and their figures count. Some tell none: streams that
//! were not asked for it, servers of one's own, answers that were cut. A count by the encoding
//! would need the whole text and much time; a token of the usual encodings is about four bytes of
//! text, which is near enough for a limit, and for a bill that says it is an estimate.
#![forbid(unsafe_code)]

use crate::ai::tokenizer::{FRAME_TOKENS, IMAGE_TOKENS};
use crate::json;

/// Bytes of text a token stands for, as OpenAI's rule of thumb has it.
const BYTES_PER_TOKEN: u64 = 4;
/// Longest body that is not looked at for what is held of a limit.
const SHORT_BYTES_MAX: usize = 16 * 1024;
/// So many bytes of an answer are looked at; the rest is taken to be alike.
const SAMPLE_BYTES: u64 = 8 * 1024;
/// Members whose strings a model reads or writes, in the dialects of clients and providers.
const TEXTS: [&[u8]; 17] = [
    b"content",
    b"text",
    b"reasoning_content",
    b"reasoning",
    b"thinking",
    b"refusal",
    b"arguments",
    b"partial_json",
    b"delta",
    b"input",
    b"prompt",
    b"system",
    b"instructions",
    b"description",
    b"name",
    b"output",
    b"response",
];

/// The tokens of so many bytes of text.
pub fn tokens(text_bytes: u64) -> u64 {
    text_bytes.div_ceil(BYTES_PER_TOKEN)
}

/// About the tokens of a prompt, for the time until its usage is known. Of a short body its length
/// is enough; a long one is looked at.
pub fn held_tokens(body: &[u8]) -> u64 {
    match body.len() {
        short @ ..=SHORT_BYTES_MAX => tokens(short as u64),
        _ => prompt_tokens(body),
    }
}

/// The tokens of a prompt: of the body of a request, JSON.
pub fn prompt_tokens(body: &[u8]) -> u64 {
    let mut found = [None];
    // Of what is no object all is looked at.
    let _ = json::members(body, &["tools"], &mut found);
    let [tools] = found;
    let mut tally = Tally::default();
    // Tools are read as they stand, names and braces too.
    let tools = tools.unwrap_or_default();
    tally.look(body.get(..tools.start).unwrap_or_default());
    tally.look(body.get(tools.end..).unwrap_or_default());
    tokens(tally.text_bytes + tools.len() as u64)
        + tally.messages * FRAME_TOKENS
        + tally.images * IMAGE_TOKENS
}

/// The text in passing JSON, cut anywhere: of its beginning, from which the rest is guessed.
#[derive(Debug, Default)]
pub struct Tally {
    at: At,
    /// The name of the member whose value comes, and the beginning of the current string.
    name: Name,
    string: Name,
    /// Bytes of the current string.
    length: u64,
    text_bytes: u64,
    messages: u64,
    images: u64,
    looked_at: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between strings.
    #[default]
    Outside,
    Inside,
    /// Behind the backslash of one.
    Escape,
    /// Behind one: a colon says that it was a name.
    Behind,
}

/// The beginning of a string, as far as it could be a name that matters.
#[derive(Debug, Default, Clone, Copy)]
struct Name {
    bytes: [u8; 24],
    length: usize,
}

impl Name {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(self.bytes.len() + 1 - self.length) {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
            }
            self.length += 1;
        }
    }

    /// The name, unless it is too long to be one.
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Tally {
    /// Bytes of an answer pass.
    pub fn feed(&mut self, bytes: &[u8]) {
        let room = SAMPLE_BYTES.saturating_sub(self.looked_at);
        let length = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        if let Some(sample) = bytes.get(..length).filter(|sample| !sample.is_empty()) {
            self.looked_at += length as u64;
            self.look(sample);
        }
    }

    /// The bytes of text in an answer of `passed` bytes whose beginning was fed.
    pub fn text_bytes(&self, passed: u64) -> u64 {
        // A text that goes on is one already.
        let begun = if self.at == At::Inside && self.is_text() { self.length } else { 0 };
        let text = u128::from(self.text_bytes + begun);
        let all = text * u128::from(passed.max(self.looked_at));
        u64::try_from(all.checked_div(u128::from(self.looked_at)).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    fn is_text(&self) -> bool {
        TEXTS.contains(&self.name.get())
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            let taken = match self.at {
                At::Outside => match memchr::memchr(b'"', bytes) {
                    Some(at) => {
                        (self.at, self.string, self.length) = (At::Inside, Name::default(), 0);
                        at + 1
                    }
                    None => bytes.len(),
                },
                At::Inside => {
                    let end = memchr::memchr2(b'"', b'\\', bytes);
                    let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                    self.string.add(piece);
                    self.length += piece.len() as u64;
                    match end.and_then(|end| bytes.get(end)) {
                        Some(b'"') => self.at = At::Behind,
                        Some(_) => self.at = At::Escape,
                        None => {}
                    }
                    piece.len() + usize::from(end.is_some())
                }
                At::Escape => {
                    self.at = At::Inside;
                    self.string.add(&[first]);
                    // `u` and four digits stand for two bytes or three.
                    if first != b'u' {
                        self.length += 1;
                    } else {
                        self.length = self.length.saturating_sub(1);
                    }
                    1
                }
                At::Behind if first.is_ascii_whitespace() => 1,
                At::Behind => {
                    if first == b':' {
                        self.name = self.string;
                        self.messages += u64::from(self.name.get() == b"role");
                        // OpenAI's images; Anthropic's say it as their type.
                        self.images += u64::from(self.name.get() == b"image_url");
                    } else if self.name.get() == b"type" {
                        self.images += u64::from(self.string.get() == b"image");
                    } else if self.is_text() {
                        self.text_bytes += self.length;
                    }
                    // A quote here would be no JSON, and begins a string all the same.
                    self.at = At::Outside;
                    usize::from(first != b'"')
                }
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }
}

/// What is known of the answers of one model, so that few have to be looked at.
#[derive(Debug, Default, Clone, Copy)]
pub struct Habit {
    /// Bytes of its streams for each token, from those whose usage is known or was estimated; 0: not
    /// known.
    stream_bytes_per_token: f64,
    /// Streams that told no usage.
    silent: u32,
    /// The usage of a whole answer was told.
    tells_whole: bool,
}

impl Habit {
    /// Of streams that tell nothing one in so many is looked at.
    const EVERY: u32 = 16;

    /// Whether the next answer has to be looked at while it passes.
    pub fn wants_look(&self, is_stream: bool) -> bool {
        if is_stream {
            self.stream_bytes_per_token == 0.0 || self.silent % Habit::EVERY == 1
        } else {
            !self.tells_whole
        }
    }

    /// An answer of so many bytes had so many tokens.
    pub fn learn(&mut self, is_stream: bool, is_told: bool, passed: u64, tokens: u64) {
        if !is_stream {
            self.tells_whole |= is_told;
            return;
        }
        if !is_told {
            self.silent = self.silent.wrapping_add(1);
        }
        if tokens > 0 && passed > 0 {
            let found = passed as f64 / tokens as f64;
            let known = self.stream_bytes_per_token;
            let next = if known == 0.0 { found } else { known + (found - known) / 8.0 };
            self.stream_bytes_per_token = next;
        }
    }

    /// The tokens of so many bytes of a stream; none while nothing is known.
    pub fn tokens(&self, passed: u64) -> Option<u64> {
        (self.stream_bytes_per_token > 0.0)
            .then(|| (passed as f64 / self.stream_bytes_per_token).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::dialect::Dialect;
    use crate::ai::tokenizer::{Encoding, count_request, count_tokens};

    const WORDS: &str = "The gateway keeps answering while a provider is down, and it remembers \
        which of them were slow; \"quotes\" and\nlines are part of what people write. ";

    /// Wrong: an estimate so far off that a limit or a bill by it would mislead.
    #[test]
    fn a_prompt_is_estimated_within_a_third() {
        let text = serde_json::to_string(&WORDS.repeat(20)).unwrap();
        let tool = r#"{"type":"function","function":{"name":"look_up","description":
            "Looks a word up in the dictionary","parameters":{"type":"object","properties":{"word":{"type":
            "string","description":"the word"}},"required":["word"]}}}"#;
        for (dialect, body) in [
            (
                Dialect::OpenAiChat,
                format!(r#"{{"model":"m","messages":[{{"role":"user","content":{text}}}]}}"#),
            ),
            (
                Dialect::OpenAiChat,
                format!(
                    r#"{{"tools":[{tool}],"model":"m","messages":[{{"role":"system","content":{text}}},
                    {{"role":"user","content":[{{"type":"text","text":{text}}},{{"type":"image_url",
                    "image_url":{{"url":"https://example.com/a.png"}}}}]}}]}}"#
                ),
            ),
            (
                Dialect::AnthropicMessages,
                format!(
                    r#"{{"model":"m","max_tokens":9,"system":{text},"messages":[{{"role":"user",
                    "content":{text}}}]}}"#
                ),
            ),
        ] {
            let request = dialect.decode_request(body.as_bytes()).unwrap();
            let exact = count_request(Encoding::O200k, &request) as f64;
            let guess = prompt_tokens(body.as_bytes()) as f64;
            assert!((guess / exact - 1.0).abs() < 0.34, "{guess} is not near {exact}: {body}");
        }
        // What an image weighs is no text.
        let image = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":
            "data:image/png;base64,{}"}}}}]}}]}}"#,
            "A".repeat(1 << 20)
        );
        assert!(prompt_tokens(image.as_bytes()) < IMAGE_TOKENS + 100);
    }

    fn stream(words: &str) -> String {
        words
            .split_inclusive(' ')
            .map(|word| {
                let word = serde_json::to_string(word).unwrap();
                format!(
                    "data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":\
                     {{\"content\":{word}}},\"finish_reason\":null}}]}}\n\n"
                )
            })
            .collect()
    }

    #[test]
    fn an_answer_is_tallied_at_every_cut() {
        let text = stream(WORDS);
        for cut in 0..=text.len() {
            let mut tally = Tally::default();
            tally.feed(&text.as_bytes()[..cut]);
            tally.feed(&text.as_bytes()[cut..]);
            assert_eq!(tally.text_bytes(text.len() as u64), WORDS.len() as u64, "cut at {cut}");
        }
        let mut tally = Tally::default();
        tally.feed(br#"{"choices":[{"message":{"role":"assistant","content":"caf\u00e9 \"x\""#);
        assert_eq!(tally.text_bytes(0), 10, "an escape is what it stands for, about");
    }

    /// Wrong: a long answer that costs more to look at than a short one, or counts for less.
    #[test]
    fn a_long_answer_is_guessed_from_its_beginning() {
        let long = WORDS.repeat(200);
        let text = stream(&long);
        let mut tally = Tally::default();
        for piece in text.as_bytes().chunks(1000) {
            tally.feed(piece);
        }
        let guess = tokens(tally.text_bytes(text.len() as u64)) as f64;
        let exact = count_tokens(Encoding::O200k, &long) as f64;
        assert!((guess / exact - 1.0).abs() < 0.34, "{guess} is not near {exact}");
        assert!(tally.looked_at <= SAMPLE_BYTES);
    }

    #[test]
    fn garbage_is_no_text() {
        for bytes in ["", "\"", "\"\"\"\"", "\\\"\\u", "{\"content\":\"", "\u{0}\u{ff}\":\"::"] {
            let mut tally = Tally::default();
            for byte in bytes.bytes() {
                tally.feed(&[byte]);
            }
            assert!(tally.text_bytes(u64::MAX) <= u64::MAX / 2, "{bytes}");
        }
    }

    #[test]
    fn a_habit_is_learnt_and_then_few_are_looked_at() {
        let mut habit = Habit::default();
        assert!(habit.wants_look(true) && habit.wants_look(false));
        assert_eq!(habit.tokens(1000), None);
        habit.learn(true, true, 2000, 10);
        assert_eq!(habit.tokens(1000), Some(5));
        assert!(!habit.wants_look(true), "who tells needs no look");
        habit.learn(false, true, 100, 5);
        assert!(!habit.wants_look(false));
        let looks = (0..160).filter(|_| {
            habit.learn(true, false, 1000, 5);
            habit.wants_look(true)
        });
        assert_eq!(looks.count(), 10);
    }
}
