//! Google's `generateContent`.
#![forbid(unsafe_code)]

mod reply;
mod request;
mod schema;

use super::{Codec, EncodedRequest, StreamDecoder, TargetInfo, bearer};
use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;

/// What marks a thought's signature as Google's, so that no other provider is shown it.
const MARK: &str = "gemini:";

/// The codec.
pub(super) struct Gemini;

impl Codec for Gemini {
    fn encode_request(
        &self,
        request: &chat::Request,
        target: &TargetInfo<'_>,
        out: &mut EncodedRequest,
    ) -> Result<(), Failure> {
        let key = target.api_key.filter(|key| !key.is_empty());
        let headers = key.map(|key| ("x-goog-api-key".to_owned(), key.to_owned()));
        *out = EncodedRequest::begin(
            &path(target.model, request.stream),
            headers.into_iter().collect(),
        );
        request::encode(request, target.model, out)
    }

    fn decode_reply(&self, status: u16, body: &[u8]) -> Result<chat::Reply, Failure> {
        reply::decode(status, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(reply::Decoder::default())
    }

    /// Embeddings are served in OpenAI's form beside Google's own.
    fn native_path(&self, dialect: Dialect, _: &TargetInfo<'_>) -> Option<String> {
        (dialect == Dialect::OpenAiEmbeddings).then(|| "/openai/embeddings".to_owned())
    }

    /// For what passes through in OpenAI's form.
    fn credential(&self, target: &TargetInfo<'_>) -> Vec<(String, String)> {
        bearer(target.api_key)
    }
}

/// The method of a model. Without `alt=sse` a stream would be one JSON array.
fn path(model: &str, stream: bool) -> String {
    let (folder, name) = match model.split_once('/') {
        Some((folder @ ("models" | "tunedModels"), name)) => (folder, name),
        _ => ("models", model),
    };
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("/{folder}/{}:{method}", super::openai::percent(name))
}

/// The major version in a model's name: `gemini-2.5-flash` is 2.
fn major(model: &str) -> Option<u32> {
    let at = model.find("gemini-")?;
    let name = model.get(at + "gemini-".len()..)?;
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_asked_for_as_events() {
        for (model, stream, expected) in [
            ("gemini-2.5-flash", false, "/models/gemini-2.5-flash:generateContent"),
            ("gemini-2.5-flash", true, "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
            ("models/gemini-3-pro", false, "/models/gemini-3-pro:generateContent"),
            ("tunedModels/a b", false, "/tunedModels/a%20b:generateContent"),
            ("x/../y?z", false, "/models/x%2F..%2Fy%3Fz:generateContent"),
        ] {
            assert_eq!(path(model, stream), expected);
        }
        assert_eq!(major("gemini-2.5-flash"), Some(2));
        assert_eq!(major("models/gemini-3-pro-preview"), Some(3));
        assert_eq!(major("gemma-3-27b"), None);
    }
}
