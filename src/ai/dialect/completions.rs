//! OpenAI's older completions, `POST /v1/completions`, over chat models: the prompt becomes one
//! user message. Prompts of token numbers, several prompts and several answers are refused.
#![forbid(unsafe_code)]

use super::{Meta, StreamEncoder, failure, openai_chat, read};
use crate::ai::chat::{self, Delta, FinishReason, Message, Reply, Request, Role, Usage};
use crate::ai::tree::Node;
use crate::ai::write::{self, Object};
use crate::base::error::Failure;

/// Reads a request.
pub(super) fn decode(body: &[u8]) -> Result<Request, Failure> {
    let root = read::body(body)?;
    let mut request = Request::default();
    let mut prompt = None;
    for (name, node) in root.members() {
        if node.is_null() {
            continue;
        }
        match name.as_ref() {
            "prompt" => prompt = Some(self::prompt(node)?),
            "best_of" => {
                if read::unsigned_from(node, format_args!("best_of"), 1)? > 1 {
                    return Err(only_one("best_of"));
                }
            }
            "n" => {
                if read::unsigned_from(node, format_args!("n"), 1)? > 1 {
                    return Err(only_one("n"));
                }
            }
            // Asking for none of what chat models cannot do is fine.
            "echo" if node.boolean() == Some(false) => {}
            "logprobs" | "suffix" | "echo" => request.lose(name),
            _ => openai_chat::parameter(name, node, &mut request)?,
        }
    }
    let prompt = prompt.ok_or_else(|| read::missing(format_args!("prompt")))?;
    request.messages.push(Message::text(Role::User, prompt));
    Ok(request)
}

fn only_one(param: &'static str) -> Failure {
    Failure::new(400, format!("'{param}' above 1 is not possible with this model."))
        .param(param)
        .code("unsupported_value")
}

fn prompt(node: &Node<'_>) -> Result<String, Failure> {
    if let Some(text) = node.text() {
        return Ok(text.to_owned());
    }
    match node.items() {
        [one] if one.text().is_some() => Ok(one.text().unwrap_or_default().to_owned()),
        [] => Err(read::wrong_type(format_args!("prompt"), "a string", node)),
        [first, ..] if first.text().is_some() => Err(only_one("prompt")),
        _ => Err(Failure::new(400, "A prompt of token numbers is not possible with this model.")
            .param("prompt")
            .code("unsupported_value")),
    }
}

/// Writes a `text_completion`.
pub(super) fn encode(reply: &Reply, meta: &Meta, out: &mut Vec<u8>) {
    write::object(out, |o| {
        head(meta, o);
        o.array("choices", |choices| {
            choices.object(|c| {
                choice(&chat::join_text(&reply.parts), Some(reply.finish.openai()), c);
            });
        });
        if let Some(usage) = &reply.usage {
            o.object("usage", |u| openai_chat::usage(usage, u));
        }
    });
}

fn head(meta: &Meta, o: &mut Object<'_>) {
    o.string("id", &meta.id)
        .string("object", "text_completion")
        .number("created", u64::try_from(meta.created).unwrap_or(0))
        .string("model", &meta.model);
}

fn choice(text: &str, finish: Option<&str>, c: &mut Object<'_>) {
    c.string("text", text)
        .number("index", 0)
        .raw("logprobs", "null")
        .string_or_null("finish_reason", finish);
}

/// Writes a streamed answer.
pub(super) struct Encoder {
    meta: Meta,
    include_usage: bool,
    finished: bool,
    usage: Option<Usage>,
}

impl Encoder {
    pub(super) fn new(meta: Meta, include_usage: bool) -> Encoder {
        Encoder { meta, include_usage, finished: false, usage: None }
    }

    fn chunk(&self, text: &str, finish: Option<&str>, out: &mut Vec<u8>) {
        write::event(out, None, |o| {
            head(&self.meta, o);
            o.array("choices", |choices| {
                choices.object(|c| choice(text, finish, c));
            });
            if self.include_usage {
                o.raw("usage", "null");
            }
        });
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => self.chunk(text, None, out),
            Delta::Finish(reason) if !self.finished => {
                self.finished = true;
                self.chunk("", Some(reason.openai()), out);
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.finished {
            self.event(&Delta::Finish(FinishReason::Stop), out);
        }
        if let (true, Some(usage)) = (self.include_usage, &self.usage) {
            write::event(out, None, |o| {
                head(&self.meta, o);
                o.raw("choices", "[]").object("usage", |u| openai_chat::usage(usage, u));
            });
        }
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

    #[test]
    fn a_prompt_becomes_a_message_and_the_answer_text() {
        let request = decode(
            br#"{"model":"m","prompt":["hi"],"max_tokens":4,"temperature":0,"stop":["x"],"echo":false,
              "logprobs":2,"stream":true,"stream_options":{"include_usage":true},"user":"u"}"#,
        )
        .unwrap();
        assert_eq!(request.messages, [Message::text(Role::User, "hi")]);
        assert_eq!(request.max_tokens, Some(4));
        assert!(request.stream && request.include_usage);
        assert_eq!(request.lost, ["logprobs"]);
        for (body, param) in [
            (r#"{}"#, "prompt"),
            (r#"{"prompt":5}"#, "prompt"),
            (r#"{"prompt":[]}"#, "prompt"),
            (r#"{"prompt":[1,2]}"#, "prompt"),
            (r#"{"prompt":["a","b"]}"#, "prompt"),
            (r#"{"prompt":"a","n":2}"#, "n"),
            (r#"{"prompt":"a","best_of":2}"#, "best_of"),
            (r#"{"prompt":"a","max_tokens":"x"}"#, "max_tokens"),
        ] {
            let failure = decode(body.as_bytes()).unwrap_err();
            assert_eq!((failure.status, failure.param.as_deref()), (400, Some(param)), "{body}");
        }
        let mut encoder = Encoder::new(
            Meta { id: "cmpl-1".into(), model: "m".into(), created: 3, ..Meta::default() },
            true,
        );
        let mut out = Vec::new();
        encoder.event(&Delta::Text("a".into()), &mut out);
        encoder.event(&Delta::Finish(FinishReason::Length), &mut out);
        encoder.event(&Delta::Usage(Usage::default()), &mut out);
        encoder.finish(&mut out);
        let text = String::from_utf8(out).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(
            events[0],
            "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":3,\"model\":\"m\",\
             \"choices\":[{\"text\":\"a\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}],\
             \"usage\":null}"
        );
        assert!(events[1].contains("\"finish_reason\":\"length\""));
        assert!(events[2].contains("\"choices\":[],\"usage\":{"));
        assert_eq!(events[3], "data: [DONE]");
    }
}
