//! The neutral chat: what every dialect is decoded into and every provider is encoded from.
//!
//! It holds what at least two formats share, in the most telling form: JSON that is only handed on
//! (schemas, tool arguments, unknown members) and numbers that are only handed on stay text, so
//! they reach the other side as they were written.
#![forbid(unsafe_code)]

/// A request for a chat answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The name the client asked for; none stands for the default model.
    pub model: Option<String>,
    /// The conversation, system prompts included, oldest first.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Those of them that the client knows as custom tools, which take free text: here they are
    /// functions with the one string `input`.
    pub custom_tools: Vec<String>,
    /// Those of them that the client knows within a namespace.
    pub namespaced: Vec<Namespaced>,
    /// How it may choose among them.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of the answer, thinking included.
    pub max_tokens: Option<u64>,
    /// Sampling temperature.
    pub temperature: Option<Number>,
    /// Nucleus sampling.
    pub top_p: Option<Number>,
    /// Sampling among the best k.
    pub top_k: Option<u64>,
    /// Penalty for tokens by how often they came.
    pub frequency_penalty: Option<Number>,
    /// Penalty for tokens that came.
    pub presence_penalty: Option<Number>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Seed for repeatable sampling.
    pub seed: Option<Number>,
    /// Whether the answer comes as events.
    pub stream: bool,
    /// Whether a stream's client wants to see the usage.
    pub include_usage: bool,
    /// The form of the answer's text.
    pub response_format: ResponseFormat,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// Whether the client said that there is to be no thinking, which Anthropic's may.
    pub no_thinking: bool,
    /// The client's name for its end user.
    pub user: Option<String>,
    /// Whether to tell log-probabilities.
    pub logprobs: bool,
    /// How many alternatives to tell with each.
    pub top_logprobs: Option<u64>,
    /// How many answers are wanted.
    pub n: Option<u64>,
    /// Members of OpenAI's chat dialect that this type has no place for: name and JSON text, in
    /// their order. Its compatibles get them as they are.
    pub extra: Vec<(String, String)>,
    /// Names of members that no other format has a place for, each once: see [`Request::lose`].
    pub lost: Vec<String>,
}

/// A function that the client knows by another name, within a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaced {
    /// The function's name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// Its name there.
    pub own: String,
}

/// Most names of lost members that are told: a client can make up any number.
pub const LOST_NAMES_MAX: usize = 64;

impl Request {
    /// Notes once that a member finds no place elsewhere.
    pub fn lose(&mut self, name: &str) {
        lose(&mut self.lost, name);
    }
}

/// Adds a name to those of lost members, once and within their bound.
pub fn lose(lost: &mut Vec<String>, name: &str) {
    if lost.len() < LOST_NAMES_MAX && !lost.iter().any(|other| other == name) {
        lost.push(name.to_owned());
    }
}

/// A JSON number, kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// From text that the JSON reader has accepted as a number; other text becomes 0.
    pub fn from_text(text: &str) -> Number {
        match text.parse::<f64>() {
            Ok(_) => Number(text.to_owned()),
            Err(_) => Number("0".to_owned()),
        }
    }

    /// Its JSON text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its value; infinite when it is out of range.
    pub fn value(&self) -> f64 {
        self.0.parse().unwrap_or(0.0)
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator's instruction.
    System,
    /// OpenAI's newer name for it.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// Answers of tools.
    Tool,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said. Empty where a client sent null.
    pub parts: Vec<Part>,
    /// The speaker's name, where a dialect has one.
    pub name: Option<String>,
    /// Whether the answer is to go on from this one, the last (Mistral's `prefix`).
    pub prefix: bool,
}

impl Message {
    /// A message without a name.
    pub fn new(role: Role, parts: Vec<Part>) -> Message {
        Message { role, parts, name: None, prefix: false }
    }

    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message::new(role, vec![Part::Text(text.into())])
    }

    /// Its texts, joined.
    pub fn joined_text(&self) -> String {
        join_text(&self.parts)
    }
}

/// The text parts among `parts`, joined.
pub fn join_text(parts: &[Part]) -> String {
    let mut all = String::new();
    for part in parts {
        if let Part::Text(text) = part {
            all.push_str(text);
        }
    }
    all
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image; `detail` is OpenAI's wish for its resolution.
    Image {
        /// Where it is.
        source: Source,
        /// `low`, `high`, `auto`.
        detail: Option<String>,
    },
    /// Sound.
    Audio {
        /// Base64.
        data: String,
        /// `wav`, `mp3` …
        format: String,
    },
    /// A file, such as a PDF.
    File {
        /// Where it is.
        source: Source,
        /// Its name.
        name: Option<String>,
    },
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool has answered.
    ToolResult {
        /// The call's id.
        id: String,
        /// Texts and images.
        parts: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// The model thought.
    Thinking {
        /// The thought, or its summary.
        text: String,
        /// What the provider needs to believe it when it comes back.
        signature: Option<String>,
    },
    /// A thought only the provider can read.
    RedactedThinking(String),
    /// The model's words for why it will not answer.
    Refusal(String),
}

/// Where an image or a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At an address.
    Url(String),
    /// Here.
    Base64 {
        /// `image/png` …
        media_type: String,
        /// The bytes in base64.
        data: String,
    },
    /// Uploaded before, under a provider's id.
    Id(String),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ToolCall {
    /// The name results refer to.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text, an object.
    pub arguments: String,
    /// What the provider needs to believe the call when it comes back (Gemini's thought signature).
    pub signature: Option<String>,
}

/// A tool the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// A function of the client's.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// JSON Schema of its arguments, as text.
        parameters: Option<String>,
        /// Whether arguments must follow the schema exactly.
        strict: Option<bool>,
    },
    /// A tool only the provider knows, such as its web search: its JSON text.
    Provider {
        /// Its `type`.
        kind: String,
        /// Its JSON text.
        json: String,
    },
}

/// How the model may choose among the tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// It must not call any.
    None,
    /// It must call at least one.
    Required,
    /// It must call this one.
    Function(String),
}

/// The form of the answer's text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// JSON Schema, as text.
        schema: String,
        /// Whether to follow it exactly.
        strict: Option<bool>,
    },
}

/// How much to think.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reasoning {
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
    pub effort: Option<String>,
    /// Most tokens of thinking.
    pub budget_tokens: Option<u64>,
    /// OpenAI's wish for a summary: `auto`, `concise`, `detailed`.
    pub summary: Option<String>,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// Texts, thinking, tool calls, in their order.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub finish: FinishReason,
    /// What it took, if the provider says so.
    pub usage: Option<Usage>,
    /// OpenAI's `logprobs` object, as text.
    pub logprobs: Option<String>,
}

impl Reply {
    /// Bytes of what a model has written in it.
    pub fn text_bytes(&self) -> usize {
        let of = |part: &Part| match part {
            Part::Text(text) | Part::Refusal(text) | Part::Thinking { text, .. } => text.len(),
            Part::ToolCall(call) => call.name.len() + call.arguments.len(),
            _ => 0,
        };
        self.parts.iter().map(of).sum()
    }
}

/// One step of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The answer begins. Once, before all others.
    Start {
        /// The provider's id of the answer.
        id: Option<String>,
        /// The model as the provider names it.
        model: Option<String>,
    },
    /// More text.
    Text(String),
    /// More thinking.
    Thinking(String),
    /// The signature of the thinking before it, which it ends.
    Signature(String),
    /// A whole thought only the provider can read.
    RedactedThinking(String),
    /// More of a refusal.
    Refusal(String),
    /// A tool call begins.
    ToolCallStart {
        /// Its place among the calls, from 0.
        index: u32,
        /// The name results refer to.
        id: String,
        /// The tool.
        name: String,
        /// See [`ToolCall::signature`].
        signature: Option<String>,
    },
    /// More of a call's arguments.
    ToolCallArguments {
        /// Its place among the calls.
        index: u32,
        /// A piece of JSON text.
        json: String,
    },
    /// OpenAI's `logprobs` object for the text before it, as text.
    Logprobs(String),
    /// Why the answer ends. Once.
    Finish(FinishReason),
    /// What the whole answer took so far; a later one replaces an earlier one.
    Usage(Usage),
}

impl Delta {
    /// How many bytes of an answer it brings.
    pub fn bytes(&self) -> usize {
        match self {
            Delta::Text(text)
            | Delta::Thinking(text)
            | Delta::Signature(text)
            | Delta::RedactedThinking(text)
            | Delta::Refusal(text)
            | Delta::Logprobs(text)
            | Delta::ToolCallArguments { json: text, .. } => text.len(),
            Delta::ToolCallStart { id, name, .. } => id.len() + name.len(),
            Delta::Start { .. } | Delta::Finish(_) | Delta::Usage(_) => 0,
        }
    }

    /// Bytes of what a model has written in it.
    pub fn text_bytes(&self) -> usize {
        match self {
            Delta::Text(_)
            | Delta::Thinking(_)
            | Delta::Refusal(_)
            | Delta::ToolCallArguments { .. } => self.bytes(),
            Delta::ToolCallStart { name, .. } => name.len(),
            _ => 0,
        }
    }
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// One of the request's stop texts came: this one.
    StopSequence(String),
    /// The token limit.
    Length,
    /// The model waits for tool results.
    ToolCalls,
    /// A filter cut it.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// The provider paused a long turn; send it back to go on.
    Pause,
}

impl FinishReason {
    /// OpenAI's `finish_reason`.
    pub fn openai(&self) -> &'static str {
        match self {
            FinishReason::Stop | FinishReason::StopSequence(_) | FinishReason::Pause => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        }
    }

    /// From OpenAI's `finish_reason`; what it does not know is an ordinary stop.
    pub fn from_openai(reason: &str) -> FinishReason {
        match reason {
            "length" | "model_length" | "max_tokens" => FinishReason::Length,
            "tool_calls" | "function_call" => FinishReason::ToolCalls,
            "content_filter" => FinishReason::ContentFilter,
            _ => FinishReason::Stop,
        }
    }
}

/// Tokens an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens written, thinking included.
    pub completion_tokens: u64,
    /// Of those read, how many came from the provider's cache.
    pub cached: Option<u64>,
    /// Of those read, how many were put into the provider's cache.
    pub cache_written: Option<u64>,
    /// Of those written, how many were thinking.
    pub reasoning: Option<u64>,
    /// Nobody has told them, or not all: they are guessed by the length of the texts.
    pub is_estimated: bool,
}

impl Usage {
    /// Read and written.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// Collects a stream into the whole answer it amounts to.
#[derive(Debug, Default)]
pub struct Collector {
    id: Option<String>,
    model: Option<String>,
    parts: Vec<Part>,
    /// Place in `parts` of each tool call, by its index.
    calls: Vec<(u32, usize)>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

impl Collector {
    /// Nothing so far.
    pub fn new() -> Collector {
        Collector::default()
    }

    /// Takes in one delta.
    pub fn add(&mut self, delta: &Delta) {
        match delta {
            Delta::Start { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            Delta::Text(more) => match self.parts.last_mut() {
                Some(Part::Text(text)) => text.push_str(more),
                _ => self.parts.push(Part::Text(more.clone())),
            },
            Delta::Thinking(more) => match self.parts.last_mut() {
                Some(Part::Thinking { text, signature: None }) => text.push_str(more),
                _ => self.parts.push(Part::Thinking { text: more.clone(), signature: None }),
            },
            Delta::Signature(more) => match self.parts.last_mut() {
                Some(Part::Thinking { signature, .. }) => {
                    signature.get_or_insert_default().push_str(more);
                }
                _ => self
                    .parts
                    .push(Part::Thinking { text: String::new(), signature: Some(more.clone()) }),
            },
            Delta::RedactedThinking(data) => self.parts.push(Part::RedactedThinking(data.clone())),
            Delta::Refusal(more) => match self.parts.last_mut() {
                Some(Part::Refusal(text)) => text.push_str(more),
                _ => self.parts.push(Part::Refusal(more.clone())),
            },
            Delta::ToolCallStart { index, id, name, signature } => {
                self.calls.push((*index, self.parts.len()));
                self.parts.push(Part::ToolCall(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    signature: signature.clone(),
                }));
            }
            Delta::ToolCallArguments { index, json } => {
                let place = self.calls.iter().rev().find(|(call, _)| call == index);
                if let Some(Part::ToolCall(call)) =
                    place.and_then(|(_, place)| self.parts.get_mut(*place))
                {
                    call.arguments.push_str(json);
                }
            }
            Delta::Logprobs(_) => {}
            Delta::Finish(reason) => self.finish = Some(reason.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
        }
    }

    /// The answer so far. Calls without arguments get `{}`.
    pub fn reply(mut self) -> Reply {
        for part in &mut self.parts {
            if let Part::ToolCall(call) = part
                && call.arguments.is_empty()
            {
                call.arguments.push_str("{}");
            }
        }
        Reply {
            id: self.id,
            model: self.model,
            parts: self.parts,
            finish: self.finish.unwrap_or(FinishReason::Stop),
            usage: self.usage,
            logprobs: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_collects_into_its_reply() {
        let mut collector = Collector::new();
        for delta in [
            Delta::Start { id: Some("a".into()), model: None },
            Delta::Thinking("hm".into()),
            Delta::Thinking("m".into()),
            Delta::Signature("sig".into()),
            Delta::Text("Hel".into()),
            Delta::Text("lo".into()),
            Delta::ToolCallStart { index: 0, id: "c0".into(), name: "f".into(), signature: None },
            Delta::ToolCallStart { index: 1, id: "c1".into(), name: "g".into(), signature: None },
            Delta::ToolCallArguments { index: 0, json: "{\"a\"".into() },
            Delta::ToolCallArguments { index: 0, json: ":1}".into() },
            Delta::ToolCallArguments { index: 9, json: "lost".into() },
            Delta::Finish(FinishReason::ToolCalls),
        ] {
            collector.add(&delta);
        }
        let reply = collector.reply();
        assert_eq!(reply.parts.len(), 4);
        assert_eq!(
            reply.parts[0],
            Part::Thinking { text: "hmm".into(), signature: Some("sig".into()) }
        );
        assert_eq!(join_text(&reply.parts), "Hello");
        let Part::ToolCall(first) = &reply.parts[2] else { panic!("a call") };
        assert_eq!(first.arguments, "{\"a\":1}");
        let Part::ToolCall(second) = &reply.parts[3] else { panic!("a call") };
        assert_eq!(second.arguments, "{}");
        assert_eq!(reply.finish, FinishReason::ToolCalls);
    }
}
