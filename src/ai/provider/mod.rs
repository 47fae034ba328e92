//! Providers: the formats models are reached by, one codec each, without I/O.
//!
//! A codec turns a neutral request into path, headers and body, and what comes back into neutral
//! replies and deltas. It never sees a socket; the address, retries and deadlines are others' work.
#![forbid(unsafe_code)]

mod anthropic;
pub mod echo;
mod events;
mod failure;
mod gemini;
mod items;
mod ollama;
pub mod openai;
#[cfg(test)]
mod traps;
pub mod wait;

use std::borrow::Cow;

use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;

pub use failure::decode_failure;

/// How a provider is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Wire {
    /// OpenAI's API and its compatibles, which are rows of a table: see [`openai::row`].
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
    /// Ollama's own `/api/chat`.
    Ollama,
    /// The built-in [`echo`]: nothing is called.
    Echo,
    /// The models of the host program.
    Host,
}

/// What a request is encoded for.
#[derive(Clone, Copy, Debug)]
pub struct TargetInfo<'t> {
    /// The configured `kind`: picks the row of quirks where a wire has several.
    pub kind: &'t str,
    /// The path of the configured base URL, without a slash at its end; empty when it has none.
    pub base_path: &'t str,
    /// The provider's name of the model.
    pub model: &'t str,
    /// The credential.
    pub api_key: Option<&'t str>,
}

/// A request ready to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRequest {
    /// To be put behind the path of the provider's base URL; begins with a slash.
    pub path_and_query: String,
    /// Headers beyond Host, Content-Length and Accept-Encoding; the credential is among them.
    pub headers: Vec<(String, String)>,
    /// The body, JSON.
    pub body: Vec<u8>,
    /// Members of the request that this provider has no place for, for `x-neurohttp-dropped`.
    pub dropped: Vec<Cow<'static, str>>,
}

/// Most names of members in [`EncodedRequest::dropped`].
const DROPPED_NAMES_MAX: usize = 2 * chat::LOST_NAMES_MAX;

impl EncodedRequest {
    /// Notes that a member was left out. Of too many the last are not named.
    fn drop_member(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if self.dropped.len() < DROPPED_NAMES_MAX && !self.dropped.contains(&name) {
            self.dropped.push(name);
        }
    }

    /// The header every JSON body needs, behind the credential's.
    fn begin(path: &str, mut headers: Vec<(String, String)>) -> EncodedRequest {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        EncodedRequest { path_and_query: path.to_owned(), headers, ..EncodedRequest::default() }
    }

    /// Notes the members of `request` that only one dialect knows.
    fn drop_lost(&mut self, request: &chat::Request) {
        for name in &request.lost {
            self.drop_foreign(name);
        }
    }

    /// Notes what of messages OpenAI's format alone has a place for.
    fn drop_openai_only(&mut self, request: &chat::Request) {
        for message in &request.messages {
            // A result goes by its call.
            if message.name.is_some() && message.role != chat::Role::Tool {
                self.drop_member("messages.name");
            }
            if message.prefix {
                self.drop_member("messages.prefix");
            }
            let wishes = |part: &chat::Part| matches!(part, chat::Part::Image { detail: Some(detail), .. } if detail != "auto");
            if message.parts.iter().any(wishes) {
                self.drop_member("image_url.detail");
            }
        }
    }

    /// Notes a member a client made up: only what is fit for a header is told.
    fn drop_foreign(&mut self, name: &str) {
        let fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name: String = name.chars().filter(fit).take(64).collect();
        self.drop_member(name);
    }
}

/// Translates for one provider's format.
pub trait Codec: Send + Sync {
    /// Encodes `request` into `out`, which is cleared first. What the provider cannot do at all is
    /// a 400 here; what only gets lost is named in [`EncodedRequest::dropped`].
    fn encode_request(
        &self,
        request: &chat::Request,
        target: &TargetInfo<'_>,
        out: &mut EncodedRequest,
    ) -> Result<(), Failure>;

    /// Reads a whole successful answer. `status` 400 and above is read by [`decode_failure`].
    fn decode_reply(&self, status: u16, body: &[u8]) -> Result<chat::Reply, Failure>;

    /// A reader for one streamed answer.
    fn stream_decoder(&self) -> Box<dyn StreamDecoder>;

    /// The path below the base URL at which this provider speaks `dialect` itself, so that bytes
    /// can pass through unread; none when a translation is needed.
    fn native_path(&self, dialect: Dialect, target: &TargetInfo<'_>) -> Option<String>;

    /// The headers that carry the credential of `target`, for requests passed through. Of what a
    /// client sent, no credential is handed on.
    fn credential(&self, target: &TargetInfo<'_>) -> Vec<(String, String)>;

    /// Headers, in lower case, that a request passed through carries unless the client sent them.
    fn default_headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether `stream_options.include_usage` may be added to a stream that passes through, for
    /// our own count.
    fn asks_for_usage(&self, dialect: Dialect, target: &TargetInfo<'_>) -> bool {
        let _ = (dialect, target);
        false
    }
}

/// Reads one streamed answer, cut anywhere.
pub trait StreamDecoder: Send {
    /// Takes in bytes of the body. An error ends the stream: it is the provider's own error event,
    /// translated, or garbage.
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(chat::Delta)) -> Result<(), Failure>;

    /// Whether it reads a body of JSON too: then an answer of that type is a stream all the same.
    fn reads_json(&self) -> bool {
        false
    }

    /// Whether the success mark has come.
    fn is_whole(&self) -> bool;

    /// The body has ended. Whether the answer was complete: without the success mark it was cut.
    fn finish(&mut self, on: &mut dyn FnMut(chat::Delta)) -> Result<bool, Failure>;
}

/// The codec of a wire. [`Wire::Echo`] and [`Wire::Host`] have none: nothing is sent.
pub fn codec(wire: Wire) -> Option<&'static dyn Codec> {
    match wire {
        Wire::OpenAi => Some(&openai::OpenAi),
        Wire::Anthropic => Some(&anthropic::Anthropic),
        Wire::Gemini => Some(&gemini::Gemini),
        Wire::Ollama => Some(&ollama::Ollama),
        Wire::Echo | Wire::Host => None,
    }
}

/// A credential as a bearer token (RFC 6750).
fn bearer(key: Option<&str>) -> Vec<(String, String)> {
    let key = key.filter(|key| !key.is_empty());
    key.map(|key| ("authorization".to_owned(), format!("Bearer {key}"))).into_iter().collect()
}

/// A translation answers once.
fn one_answer_only(request: &chat::Request) -> Result<(), Failure> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(Failure::new(
            400,
            "'n' above 1 is not possible with the provider of this model.",
        )
        .param("n")
        .code("unsupported_value"));
    }
    Ok(())
}

/// What an upstream sent is not its format.
fn garbage(what: &str) -> Failure {
    Failure::new(502, format!("The provider sent an answer that cannot be read: {what}."))
        .code("upstream_invalid")
}
