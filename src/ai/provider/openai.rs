//! OpenAI's chat completions towards a provider, and its compatibles as table rows.
#![forbid(unsafe_code)]

mod reply;
mod request;
mod stream;

use super::{Codec, EncodedRequest, StreamDecoder, TargetInfo};
use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;

/// What one compatible does differently.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The configured kind.
    pub kind: &'static str,
    /// The member that limits the answer.
    pub max_tokens: &'static str,
    /// Whether `stream_options.include_usage` may be sent. Where not, the usage comes unasked.
    pub stream_options: bool,
    /// Whether `response_format` may be `json_schema`.
    pub json_schema: bool,
    /// Whether it serves `/responses` itself.
    pub responses: bool,
}

/// A compatible about which nothing special is known.
const PLAIN: Row = Row {
    kind: "",
    max_tokens: "max_tokens",
    stream_options: true,
    json_schema: true,
    responses: false,
};

/// The compatibles that differ from [`PLAIN`].
const ROWS: &[Row] =
    &[Row { kind: "openai", max_tokens: "max_completion_tokens", responses: true, ..PLAIN }];

/// The row of a configured kind.
pub fn row(kind: &str) -> &'static Row {
    ROWS.iter().find(|row| row.kind == kind).unwrap_or(&PLAIN)
}

/// The codec.
pub struct OpenAi;

impl Codec for OpenAi {
    fn encode_request(
        &self,
        request: &chat::Request,
        target: &TargetInfo<'_>,
        out: &mut EncodedRequest,
    ) -> Result<(), Failure> {
        *out = EncodedRequest {
            path_and_query: "/chat/completions".to_owned(),
            headers: self.credential(target),
            ..EncodedRequest::default()
        };
        out.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        request::encode(request, target, row(target.kind), out)
    }

    fn decode_reply(&self, status: u16, body: &[u8]) -> Result<chat::Reply, Failure> {
        reply::decode(status, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::default())
    }

    fn credential(&self, target: &TargetInfo<'_>) -> Vec<(String, String)> {
        let key = target.api_key.filter(|key| !key.is_empty());
        key.map(|key| ("authorization".to_owned(), format!("Bearer {key}"))).into_iter().collect()
    }

    fn forwarded_headers(&self) -> &'static [(&'static str, Option<&'static str>)] {
        &[("openai-beta", None), ("openai-organization", None), ("openai-project", None)]
    }

    fn native_path(&self, dialect: Dialect, target: &TargetInfo<'_>) -> Option<String> {
        let path = match dialect {
            Dialect::OpenAiChat => "/chat/completions",
            Dialect::OpenAiCompletions => "/completions",
            Dialect::OpenAiEmbeddings => "/embeddings",
            Dialect::OpenAiResponses if row(target.kind).responses => "/responses",
            _ => return None,
        };
        Some(path.to_owned())
    }
}
