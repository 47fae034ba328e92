//! How much to think: the wish in the words of a kind and of a model.
#![forbid(unsafe_code)]

use super::super::{EncodedRequest, TargetInfo};
use super::Row;
use crate::ai::chat::{Reasoning, Request};
use crate::ai::write::Object;

/// Writes the wish.
pub(super) fn write(
    request: &Request,
    target: &TargetInfo<'_>,
    row: &Row,
    o: &mut Object<'_>,
    out: &mut EncodedRequest,
) {
    let Some(reasoning) = &request.reasoning else {
        if request.no_thinking {
            off(target.model, row, o);
        }
        return;
    };
    // OpenAI's chat tells no thoughts at all; its compatibles do without asking.
    if reasoning.summary.is_some() && is_openai(row) {
        out.drop_member("reasoning.summary");
    }
    let Some(effort) = effort(reasoning, row) else { return };
    if effort == "none" && row.thinking_switch {
        off(target.model, row, o);
        return;
    }
    // OpenAI's models that do not think refuse the wish.
    let thinks = !["gpt-3", "gpt-4", "chatgpt-"].iter().any(|old| target.model.starts_with(old));
    if thinks {
        o.string("reasoning_effort", effort);
    } else {
        out.drop_member("reasoning_effort");
    }
}

fn is_openai(row: &Row) -> bool {
    row.official && row.thinking.is_none()
}

/// Has a model that thinks by habit do without, where its documents have a word for it. Nothing is
/// said to the others.
fn off(model: &str, row: &Row, o: &mut Object<'_>) {
    if row.thinking_switch {
        o.object("thinking", |t| {
            t.string("type", "disabled");
        });
    } else if let Some(word) = least(model).filter(|_| is_openai(row)) {
        o.string("reasoning_effort", word);
    }
}

/// The least effort of a model of OpenAI's: `none` from GPT-5.1 on, `minimal` before, and neither
/// for the o series and the variants that always think ("reasoning_effort" in the API reference).
fn least(model: &str) -> Option<&'static str> {
    let rest = model.strip_prefix("gpt-5")?;
    if ["codex", "pro", "chat", "search"].iter().any(|variant| rest.contains(variant)) {
        return None;
    }
    match rest.bytes().next() {
        Some(b'.') => Some("none"),
        None | Some(b'-') => Some("minimal"),
        Some(_) => None,
    }
}

/// The effort asked for, or the one a budget of tokens amounts to.
fn effort<'r>(reasoning: &'r Reasoning, row: &Row) -> Option<&'r str> {
    match (&reasoning.effort, reasoning.budget_tokens) {
        // Anthropic's highest word; to DeepSeek `xhigh` is only `high` ("Thinking Mode").
        (Some(effort), _) if effort == "max" && row.kind != "deepseek" => Some("xhigh"),
        (Some(effort), _) => Some(effort),
        (None, Some(budget)) if budget < 2048 => Some("low"),
        (None, Some(budget)) if budget < 8192 => Some("medium"),
        (None, Some(_)) => Some("high"),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::ai::chat::Request;
    use crate::ai::dialect::Dialect;
    use crate::ai::provider::openai::OpenAi;
    use crate::ai::provider::{Codec, EncodedRequest, TargetInfo};

    fn body(kind: &str, model: &str, request: &Request) -> serde_json::Value {
        let target = TargetInfo { kind, base_path: "/v1", model, api_key: None };
        let mut out = EncodedRequest::default();
        OpenAi.encode_request(request, &target, &mut out).unwrap();
        serde_json::from_slice(&out.body).unwrap()
    }

    fn messages(member: &str) -> Request {
        let text = format!(
            r#"{{"model":"x","max_tokens":9,{member},"messages":[{{"role":"user","content":"a"}}]}}"#
        );
        Dialect::AnthropicMessages.decode_request(text.as_bytes()).unwrap()
    }

    #[test]
    fn thinking_is_switched_off_where_there_is_a_word_for_it() {
        let request = messages(r#""thinking":{"type":"disabled"}"#);
        for (kind, model, word) in [
            ("openai", "gpt-5", Some("minimal")),
            ("openai", "gpt-5-mini-2025-08-07", Some("minimal")),
            ("openai", "gpt-5.2", Some("none")),
            ("azure", "gpt-5.1", Some("none")),
            ("openai", "gpt-5-codex", None),
            ("openai", "gpt-5.2-pro", None),
            ("openai", "gpt-5-chat-latest", None),
            ("openai", "gpt-50", None),
            ("openai", "o3", None),
            ("openai", "gpt-4o", None),
            ("vllm", "gpt-5", None),
            ("mistral", "mistral-large-latest", None),
        ] {
            let value = body(kind, model, &request);
            let found = value.get("reasoning_effort").and_then(|v| v.as_str());
            assert_eq!(found, word, "{kind} {model}");
            assert!(value.get("thinking").is_none(), "{kind} {model}");
        }
        for kind in ["deepseek", "zhipu", "zai"] {
            let value = body(kind, "m", &request);
            assert_eq!(value["thinking"]["type"], "disabled", "{kind}");
            assert!(value.get("reasoning_effort").is_none(), "{kind}");
        }
    }

    #[test]
    fn efforts_are_in_the_words_of_the_kind() {
        let request = messages(r#""output_config":{"effort":"max"}"#);
        assert_eq!(body("deepseek", "m", &request)["reasoning_effort"], "max");
        assert_eq!(body("openai", "gpt-5.2", &request)["reasoning_effort"], "xhigh");
        let text = br#"{"model":"x","input":"a","reasoning":{"effort":"none"}}"#;
        let request = Dialect::OpenAiResponses.decode_request(text).unwrap();
        assert_eq!(body("deepseek", "m", &request)["thinking"]["type"], "disabled");
        assert_eq!(body("together", "m", &request)["reasoning_effort"], "none");
    }
}
