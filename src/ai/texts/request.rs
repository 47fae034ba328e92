//! The texts of requests, in every dialect.
#![forbid(unsafe_code)]

use super::{Edit, Edits, Look};
use crate::ai::dialect::Dialect;
use crate::ai::tree::{self, Node};
use crate::base::error::Failure;

/// Has `look` see each text that a request hands to a model: system prompts, messages, results of
/// tools, each with the role that says it (`system`, `developer`, `user`, `assistant`, `tool`).
/// The body with the edits, if there are any. A body that is no request of the dialect has no
/// texts: whoever reads it next refuses it.
///
/// # Errors
/// What `look` says.
pub fn edit_request(
    dialect: Dialect,
    body: &[u8],
    look: Look<'_>,
) -> Result<Option<Vec<u8>>, Failure> {
    let Ok(root) = tree::parse(body) else { return Ok(None) };
    let mut visit = Visit { edits: Edits::default(), look };
    match dialect {
        Dialect::OpenAiChat => visit.messages(root.get("messages"))?,
        Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => {
            if let Some(system) = root.get("system") {
                visit.optional("system", system)?;
            }
            visit.messages(root.get("messages"))?;
        }
        Dialect::OpenAiResponses => {
            if let Some(instructions) = root.get("instructions") {
                visit.optional("system", instructions)?;
            }
            match root.get("input") {
                Some(input) if input.is_array() => visit.items(input)?,
                Some(input) => visit.required("user", input)?,
                None => {}
            }
        }
        Dialect::OpenAiCompletions => visit.strings(root.get("prompt"))?,
        Dialect::OpenAiEmbeddings => visit.strings(root.get("input"))?,
        Dialect::NativeChat | Dialect::OldChat => visit.strings(root.get("prompt"))?,
    }
    let edits = visit.edits;
    if edits.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(body.len());
    edits.render(&root, &mut out);
    Ok(Some(out))
}

struct Visit<'l> {
    edits: Edits,
    look: Look<'l>,
}

impl Visit<'_> {
    /// A text; what to do with its place when it is dropped is the caller's to say.
    fn text(
        &mut self,
        role: &'static str,
        node: &Node<'_>,
        dropped: Edit,
    ) -> Result<bool, Failure> {
        let Some(text) = node.text() else { return Ok(true) };
        match (self.look)(role, text)? {
            None => Ok(true),
            Some(new) if new.is_empty() => {
                self.edits.set(node, dropped);
                Ok(false)
            }
            Some(new) => {
                self.edits.set(node, Edit::Text(new));
                Ok(true)
            }
        }
    }

    /// A text that must stand there, if only empty.
    fn required(&mut self, role: &'static str, node: &Node<'_>) -> Result<(), Failure> {
        self.text(role, node, Edit::Text(String::new())).map(drop)
    }

    /// A text, or an array of parts, that need not be there.
    fn optional(&mut self, role: &'static str, node: &Node<'_>) -> Result<(), Failure> {
        if node.is_array() {
            if !self.parts(role, node)? {
                self.edits.set(node, Edit::Drop);
            }
            return Ok(());
        }
        self.text(role, node, Edit::Drop).map(drop)
    }

    /// A prompt, or several; token numbers are no text.
    fn strings(&mut self, node: Option<&Node<'_>>) -> Result<(), Failure> {
        let Some(node) = node else { return Ok(()) };
        for item in node.items() {
            self.text("user", item, Edit::Drop)?;
        }
        self.required("user", node)
    }

    /// The parts of a message. False when every one of them was dropped.
    fn parts(&mut self, role: &'static str, parts: &Node<'_>) -> Result<bool, Failure> {
        let mut is_any_kept = parts.items().is_empty();
        for part in parts.items() {
            let mut is_kept = true;
            if part.text_of("type") == Some("tool_result") {
                if let Some(content) = part.get("content") {
                    self.optional("tool", content)?;
                }
            } else if matches!(
                part.text_of("type"),
                Some("text" | "input_text" | "output_text") | None
            ) && let Some(text) = part.get("text")
            {
                is_kept = self.text(role, text, Edit::Drop)?;
                if !is_kept {
                    self.edits.set(part, Edit::Drop);
                }
            }
            is_any_kept |= is_kept;
        }
        Ok(is_any_kept)
    }

    fn messages(&mut self, messages: Option<&Node<'_>>) -> Result<(), Failure> {
        for message in messages.map(Node::items).unwrap_or_default() {
            self.message(message)?;
        }
        Ok(())
    }

    fn message(&mut self, message: &Node<'_>) -> Result<(), Failure> {
        let role = role(message);
        let Some(content) = message.get("content") else { return Ok(()) };
        let is_kept = match content.is_array() {
            true => self.parts(role, content)?,
            false => self.text(role, content, Edit::Drop)?,
        };
        if is_kept {
            return Ok(());
        }
        if message.get("tool_calls").is_some() {
            self.edits.set(content, Edit::Null);
        } else if role == "tool" {
            // The call before it wants its answer.
            self.edits.set(content, Edit::Text(String::new()));
        } else {
            self.edits.set(message, Edit::Drop);
        }
        Ok(())
    }

    /// The items of a responses request.
    fn items(&mut self, input: &Node<'_>) -> Result<(), Failure> {
        for item in input.items() {
            match item.text_of("type") {
                None | Some("message") => self.message(item)?,
                Some("function_call_output" | "custom_tool_call_output") => {
                    match item.get("output") {
                        Some(output) if output.is_array() => {
                            self.parts("tool", output)?;
                        }
                        Some(output) => self.required("tool", output)?,
                        None => {}
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn role(message: &Node<'_>) -> &'static str {
    match message.text_of("role") {
        Some("system") => "system",
        Some("developer") => "developer",
        Some("assistant") => "assistant",
        Some("tool" | "function") => "tool",
        _ => "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(dialect: Dialect, body: &str) -> (String, Vec<String>) {
        let mut seen = Vec::new();
        let mut look = |role: &'static str, text: &str| {
            seen.push(format!("{role}: {text}"));
            Ok(match text {
                "drop" => Some(String::new()),
                "bad" => Some("go\"od".to_owned()),
                _ => None,
            })
        };
        let out = edit_request(dialect, body.as_bytes(), &mut look).unwrap();
        (out.map_or_else(String::new, |out| String::from_utf8(out).unwrap()), seen)
    }

    /// Wrong: a text that no hook sees, an edit that changes its neighbours, a broken document.
    #[test]
    fn every_text_is_seen_and_edited_in_place() {
        use Dialect::*;
        for (dialect, body, expected, seen) in [
            (
                OpenAiChat,
                r#"{"x": 1.0, "messages":[{"role":"system","content":"a"},{"role":"user","content":"bad"}]}"#,
                r#"{"x":1.0,"messages":[{"role":"system","content":"a"},{"role":"user","content":"go\"od"}]}"#,
                vec!["system: a", "user: bad"],
            ),
            (
                OpenAiChat,
                r#"{"messages":[{"role":"user","content":"drop"},{"role":"user","content":[
                {"type":"text","text":"drop"},{"type":"image_url","image_url":{"url":"u"}}]},
                {"role":"assistant","content":"drop","tool_calls":[1]},{"role":"tool","content":"drop"}]}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]},{"role":"assistant","content":null,"tool_calls":[1]},{"role":"tool","content":""}]}"#,
                vec!["user: drop", "user: drop", "assistant: drop", "tool: drop"],
            ),
            (
                AnthropicMessages,
                r#"{"system":[{"type":"text","text":"drop"}],"messages":[{"role":"user","content":[
                {"type":"tool_result","tool_use_id":"t","content":"bad"},{"type":"text","text":"b"}]}]}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"go\"od"},{"type":"text","text":"b"}]}]}"#,
                vec!["system: drop", "tool: bad", "user: b"],
            ),
            (
                OpenAiResponses,
                r#"{"instructions":"drop","input":[{"role":"user","content":[{"type":"input_text","text":"bad"}]},
                {"type":"function_call_output","call_id":"c","output":"drop"}]}"#,
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"go\"od"}]},{"type":"function_call_output","call_id":"c","output":""}]}"#,
                vec!["system: drop", "user: bad", "tool: drop"],
            ),
            (OpenAiResponses, r#"{"input":"bad"}"#, r#"{"input":"go\"od"}"#, vec!["user: bad"]),
            (
                OpenAiCompletions,
                r#"{"prompt":["a","drop","drop"]}"#,
                r#"{"prompt":["a"]}"#,
                vec!["user: a", "user: drop", "user: drop"],
            ),
            (OpenAiEmbeddings, r#"{"input":[1,2]}"#, "", vec![]),
            (NativeChat, r#"{"prompt":"drop"}"#, r#"{"prompt":""}"#, vec!["user: drop"]),
            (OpenAiChat, "{", "", vec![]),
        ] {
            assert_eq!(
                edit(dialect, body),
                (expected.to_owned(), seen.iter().map(|s| (*s).to_owned()).collect()),
                "{body}"
            );
        }
    }
}
