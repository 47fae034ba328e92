//! Dialects: the formats clients speak to us.
//!
//! Each is decoded into the neutral [`chat::Request`] and encoded from neutral replies and deltas.
//! A stream encoder writes complete server-sent events by plain pushes: no tree, no allocation per
//! event beyond what the output buffer takes.
#![forbid(unsafe_code)]

mod anthropic;
mod completions;
mod custom;
mod failure;
mod native;
pub mod old_chat;
mod openai_chat;
mod read;
mod responses;
mod signature;
mod unread;

use crate::ai::chat;
use crate::base::error::Failure;

/// The pieces of OpenAI's messages that are written alike in answers and in requests.
pub(in crate::ai) mod openai_parts {
    pub(in crate::ai) use super::custom::arguments as custom_arguments;
    pub(in crate::ai) use super::openai_chat::tool_calls;
}

/// A format a client speaks, as its route says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Dialect {
    /// `POST /v1/chat/completions`
    OpenAiChat,
    /// `POST /v1/completions`
    OpenAiCompletions,
    /// `POST /v1/embeddings`
    OpenAiEmbeddings,
    /// `POST /v1/responses`
    OpenAiResponses,
    /// `POST /v1/messages`
    AnthropicMessages,
    /// `POST /v1/messages/count_tokens`
    AnthropicCountTokens,
    /// `POST /v1/chat`
    NativeChat,
    /// The same as the original server answered it.
    OldChat,
}

/// What an answer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The answer's id, in the dialect's form: see [`Dialect::id_prefix`].
    pub id: String,
    /// The model's name as the client is told it.
    pub model: String,
    /// Unix seconds.
    pub created: i64,
    /// The request's custom tools: see [`chat::Request::custom_tools`].
    pub custom_tools: Vec<String>,
    /// Its tools within namespaces.
    pub namespaced: Vec<chat::Namespaced>,
}

impl Meta {
    /// Whether the client knows the tool of this name as a custom one.
    fn is_custom(&self, name: &str) -> bool {
        self.custom_tools.iter().any(|custom| custom == name)
    }

    /// The namespace of the tool of this name, and its name there.
    fn namespaced(&self, name: &str) -> Option<(&str, &str)> {
        let found = self.namespaced.iter().find(|tool| tool.name == name)?;
        Some((&found.namespace, &found.own))
    }
}

/// Writes one answer as server-sent events.
pub trait StreamEncoder: Send {
    /// Appends the events for `delta`: whole ones, possibly none.
    fn event(&mut self, delta: &chat::Delta, out: &mut Vec<u8>);
    /// Appends the end of a successful answer with its success mark.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Appends the dialect's error event. No success mark follows.
    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>);
    /// Whether it keeps such a delta, perhaps until the end: then somebody must bound them.
    /// Arguments may wait for those of a call before them.
    fn keeps(&self, delta: &chat::Delta) -> bool {
        matches!(delta, chat::Delta::ToolCallArguments { .. } | chat::Delta::ToolCallStart { .. })
    }
}

impl Dialect {
    /// Reads a request. What is wrong with it is a 400 that names the member, as OpenAI's API
    /// would. Embeddings are no chat: they only pass through.
    pub fn decode_request(self, body: &[u8]) -> Result<chat::Request, Failure> {
        match self {
            Dialect::OpenAiChat => openai_chat::decode(body),
            Dialect::OpenAiCompletions => completions::decode(body),
            Dialect::OpenAiResponses => responses::decode(body),
            Dialect::AnthropicMessages => anthropic::decode(body),
            Dialect::AnthropicCountTokens => anthropic::decode_count(body),
            Dialect::NativeChat | Dialect::OldChat => native::decode(body),
            Dialect::OpenAiEmbeddings => Err(Failure::new(
                400,
                "The provider of this model has no embeddings in OpenAI's format.",
            )
            .param("model")
            .code("unsupported_endpoint")),
        }
    }

    /// Appends a whole answer's body, JSON. For [`Dialect::AnthropicCountTokens`] that is the
    /// count of the reply's prompt tokens.
    pub fn encode_reply(self, reply: &chat::Reply, meta: &Meta, out: &mut Vec<u8>) {
        match self {
            Dialect::OpenAiChat | Dialect::OpenAiEmbeddings => {
                openai_chat::encode(reply, meta, out);
            }
            Dialect::OpenAiCompletions => completions::encode(reply, meta, out),
            Dialect::OpenAiResponses => responses::encode(reply, meta, out),
            Dialect::AnthropicMessages => anthropic::encode(reply, meta, out),
            Dialect::AnthropicCountTokens => {
                anthropic::count(reply.usage.unwrap_or_default().prompt_tokens, out);
            }
            Dialect::NativeChat => native::encode(reply, meta, out),
            Dialect::OldChat => {
                old_chat::encode(&chat::join_text(&reply.parts), &meta.model, out);
            }
        }
    }

    /// The writer of one streamed answer. `include_usage`: the client asked to see the usage where
    /// the dialect makes that a choice.
    pub fn stream_encoder(self, meta: Meta, include_usage: bool) -> Box<dyn StreamEncoder> {
        match self {
            Dialect::OpenAiChat | Dialect::OpenAiEmbeddings => {
                Box::new(openai_chat::Encoder::new(meta, include_usage))
            }
            Dialect::OpenAiCompletions => Box::new(completions::Encoder::new(meta, include_usage)),
            Dialect::OpenAiResponses => Box::new(responses::Encoder::new(meta)),
            Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => {
                Box::new(anthropic::Encoder::new(meta))
            }
            Dialect::NativeChat | Dialect::OldChat => Box::new(native::Encoder::new(meta)),
        }
    }

    /// Appends the body of an error answer, JSON.
    pub fn encode_failure(self, failure: &Failure, out: &mut Vec<u8>) {
        if self.is_anthropic() {
            failure::anthropic(failure, out);
        } else {
            failure::openai(failure, out);
        }
    }

    /// What ids of this dialect's answers begin with; letters and digits follow.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Dialect::OpenAiChat | Dialect::NativeChat | Dialect::OldChat => "chatcmpl-",
            Dialect::OpenAiCompletions => "cmpl-",
            Dialect::OpenAiEmbeddings => "embd-",
            Dialect::OpenAiResponses => "resp_",
            Dialect::AnthropicMessages | Dialect::AnthropicCountTokens => "msg_",
        }
    }

    /// Whether errors take Anthropic's form.
    pub fn is_anthropic(self) -> bool {
        matches!(self, Dialect::AnthropicMessages | Dialect::AnthropicCountTokens)
    }
}
