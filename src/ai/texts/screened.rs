//! Every text of a request or an answer, wherever it stands, for a guard.
//!
//! Unlike the hooks, which know where a dialect keeps its texts, a guard must not miss one: so all
//! strings are walked but those of names that are no text.
#![forbid(unsafe_code)]

use super::{Edit, Edits};
use crate::ai::tree::{Node, Value, parse};
use crate::base::error::Failure;

/// Who says a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaker {
    /// The operator of the application: system prompts, descriptions of tools.
    System,
    /// The user, or nobody in particular.
    User,
    /// The model.
    Assistant,
    /// A tool.
    Tool,
}

/// Says what stands in the place of a text; none: it stays.
pub type Look<'l> = &'l mut dyn FnMut(Speaker, &str) -> Result<Option<String>, Failure>;

/// Members whose strings mean something to programs alone.
const NO_TEXTS: &[&str] = &[
    "type",
    "role",
    "id",
    "object",
    "model",
    "tool_call_id",
    "tool_use_id",
    "call_id",
    "item_id",
    "previous_response_id",
    "response_id",
    "signature",
    "encrypted_content",
    "data",
    "file_data",
    "finish_reason",
    "stop_reason",
    "status",
    "system_fingerprint",
    "service_tier",
    "format",
    "media_type",
    "detail",
    "file_id",
    "obfuscation",
    "thoughtSignature",
    "thought_signature",
];

/// Members of a request that hold what a model reads.
const READ: &[&str] = &[
    "messages",
    "system",
    "instructions",
    "input",
    "prompt",
    "suffix",
    "tools",
    "functions",
    "prediction",
];

/// Shorter texts hold nothing that is looked for.
const TEXT_BYTES_MIN: usize = 6;

/// Has `look` see every text that a request hands to a model. The body with the edits, if there
/// are any.
///
/// # Errors
/// What `look` says, or 400 for what cannot be read.
pub fn screen_request(body: &[u8], look: Look<'_>) -> Result<Option<Vec<u8>>, Failure> {
    let root = parse(body).map_err(|error| {
        Failure::new(400, format!("the request cannot be read: {error}")).code("invalid_json")
    })?;
    let mut walk = Walk { edits: Edits::default(), logprobs: Vec::new(), look, is_answer: false };
    for (name, node) in root.members() {
        if READ.contains(&name.as_ref()) {
            let speaker = match name.as_ref() {
                "system" | "instructions" | "tools" | "functions" => Speaker::System,
                _ => Speaker::User,
            };
            walk.node(speaker, Place { name, is_free: false }, node)?;
        }
    }
    Ok(walk.finish(&root, body.len()))
}

/// The same for a whole answer.
///
/// # Errors
/// What `look` says, or 502 for what cannot be read.
pub fn screen_answer(body: &[u8], look: Look<'_>) -> Result<Option<Vec<u8>>, Failure> {
    let root = parse(body).map_err(|_| {
        let message = "the provider's answer cannot be read";
        Failure::new(502, message).code("upstream_invalid")
    })?;
    let edits = walk_answer(&root, look)?;
    if edits.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(body.len());
    edits.render(&root, &mut out);
    Ok(Some(out))
}

/// The edits of a whole answer, or of an event that is no delta.
pub(super) fn walk_answer<'n>(root: &'n Node<'_>, look: Look<'_>) -> Result<Edits, Failure> {
    let mut walk = Walk {
        edits: Edits::default(),
        logprobs: Vec::<&'n Node<'_>>::new(),
        look,
        is_answer: true,
    };
    walk.node(Speaker::Assistant, Place { name: "", is_free: false }, root)?;
    walk.drop_logprobs();
    Ok(walk.edits)
}

struct Walk<'l, 'n, 'a> {
    edits: Edits,
    /// They tell the tokens of the old text.
    logprobs: Vec<&'n Node<'a>>,
    look: Look<'l>,
    is_answer: bool,
}

impl<'n, 'a> Walk<'_, 'n, 'a> {
    fn drop_logprobs(&mut self) {
        if !self.edits.is_empty() {
            for node in std::mem::take(&mut self.logprobs) {
                self.edits.set(node, Edit::Null);
            }
        }
    }

    fn finish(mut self, root: &Node<'_>, bytes: usize) -> Option<Vec<u8>> {
        self.drop_logprobs();
        if self.edits.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(bytes);
        self.edits.render(root, &mut out);
        Some(out)
    }

    /// Depth is that of the tree, which is bounded.
    fn node(
        &mut self,
        speaker: Speaker,
        place: Place<'_>,
        node: &'n Node<'a>,
    ) -> Result<(), Failure> {
        match &node.value {
            Value::String(text) => {
                if text.len() >= TEXT_BYTES_MIN
                    && place.holds_text(text, self.is_answer)
                    && let Some(new) = (self.look)(speaker, text)?
                {
                    self.edits.set(node, Edit::Text(new));
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.node(speaker, place, item)?;
                }
            }
            Value::Object(members) => {
                let speaker = if place.is_free { speaker } else { speaker_of(speaker, node) };
                let is_call = node.text_of("type").is_some_and(|kind| kind.ends_with("tool_use"));
                for (name, value) in members {
                    if name == "logprobs" && !place.is_free {
                        self.logprobs.push(value);
                        continue;
                    }
                    let is_free = place.is_free || is_call && name == "input";
                    self.node(speaker, Place { name, is_free }, value)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    /// The member's name.
    name: &'p str,
    /// Names are those of a tool, not of a dialect: all hold texts.
    is_free: bool,
}

impl Place<'_> {
    fn holds_text(&self, text: &str, is_answer: bool) -> bool {
        if self.is_free {
            return true;
        }
        // Thinking comes back signed: an edit would spoil it.
        let is_signed = self.name == "thinking" && !is_answer;
        let is_picture = matches!(self.name, "url" | "image_url") && text.starts_with("data:");
        !is_signed && !is_picture && !NO_TEXTS.contains(&self.name)
    }
}

fn speaker_of(around: Speaker, node: &Node<'_>) -> Speaker {
    match (node.text_of("role"), node.text_of("type")) {
        (_, Some("tool_result" | "function_call_output" | "custom_tool_call_output")) => {
            Speaker::Tool
        }
        (_, Some("tool_use" | "function_call" | "custom_tool_call")) => Speaker::Assistant,
        (Some("system" | "developer"), _) => Speaker::System,
        (Some("assistant"), _) => Speaker::Assistant,
        (Some("tool" | "function"), _) => Speaker::Tool,
        (Some("user"), _) => Speaker::User,
        _ => around,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a text that no guard sees, a name or a picture that it spoils.
    #[test]
    fn every_text_is_seen_wherever_it_stands() {
        for (body, expected) in [
            (
                r#"{"model":"secret-model","messages":[{"role":"system","content":"secret 1"},{"role":"user","content":[{"type":"text","text":"secret 2"},{"type":"image_url","image_url":{"url":"data:image/png;base64,secret"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"secret-id","type":"function","function":{"name":"f","arguments":"{\"a\":\"secret 3\"}"}}]},{"role":"tool","tool_call_id":"secret-id","content":"secret 4"}]}"#,
                vec![
                    "System: secret 1",
                    "User: secret 2",
                    "Assistant: {\"a\":\"secret 3\"}",
                    "Tool: secret 4",
                ],
            ),
            (
                r#"{"system":[{"type":"text","text":"secret 1"}],"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"secret 0","signature":"secret-s"},{"type":"tool_use","id":"secret-i","name":"f","input":{"a":{"b":["secret 2"]}}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"secret-i","content":[{"type":"text","text":"secret 3"}]}]}]}"#,
                vec!["System: secret 1", "Assistant: secret 2", "Tool: secret 3"],
            ),
            (
                r#"{"instructions":"secret 1","input":[{"type":"function_call_output","call_id":"secret-c","output":"secret 2"},{"role":"user","content":[{"type":"input_text","text":"secret 3"}]}]}"#,
                vec!["System: secret 1", "Tool: secret 2", "User: secret 3"],
            ),
            (
                r#"{"prompt":["secret 1",[1,2]],"suffix":"secret 2","user":"secret-u"}"#,
                vec!["User: secret 1", "User: secret 2"],
            ),
        ] {
            let mut seen = Vec::new();
            let mut look = |speaker: Speaker, text: &str| {
                seen.push(format!("{speaker:?}: {text}"));
                Ok(Some(text.replace("secret", "*")))
            };
            let out = screen_request(body.as_bytes(), &mut look).unwrap().unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(seen, expected);
            for text in ["secret 1", "secret 2", "secret 3", "secret 4"] {
                assert!(!out.contains(text), "{out}");
            }
        }
    }

    #[test]
    fn an_answer_loses_the_tokens_of_what_was_edited() {
        let body = br#"{"choices":[{"message":{"content":"secret","tool_calls":[{"function":{"arguments":"a secret"}}]},"logprobs":{"content":[{"token":"secret"}]}}]}"#;
        let mut look = |_: Speaker, text: &str| Ok(Some(text.replace("secret", "*")));
        let out = screen_answer(body, &mut look).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"choices":[{"message":{"content":"*","tool_calls":[{"function":{"arguments":"a *"}}]},"logprobs":null}]}"#
        );
        assert_eq!(screen_answer(b"<html>", &mut look).unwrap_err().status, 502);
    }
}
