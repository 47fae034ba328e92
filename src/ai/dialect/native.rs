//! The native dialect, `POST /v1/chat`: one prompt, one text.
//!
//! Request: `{"prompt", "model"?, "stream"?, "max_tokens"?, "temperature"?}`. Answer:
//! `{"response", "model", "usage": {"prompt_tokens", "completion_tokens", "total_tokens"}}`, with
//! `usage` null where nobody counted. Streamed answer, one event a piece:
//!
//! ```text
//! data: {"delta":"Hel"}
//! data: {"delta":"lo"}
//! data: {"done":true,"model":"echo","finish_reason":"stop","usage":{…}}
//! data: [DONE]
//! ```
//!
//! Thinking and tool calls have no place in it and are left out. An error in the middle is
//! `data: {"error":{…}}`, and neither `done` nor `[DONE]` follows.
#![forbid(unsafe_code)]

use super::{Meta, StreamEncoder, failure, read};
use crate::ai::chat::{self, Delta, Message, Role, Usage};
use crate::ai::write::{self, Object};
use crate::base::error::Failure;

/// Reads a request.
pub(super) fn decode(body: &[u8]) -> Result<chat::Request, Failure> {
    let root = read::body(body)?;
    let mut request = chat::Request { include_usage: true, ..chat::Request::default() };
    let mut prompt = None;
    for (name, node) in root.members() {
        if node.is_null() {
            continue;
        }
        match name.as_ref() {
            "prompt" => prompt = Some(read::text(node, format_args!("prompt"))?),
            "model" => request.model = Some(read::text(node, format_args!("model"))?.to_owned()),
            "stream" => request.stream = read::boolean(node, format_args!("stream"))?,
            "max_tokens" => {
                request.max_tokens =
                    Some(read::unsigned_from(node, format_args!("max_tokens"), 1)?);
            }
            "temperature" => {
                request.temperature = Some(read::number_within(node, "temperature", 0.0, 2.0)?);
            }
            _ => {}
        }
    }
    let prompt = prompt.ok_or_else(|| read::missing(format_args!("prompt")))?;
    request.messages.push(Message::text(Role::User, prompt));
    Ok(request)
}

/// Writes a whole answer.
pub(super) fn encode(reply: &chat::Reply, meta: &Meta, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.string("response", &chat::join_text(&reply.parts)).string("model", &meta.model);
        usage(o, reply.usage.as_ref());
    });
}

fn usage(o: &mut Object<'_>, usage: Option<&Usage>) {
    match usage {
        Some(usage) => o.object("usage", |u| {
            u.number("prompt_tokens", usage.prompt_tokens)
                .number("completion_tokens", usage.completion_tokens)
                .number("total_tokens", usage.total_tokens());
        }),
        None => o.raw("usage", "null"),
    };
}

/// Writes a streamed answer.
pub(super) struct Encoder {
    meta: Meta,
    finish: Option<&'static str>,
    usage: Option<Usage>,
}

impl Encoder {
    pub(super) fn new(meta: Meta) -> Encoder {
        Encoder { meta, finish: None, usage: None }
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                out.extend_from_slice(b"data: {\"delta\":");
                write::string(out, text);
                out.extend_from_slice(b"}\n\n");
            }
            Delta::Finish(reason) => self.finish = Some(reason.openai()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        write::event(out, None, |o| {
            o.boolean("done", true)
                .string("model", &self.meta.model)
                .string("finish_reason", self.finish.unwrap_or("stop"));
            usage(o, self.usage.as_ref());
        });
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        failure::openai(failure, out);
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::{FinishReason, Part, Reply};

    fn meta() -> Meta {
        Meta { id: "x".into(), model: "echo".into(), created: 1, ..Meta::default() }
    }

    #[test]
    fn a_prompt_becomes_a_user_message() {
        let request =
            decode(br#"{"prompt":"hi","stream":true,"max_tokens":3,"temperature":0.10}"#).unwrap();
        assert_eq!(request.messages, [Message::text(Role::User, "hi")]);
        assert!(request.stream);
        assert_eq!(request.max_tokens, Some(3));
        assert_eq!(request.temperature.unwrap().text(), "0.10");
        assert_eq!(request.model, None);
    }

    #[test]
    fn wrong_members_are_named() {
        for (body, param, code) in [
            (r#"{}"#, Some("prompt"), "missing_required_parameter"),
            (r#"{"prompt":null}"#, Some("prompt"), "missing_required_parameter"),
            (r#"{"prompt":3}"#, Some("prompt"), "invalid_type"),
            (r#"{"prompt":"a","stream":"yes"}"#, Some("stream"), "invalid_type"),
            (r#"{"prompt":"a","max_tokens":0}"#, Some("max_tokens"), "invalid_value"),
            (r#"{"prompt":"a","max_tokens":1.5}"#, Some("max_tokens"), "invalid_value"),
            (r#"{"prompt":"a","temperature":9}"#, Some("temperature"), "invalid_value"),
            (r#"{"prompt":"a","model":1}"#, Some("model"), "invalid_type"),
            (r#"{"prompt":"a","prompt":"b"}"#, Some("prompt"), "duplicate_member"),
            (r#"[1]"#, None, "invalid_type"),
            (r#"{"prompt":"a""#, None, "invalid_json"),
        ] {
            let failure = decode(body.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400, "{body}");
            assert_eq!(failure.param.as_deref(), param, "{body}");
            assert_eq!(failure.code.as_deref(), Some(code), "{body}");
        }
    }

    #[test]
    fn whole_and_streamed_answers() {
        let usage = Usage { prompt_tokens: 2, completion_tokens: 1, ..Usage::default() };
        let reply = Reply {
            id: None,
            model: None,
            parts: vec![Part::Text("a\"b".into())],
            finish: FinishReason::Stop,
            usage: Some(usage),
            logprobs: None,
        };
        let mut out = Vec::new();
        encode(&reply, &meta(), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"response":"a\"b","model":"echo","usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}"#
        );

        let mut out = Vec::new();
        let mut encoder = Encoder::new(meta());
        encoder.event(&Delta::Text("a\"b".into()), &mut out);
        encoder.event(&Delta::Finish(FinishReason::Length), &mut out);
        encoder.event(&Delta::Usage(usage), &mut out);
        encoder.finish(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "data: {\"delta\":\"a\\\"b\"}\n\ndata: {\"done\":true,\"model\":\"echo\",\
             \"finish_reason\":\"length\",\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1,\
             \"total_tokens\":3}}\n\ndata: [DONE]\n\n"
        );
    }
}
