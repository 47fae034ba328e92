//! What two requests must have in common to share an answer: a canonical text of a request.
//!
//! A plain chat (roles and texts, the usual parameters) has the same text in every dialect, so an
//! answer made for one serves another. Whatever else a request holds is not interpreted: then its
//! JSON, members in order and without blanks, is the text, and only the same dialect shares it.
//! `stream` and `stream_options` are left out: they shape the answer's form, not the answer.
#![forbid(unsafe_code)]

use crate::ai::dialect::Dialect;
use crate::ai::tree::{self, Node};

/// The canonical text of `body`, which asks `model` (its resolved name). None: the request has a
/// state behind it (a conversation kept by the provider), so no other one is the same.
pub fn canonical(dialect: Dialect, model: &str, body: &[u8]) -> Option<Vec<u8>> {
    let root = tree::parse(body).ok()?;
    let mut out = Vec::with_capacity(body.len() + 64);
    if plain(dialect, model, &root, &mut out).is_some() {
        return Some(out);
    }
    const STATES: [&str; 3] = ["previous_response_id", "conversation", "background"];
    if STATES.iter().any(|name| root.get(name).is_some_and(|node| !node.is_null())) {
        return None;
    }
    out.clear();
    out.push(b'j');
    out.push(dialect as u8);
    text(&mut out, model);
    let left_out = ["model", "stream", "stream_options"];
    json(&root, &left_out, &mut out);
    Some(out)
}

/// What a plain chat may hold beside its messages.
#[derive(Default)]
struct Plain<'n> {
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<&'n str>,
    user: Option<&'n str>,
    stop: Vec<&'n str>,
}

/// Appends the neutral text of a plain chat; none when it holds anything else.
fn plain(dialect: Dialect, model: &str, root: &Node<'_>, out: &mut Vec<u8>) -> Option<()> {
    let is_anthropic = match dialect {
        Dialect::OpenAiChat | Dialect::NativeChat => false,
        Dialect::AnthropicMessages => true,
        _ => return None,
    };
    out.push(b'c');
    text(out, model);
    let mut plain = Plain::default();
    let (mut messages, mut system) = (None, None);
    for (name, node) in root.members() {
        match (name.as_ref(), dialect) {
            ("model" | "stream", _) | ("stream_options", Dialect::OpenAiChat) => {}
            (_, _) if node.is_null() => {}
            ("prompt", Dialect::NativeChat) => {
                message(out, "user", node)?;
            }
            ("messages", Dialect::OpenAiChat | Dialect::AnthropicMessages) => {
                if messages.replace(node).is_some() {
                    return None;
                }
            }
            ("system", Dialect::AnthropicMessages) => system = Some(node),
            ("max_tokens", _) | ("max_completion_tokens", Dialect::OpenAiChat) => {
                if plain.max_tokens.replace(node.unsigned()?).is_some() {
                    return None;
                }
            }
            ("temperature", _) => plain.temperature = Some(node.float()?),
            ("top_p", Dialect::OpenAiChat | Dialect::AnthropicMessages) => {
                plain.top_p = Some(node.float()?);
            }
            ("seed", Dialect::OpenAiChat) => {
                node.unsigned()?;
                plain.seed = Some(node.raw);
            }
            ("user", Dialect::OpenAiChat) => plain.user = Some(node.text()?),
            ("stop", Dialect::OpenAiChat) | ("stop_sequences", Dialect::AnthropicMessages) => {
                match node.text() {
                    Some(stop) if !is_anthropic => plain.stop.push(stop),
                    Some(_) => return None,
                    None if node.is_array() => {
                        for item in node.items() {
                            plain.stop.push(item.text()?);
                        }
                    }
                    None => return None,
                }
            }
            // What the native dialect does not know it ignores.
            (_, Dialect::NativeChat) => {}
            _ => return None,
        }
    }
    if let Some(system) = system {
        message(out, "system", system)?;
    }
    for item in messages.into_iter().flat_map(Node::items) {
        if item.members().len() != 2 {
            return None;
        }
        let role = item.text_of("role")?;
        let known: &[&str] =
            if is_anthropic { &["user", "assistant"] } else { &["system", "user", "assistant"] };
        if !known.contains(&role) {
            return None;
        }
        message(out, role, item.get("content")?)?;
    }
    if let Some(max_tokens) = plain.max_tokens {
        out.push(b'm');
        out.extend_from_slice(&max_tokens.to_le_bytes());
    }
    for (mark, value) in [(b't', plain.temperature), (b'p', plain.top_p)] {
        if let Some(value) = value {
            out.push(mark);
            // Both zeros are one number.
            out.extend_from_slice(&(value + 0.0).to_bits().to_le_bytes());
        }
    }
    for (mark, value) in [(b's', plain.seed), (b'u', plain.user)] {
        if let Some(value) = value {
            out.push(mark);
            text(out, value);
        }
    }
    for stop in plain.stop {
        out.push(b'x');
        text(out, stop);
    }
    Some(())
}

/// A message whose content is text, whole or in parts.
fn message(out: &mut Vec<u8>, role: &str, content: &Node<'_>) -> Option<()> {
    out.push(b'r');
    text(out, role);
    if let Some(whole) = content.text() {
        text(out, whole);
        return Some(());
    }
    // Several parts are not the same as one: the model may see them apart.
    let [part] = content.items() else { return None };
    let is_text = part.text_of("type") == Some("text") && part.members().len() == 2;
    text(out, part.text_of("text").filter(|_| is_text)?);
    Some(())
}

/// A text that cannot run into what follows it.
fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// JSON without blanks, members sorted by name. Depth is bounded by the reader.
fn json(node: &Node<'_>, left_out: &[&str], out: &mut Vec<u8>) {
    if node.is_object() {
        let mut members: Vec<_> =
            node.members().iter().filter(|(name, _)| !left_out.contains(&name.as_ref())).collect();
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        out.push(b'{');
        for (name, value) in members {
            text(out, name);
            json(value, &[], out);
        }
        out.push(b'}');
    } else if node.is_array() {
        out.push(b'[');
        for item in node.items() {
            json(item, &[], out);
            out.push(b',');
        }
        out.push(b']');
    } else if let Some(found) = node.text() {
        out.push(b'"');
        text(out, found);
    } else {
        out.push(b'=');
        text(out, node.raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{AnthropicMessages, NativeChat, OpenAiChat, OpenAiEmbeddings, OpenAiResponses};

    fn of(dialect: Dialect, body: &str) -> Option<Vec<u8>> {
        canonical(dialect, "m", body.as_bytes())
    }

    #[test]
    fn a_plain_chat_is_the_same_in_every_dialect_and_spelling() {
        let first =
            of(OpenAiChat, r#"{"messages":[{"role":"user","content":"hé"}],"temperature":0}"#);
        assert!(first.is_some());
        for (dialect, body) in [
            (
                OpenAiChat,
                r#"{ "temperature": 0.0, "stream": true, "model": "alias",
                "messages": [ {"content": "h\u00e9", "role": "user"} ] }"#,
            ),
            (
                OpenAiChat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hé"}]}],
                "temperature":0e0,"stream_options":{"include_usage":true},"seed":null}"#,
            ),
            (NativeChat, r#"{"prompt":"hé","temperature":0}"#),
            (AnthropicMessages, r#"{"messages":[{"role":"user","content":"hé"}],"temperature":0}"#),
        ] {
            assert_eq!(of(dialect, body), first, "{body}");
        }
        let system = of(
            OpenAiChat,
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],
               "max_completion_tokens":5,"stop":"x"}"#,
        );
        let anthropic = of(
            AnthropicMessages,
            r#"{"system":"s","messages":[{"role":"user","content":"u"}],"max_tokens":5,
               "stop_sequences":["x"]}"#,
        );
        assert_eq!(system, anthropic);
    }

    #[test]
    fn whatever_differs_keeps_them_apart() {
        let bodies = [
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"b"}]}"#,
            r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":""}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"temperature":0}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"top_p":0}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"seed":1}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"seed":2}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"user":"1"}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":1}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"stop":"1"}"#,
            r#"{"messages":[{"role":"user","content":"a","name":"n"}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"tools":[]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"n":2}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","x":1}]}]}"#,
        ];
        let all: Vec<_> = bodies.iter().map(|body| of(OpenAiChat, body).unwrap()).collect();
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(one, other, "{}", bodies[i]);
            }
        }
        let other = canonical(OpenAiChat, "m2", bodies[0].as_bytes());
        assert_ne!(other.as_ref(), all.first());
    }

    #[test]
    fn what_is_not_plain_is_compared_whole_and_states_never() {
        let tools = |text: &str| of(OpenAiChat, text);
        assert_eq!(
            tools(r#"{"tools":[{"b":1,"a":"\u0078"}],"messages":[]}"#),
            tools(r#"{"messages":[], "stream":true, "tools":[{"a":"x", "b":1}]}"#)
        );
        assert_ne!(tools(r#"{"tools":[1,2]}"#), tools(r#"{"tools":[2,1]}"#));
        assert_ne!(tools(r#"{"tools":["1"]}"#), tools(r#"{"tools":[1]}"#));
        assert_ne!(
            of(OpenAiEmbeddings, r#"{"input":"x"}"#),
            of(OpenAiResponses, r#"{"input":"x"}"#)
        );
        assert_eq!(of(OpenAiResponses, r#"{"input":"x","previous_response_id":"r"}"#), None);
        assert_eq!(of(OpenAiChat, "{"), None);
    }
}
