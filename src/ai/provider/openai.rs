//! OpenAI's chat completions towards a provider, and its compatibles as table rows.
#![forbid(unsafe_code)]

mod reply;
mod request;
mod stream;

use super::{Codec, EncodedRequest, StreamDecoder, TargetInfo, bearer};
use crate::ai::chat;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;

pub(in crate::ai) use request::short_id;

/// What one compatible does differently, by its own documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Whether it serves `/completions` itself.
    pub completions: bool,
    /// Whether `logprobs` and `logit_bias` may be sent.
    pub logprobs: bool,
    /// Whether it knows OpenAI's own latest: the role `developer`, `metadata`, `service_tier` …
    pub official: bool,
    /// Whether messages may carry `name`.
    pub names: bool,
    /// Whether `tool_choice` may be anything but `auto`.
    pub tool_choice: bool,
    /// The member that hands the model's thinking back; a compatible without one would refuse it.
    pub thinking: Option<&'static str>,
    /// Mistral's strictness: unknown members are a 422, ids of calls have nine characters.
    pub strict: bool,
    /// Azure's addresses and its `api-key` header.
    pub azure: bool,
}

/// A compatible about which nothing special is known.
const PLAIN: Row = Row {
    kind: "",
    max_tokens: "max_tokens",
    stream_options: true,
    json_schema: true,
    responses: false,
    completions: true,
    logprobs: true,
    official: false,
    names: true,
    tool_choice: true,
    thinking: Some("reasoning_content"),
    strict: false,
    azure: false,
};

/// OpenAI itself.
const OPENAI: Row = Row {
    kind: "openai",
    max_tokens: "max_completion_tokens",
    responses: true,
    official: true,
    thinking: None,
    ..PLAIN
};

/// Zhipu's open platform and Z.ai are one API ("Chat Completion").
const ZHIPU: Row =
    Row { kind: "zhipu", json_schema: false, completions: false, tool_choice: false, ..PLAIN };

/// The compatibles that differ from [`PLAIN`]. DeepSeek, Moonshot and the local servers want
/// `reasoning_content` back and are plain for that; DeepSeek and Zhipu know `json_object` alone.
/// DeepSeek, Together and llama.cpp serve `/responses` for some models or builds only: theirs are
/// translated.
const ROWS: &[Row] = &[
    OPENAI,
    Row { kind: "azure", azure: true, ..OPENAI },
    Row {
        kind: "groq",
        responses: true,
        completions: false,
        logprobs: false,
        names: false,
        thinking: None,
        ..PLAIN
    },
    // `ChatCompletionRequest` in Mistral's API reference; text is completed at `/fim/completions`.
    Row {
        kind: "mistral",
        stream_options: false,
        completions: false,
        logprobs: false,
        names: false,
        thinking: None,
        strict: true,
        ..PLAIN
    },
    Row { kind: "deepseek", json_schema: false, completions: false, ..PLAIN },
    ZHIPU,
    Row { kind: "zai", ..ZHIPU },
    Row { kind: "moonshot", completions: false, ..PLAIN },
    Row { kind: "huggingface", completions: false, ..PLAIN },
    Row { kind: "fireworks", responses: true, ..PLAIN },
    // Its responses are a beta without state (OpenRouter's API reference).
    Row {
        kind: "openrouter",
        responses: true,
        official: true,
        thinking: Some("reasoning"),
        ..PLAIN
    },
    // The Agent API, which is OpenAI's responses; its chat ended in September 2026 ("Migrate from
    // Sonar to the Agent API").
    Row {
        kind: "perplexity",
        stream_options: false,
        responses: true,
        completions: false,
        thinking: None,
        ..PLAIN
    },
    Row { kind: "xai", responses: true, thinking: None, ..PLAIN },
    Row { kind: "nvidia", thinking: None, ..PLAIN },
    Row { kind: "cerebras", thinking: None, ..PLAIN },
    Row { kind: "cohere", completions: false, thinking: None, ..PLAIN },
    Row { kind: "vllm", responses: true, ..PLAIN },
    Row { kind: "lmstudio", responses: true, ..PLAIN },
];

/// The row of a configured kind.
pub fn row(kind: &str) -> &'static Row {
    ROWS.iter().find(|row| row.kind == kind).unwrap_or(&PLAIN)
}

/// Azure's last dated version that is generally available, for base URLs without `/v1`.
const AZURE_VERSION: &str = "2024-10-21";

/// The codec.
pub struct OpenAi;

impl OpenAi {
    /// Azure's present API is reached as OpenAI's, below `/openai/v1`; a bare resource name as base
    /// URL means the older one, with the deployment in the path and without responses.
    fn is_dated(target: &TargetInfo<'_>) -> bool {
        row(target.kind).azure && !target.base_path.ends_with("/v1")
    }

    fn path(path: &str, target: &TargetInfo<'_>) -> String {
        if !OpenAi::is_dated(target) {
            return path.to_owned();
        }
        if target.base_path.contains("/deployments/") {
            return format!("{path}?api-version={AZURE_VERSION}");
        }
        let model = percent(target.model);
        let openai = if target.base_path.ends_with("/openai") { "" } else { "/openai" };
        format!("{openai}/deployments/{model}{path}?api-version={AZURE_VERSION}")
    }
}

/// A text as one segment of a path (RFC 3986 section 2).
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Codec for OpenAi {
    fn encode_request(
        &self,
        request: &chat::Request,
        target: &TargetInfo<'_>,
        out: &mut EncodedRequest,
    ) -> Result<(), Failure> {
        let path = OpenAi::path("/chat/completions", target);
        *out = EncodedRequest::begin(&path, self.credential(target));
        request::encode(request, target, row(target.kind), out)
    }

    fn decode_reply(&self, status: u16, body: &[u8]) -> Result<chat::Reply, Failure> {
        reply::decode(status, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::default())
    }

    fn native_path(&self, dialect: Dialect, target: &TargetInfo<'_>) -> Option<String> {
        let row = row(target.kind);
        let path = match dialect {
            // What OpenAI's clients send by habit is a 422 to the strict one.
            Dialect::OpenAiChat if !row.strict => "/chat/completions",
            Dialect::OpenAiCompletions if row.completions && !row.strict => "/completions",
            Dialect::OpenAiEmbeddings => "/embeddings",
            Dialect::OpenAiResponses if row.responses && !OpenAi::is_dated(target) => "/responses",
            _ => return None,
        };
        Some(OpenAi::path(path, target))
    }

    fn credential(&self, target: &TargetInfo<'_>) -> Vec<(String, String)> {
        match target.api_key.filter(|key| !key.is_empty()) {
            Some(key) if row(target.kind).azure => vec![("api-key".to_owned(), key.to_owned())],
            key => bearer(key),
        }
    }

    fn asks_for_usage(&self, dialect: Dialect, target: &TargetInfo<'_>) -> bool {
        let has_choice = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiCompletions);
        has_choice && row(target.kind).stream_options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_has_its_own_addresses_and_header() {
        for (base_path, expected) in [
            ("/openai/v1", "/chat/completions"),
            ("", "/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"),
            ("/openai", "/deployments/my%20model/chat/completions?api-version=2024-10-21"),
            ("/openai/deployments/d", "/chat/completions?api-version=2024-10-21"),
        ] {
            let target =
                TargetInfo { kind: "azure", base_path, model: "my model", api_key: Some("k") };
            let path = OpenAi.native_path(Dialect::OpenAiChat, &target);
            assert_eq!(path.as_deref(), Some(expected), "{base_path}");
            assert_eq!(OpenAi.credential(&target), [("api-key".to_owned(), "k".to_owned())]);
        }
    }

    #[test]
    fn only_what_a_provider_speaks_passes_through() {
        let path = |kind, dialect| {
            let target = TargetInfo { kind, base_path: "/v1", model: "m", api_key: None };
            OpenAi.native_path(dialect, &target)
        };
        assert!(path("openai", Dialect::OpenAiResponses).is_some());
        assert!(path("together", Dialect::OpenAiChat).is_some());
        assert!(path("together", Dialect::OpenAiResponses).is_none());
        assert!(path("mistral", Dialect::OpenAiChat).is_none());
        assert!(path("together", Dialect::OpenAiCompletions).is_some());
        assert!(path("groq", Dialect::OpenAiCompletions).is_none());
        assert!(path("mistral", Dialect::OpenAiEmbeddings).is_some());
        for kind in ["fireworks", "openrouter", "perplexity", "xai", "vllm", "lmstudio"] {
            assert!(path(kind, Dialect::OpenAiResponses).is_some(), "{kind}");
        }
        assert!(path("deepseek", Dialect::OpenAiResponses).is_none());
        assert!(path("openai", Dialect::AnthropicMessages).is_none());
        let target = TargetInfo { kind: "x", base_path: "", model: "m", api_key: Some("") };
        assert!(OpenAi.credential(&target).is_empty());
    }
}
