//! Ollama's own `/api/chat`, which streams lines of JSON.
#![forbid(unsafe_code)]

mod reply;
mod request;

use super::{Codec, EncodedRequest, StreamDecoder, TargetInfo, bearer};
use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;

/// The codec.
pub(super) struct Ollama;

impl Codec for Ollama {
    fn encode_request(
        &self,
        request: &chat::Request,
        target: &TargetInfo<'_>,
        out: &mut EncodedRequest,
    ) -> Result<(), Failure> {
        *out = EncodedRequest::begin("/api/chat", self.credential(target));
        request::encode(request, target.model, out)
    }

    fn decode_reply(&self, status: u16, body: &[u8]) -> Result<chat::Reply, Failure> {
        reply::decode(status, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(reply::Decoder::default())
    }

    /// Ollama serves what has no form of its own in OpenAI's.
    fn native_path(&self, dialect: Dialect, _: &TargetInfo<'_>) -> Option<String> {
        let path = match dialect {
            Dialect::OpenAiEmbeddings => "/v1/embeddings",
            Dialect::OpenAiCompletions => "/v1/completions",
            _ => return None,
        };
        Some(path.to_owned())
    }

    /// None at home; the hosted service and reverse proxies want one.
    fn credential(&self, target: &TargetInfo<'_>) -> Vec<(String, String)> {
        bearer(target.api_key)
    }
}
