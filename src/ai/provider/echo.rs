//! The offline provider: answers with the text of the last user message, token by token.
//!
//! A token is a word with the blanks around it that no earlier token took: leading blanks go with
//! the first word, following blanks with the word before them. A word of more than 256 bytes is
//! cut between characters into several tokens, so that one event stays small. Joined, the tokens
//! are the text exactly.
//!
//! Usage is counted by that rule too: `completion_tokens` are the tokens sent, `prompt_tokens` the
//! tokens of every text in the request's messages. It is exact for echo and an estimate of what a
//! real tokenizer would say.
//!
//! `max_tokens` ends the answer with `length`; a `stop` text ends it before that text. No user
//! message, or one without text: an empty answer, `stop`.
#![forbid(unsafe_code)]

use crate::ai::chat::{Collector, Delta, FinishReason, Part, Reply, Request, Role, Usage};

/// Longest token in bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// The whole answer.
pub fn reply(request: &Request) -> Reply {
    let mut collector = Collector::new();
    for delta in generate(request) {
        collector.add(&delta);
    }
    let mut reply = collector.reply();
    if reply.parts.is_empty() {
        reply.parts.push(Part::Text(String::new()));
    }
    reply
}

/// The answer step by step: a start, the texts, the finish, the usage.
pub fn generate(request: &Request) -> EchoGenerator {
    let last = request.messages.iter().rev().find(|message| message.role == Role::User);
    let mut text = last.map(|message| message.joined_text()).unwrap_or_default();
    let mut finish = FinishReason::Stop;
    let stops = request.stop.iter().filter(|stop| !stop.is_empty());
    if let Some((at, stop)) = stops.filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min()
    {
        finish = FinishReason::StopSequence(stop.clone());
        text.truncate(at);
    }
    let prompt_tokens = request.messages.iter().flat_map(|message| &message.parts).map(count).sum();
    EchoGenerator {
        text,
        at: 0,
        left: request.max_tokens.unwrap_or(u64::MAX),
        usage: Usage { prompt_tokens, ..Usage::default() },
        finish,
        step: Step::Start,
    }
}

fn count(part: &Part) -> u64 {
    match part {
        Part::Text(text) => {
            let mut at = 0;
            let mut tokens = 0;
            while let Some(token) = token(text, at) {
                at += token.len();
                tokens += 1;
            }
            tokens
        }
        Part::ToolResult { parts, .. } => parts.iter().map(count).sum(),
        _ => 0,
    }
}

/// The token that begins at byte `at`.
fn token(text: &str, at: usize) -> Option<&str> {
    let rest = text.get(at..)?;
    if rest.is_empty() {
        return None;
    }
    let mut len = 0;
    // Blanks before a word exist only at the very beginning.
    let mut in_word = false;
    let mut after_word = false;
    for c in rest.chars() {
        if c.is_whitespace() {
            after_word = in_word;
        } else if after_word {
            break;
        } else {
            in_word = true;
        }
        if len + c.len_utf8() > TOKEN_BYTES_MAX {
            break;
        }
        len += c.len_utf8();
    }
    rest.get(..len)
}

#[derive(Debug)]
enum Step {
    Start,
    Text,
    Usage,
    End,
}

/// An echo answer in the making.
#[derive(Debug)]
pub struct EchoGenerator {
    text: String,
    at: usize,
    left: u64,
    usage: Usage,
    finish: FinishReason,
    step: Step,
}

impl EchoGenerator {
    /// What was used so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

impl Iterator for EchoGenerator {
    type Item = Delta;

    fn next(&mut self) -> Option<Delta> {
        match self.step {
            Step::Start => {
                self.step = Step::Text;
                Some(Delta::Start { id: None, model: None })
            }
            Step::Text => match token(&self.text, self.at) {
                Some(token) if self.left > 0 => {
                    self.at += token.len();
                    self.left -= 1;
                    self.usage.completion_tokens += 1;
                    Some(Delta::Text(token.to_owned()))
                }
                more => {
                    self.step = Step::Usage;
                    let finish = std::mem::replace(&mut self.finish, FinishReason::Stop);
                    Some(Delta::Finish(if more.is_some() { FinishReason::Length } else { finish }))
                }
            },
            Step::Usage => {
                self.step = Step::End;
                Some(Delta::Usage(self.usage))
            }
            Step::End => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::{Message, join_text};

    fn request(text: &str) -> Request {
        Request {
            messages: vec![
                Message::text(Role::System, "be brief"),
                Message::text(Role::User, "first"),
                Message::text(Role::Assistant, "yes"),
                Message::text(Role::User, text),
            ],
            ..Request::default()
        }
    }

    fn texts(request: &Request) -> Vec<String> {
        generate(request)
            .filter_map(|delta| match delta {
                Delta::Text(text) => Some(text),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn tokens_join_to_the_text_exactly() {
        for text in [
            "Hello, world",
            "  a  b\n\nc ",
            "é😀 x",
            "",
            " ",
            "日本語のテキスト",
            &"w".repeat(1000),
        ] {
            assert_eq!(texts(&request(text)).concat(), text);
        }
        assert_eq!(texts(&request(" a  b\nc")), [" a  ", "b\n", "c"]);
        assert!(texts(&request(&"é".repeat(1000))).iter().all(|t| t.len() <= TOKEN_BYTES_MAX));
        assert!(texts(&request(&" ".repeat(1000))).iter().all(|t| t.len() <= TOKEN_BYTES_MAX));
    }

    #[test]
    fn limits_and_stops_end_it() {
        let mut limited = request("one two three");
        limited.max_tokens = Some(2);
        let answer = reply(&limited);
        assert_eq!(join_text(&answer.parts), "one two ");
        assert_eq!(answer.finish, FinishReason::Length);
        assert_eq!(answer.usage.unwrap().completion_tokens, 2);

        let mut exact = request("one two three");
        exact.max_tokens = Some(3);
        assert_eq!(reply(&exact).finish, FinishReason::Stop);

        let mut stopped = request("one two three");
        stopped.stop = vec!["zzz".into(), "t".into(), String::new()];
        let answer = reply(&stopped);
        assert_eq!(join_text(&answer.parts), "one ");
        assert_eq!(answer.finish, FinishReason::StopSequence("t".into()));
    }

    #[test]
    fn usage_counts_what_was_read_and_written() {
        let answer = reply(&request("one two"));
        let usage = answer.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (6, 2));
    }

    #[test]
    fn no_user_message_is_an_empty_answer() {
        let answer = reply(&Request::default());
        assert_eq!(answer.parts, [Part::Text(String::new())]);
        assert_eq!(answer.finish, FinishReason::Stop);
    }
}
