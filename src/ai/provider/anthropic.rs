//! Anthropic's messages towards a provider.
//!
//! Sent as API version 2023-06-01, which still takes sampling parameters from the models that know
//! them; everything newer that is used here exists in it too.
#![forbid(unsafe_code)]

mod reply;
mod request;
mod schema;
mod stream;

use super::{Codec, EncodedRequest, StreamDecoder, TargetInfo, bearer};
use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;

/// The version of the API that is spoken.
const VERSION: &str = "2023-06-01";

/// The codec.
pub(super) struct Anthropic;

impl Codec for Anthropic {
    fn encode_request(
        &self,
        request: &chat::Request,
        target: &TargetInfo<'_>,
        out: &mut EncodedRequest,
    ) -> Result<(), Failure> {
        *out = EncodedRequest::begin("/messages", self.credential(target));
        out.headers.push(("anthropic-version".to_owned(), VERSION.to_owned()));
        request::encode(request, target.model, out)
    }

    fn decode_reply(&self, status: u16, body: &[u8]) -> Result<chat::Reply, Failure> {
        reply::decode(status, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::default())
    }

    fn native_path(&self, dialect: Dialect, _: &TargetInfo<'_>) -> Option<String> {
        let path = match dialect {
            Dialect::AnthropicMessages => "/messages",
            Dialect::AnthropicCountTokens => "/messages/count_tokens",
            _ => return None,
        };
        Some(path.to_owned())
    }

    /// One credential only: with two the API takes one and ignores or refuses the other.
    fn credential(&self, target: &TargetInfo<'_>) -> Vec<(String, String)> {
        match target.api_key.filter(|key| !key.is_empty()) {
            // An access token of a login, no API key.
            Some(key) if key.starts_with("sk-ant-oat") => bearer(Some(key)),
            Some(key) => vec![("x-api-key".to_owned(), key.to_owned())],
            None => Vec::new(),
        }
    }

    fn default_headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", VERSION)]
    }
}

/// The version in the name of a Claude model, as `(major, minor)`: `claude-sonnet-4-5-20250929`,
/// `claude-3-7-sonnet-latest`, `anthropic.claude-opus-4-1-v1:0`. None for other names.
fn claude_version(model: &str) -> Option<(u32, u32)> {
    let at = model.find("claude")?;
    let name = model.get(at..)?;
    // A date is no version, nor is the `v1` of other clouds.
    let mut numbers = name
        .split(['-', '@', ':', '.'])
        .map(|part| part.parse::<u32>().ok().filter(|_| part.len() <= 2))
        .skip_while(Option::is_none)
        .map_while(|number| number);
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        for (name, expected) in [
            ("claude-3-haiku-20240307", Some((3, 0))),
            ("claude-3-5-sonnet-20241022", Some((3, 5))),
            ("claude-3-7-sonnet-latest", Some((3, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-sonnet-4-5-20250929", Some((4, 5))),
            ("claude-opus-4-1", Some((4, 1))),
            ("claude-opus-4.7", Some((4, 7))),
            ("claude-sonnet-5", Some((5, 0))),
            ("anthropic.claude-opus-4-6-v1:0", Some((4, 6))),
            ("claude-sonnet-4-5@20250929", Some((4, 5))),
            ("claude-instant", None),
            ("kimi-k2", None),
        ] {
            assert_eq!(claude_version(name), expected, "{name}");
        }
    }

    #[test]
    fn exactly_one_credential_goes_out() {
        let target =
            |key| TargetInfo { kind: "anthropic", base_path: "/v1", model: "m", api_key: key };
        let names = |key| -> Vec<String> {
            Anthropic.credential(&target(key)).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(Some("sk-ant-api03-x")), ["x-api-key"]);
        assert_eq!(names(Some("sk-ant-oat01-x")), ["authorization"]);
        assert!(names(None).is_empty());
    }
}
