//! Requests: the neutral request to Anthropic's JSON.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::super::{EncodedRequest, one_answer_only};
use super::{claude_version, schema};
use crate::ai::chat::{Part, Reasoning, Request, ResponseFormat, Role, Source, Tool, ToolChoice};
use crate::ai::tree;
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// What a model of Anthropic's takes, by its version.
struct Abilities {
    /// Most tokens it is asked for when the client sets no limit: the limit is mandatory here.
    max_tokens: u64,
    /// Thinking with a budget of tokens, as against the adaptive form.
    budget: bool,
    /// Temperature and the like.
    sampling: bool,
    /// Answers by a schema.
    schema: bool,
}

impl Abilities {
    fn of(model: &str) -> Abilities {
        let version = claude_version(model);
        let at_least = |from| version.is_none_or(|version| version >= from);
        Abilities {
            max_tokens: match version {
                Some(version) if version < (3, 5) => 4096,
                Some(version) if version < (3, 7) => 8192,
                Some(_) => 16384,
                // Others who speak this format.
                None => 8192,
            },
            budget: version.is_none_or(|version| version < (4, 6)),
            sampling: version.is_none_or(|version| version < (4, 7)),
            schema: at_least((4, 5)),
        }
    }
}

/// How the model is told to think.
enum Thinking {
    No,
    Adaptive,
    Budget(u64),
}

/// Writes the body.
pub(super) fn encode(
    request: &Request,
    model: &str,
    out: &mut EncodedRequest,
) -> Result<(), Failure> {
    one_answer_only(request)?;
    let abilities = Abilities::of(model);
    let max_tokens = request.max_tokens;
    let thinking = thinking(request, &abilities, out);
    let max_tokens = max_tokens.unwrap_or_else(|| match thinking {
        // The budget is part of the limit.
        Thinking::Budget(budget) => budget + abilities.max_tokens,
        _ => abilities.max_tokens,
    });
    let (system, turns) = turns(request, out);
    let mut body = std::mem::take(&mut out.body);
    write::object(&mut body, |o| {
        o.string("model", model).number("max_tokens", max_tokens);
        self::system(request, &system, o);
        o.array("messages", |messages| {
            let last = turns.len().saturating_sub(1);
            for (index, turn) in turns.iter().enumerate() {
                messages.object(|m| {
                    m.string("role", if turn.is_assistant { "assistant" } else { "user" });
                    m.array("content", |blocks| {
                        turn.write(index == last, blocks, out);
                    });
                });
            }
        });
        sampling(request, &abilities, &thinking, o, out);
        output(request, &abilities, &thinking, o, out);
        tools(request, o, out);
        if request.stream {
            o.boolean("stream", true);
        }
        if let Some(user) = &request.user {
            o.object("metadata", |m| {
                m.string("user_id", user);
            });
        }
    });
    out.body = body;
    leave_out(request, out);
    Ok(())
}

/// Names what has no place here.
fn leave_out(request: &Request, out: &mut EncodedRequest) {
    for (name, is_there) in [
        ("frequency_penalty", request.frequency_penalty.is_some()),
        ("presence_penalty", request.presence_penalty.is_some()),
        ("seed", request.seed.is_some()),
        ("logprobs", request.logprobs),
    ] {
        if is_there {
            out.drop_member(name);
        }
    }
    for (name, _) in &request.extra {
        out.drop_foreign(name);
    }
    out.drop_openai_only(request);
    out.drop_lost(request);
}

fn thinking(request: &Request, abilities: &Abilities, out: &mut EncodedRequest) -> Thinking {
    let Some(reasoning) = &request.reasoning else { return Thinking::No };
    if reasoning.effort.as_deref() == Some("none") {
        return Thinking::No;
    }
    if !abilities.budget {
        return Thinking::Adaptive;
    }
    // With a budget the model refuses to be forced to a tool, and wants every turn of its own that
    // called one to begin with its signed thought.
    let is_forced =
        matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)));
    let called_without = request.messages.iter().rev().find(|m| m.role == Role::Assistant);
    let called_without = called_without.is_some_and(|message| {
        let calls = message.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        calls && !message.parts.iter().any(is_signed)
    });
    let limit = request.max_tokens.unwrap_or(u64::MAX);
    let budget = budget(reasoning).min(limit.saturating_sub(1));
    // The least budget there is.
    if is_forced || called_without || budget < 1024 {
        out.drop_member("reasoning_effort");
        return Thinking::No;
    }
    Thinking::Budget(budget)
}

fn budget(reasoning: &Reasoning) -> u64 {
    match (reasoning.budget_tokens, reasoning.effort.as_deref()) {
        (Some(budget), _) => budget,
        (None, Some("minimal" | "low")) => 1024,
        (None, Some("medium") | None) => 4096,
        (None, Some(_)) => 16384,
    }
}

/// A thought this provider signed: signatures of others name who made them.
fn is_signed(part: &Part) -> bool {
    match part {
        Part::Thinking { signature: Some(signature), .. } => !signature.contains(':'),
        Part::RedactedThinking(_) => true,
        _ => false,
    }
}

/// A thought it would not believe.
fn is_foreign_thought(part: &Part) -> bool {
    matches!(part, Part::Thinking { text, .. } if !text.is_empty()) && !is_signed(part)
}

fn sampling(
    request: &Request,
    abilities: &Abilities,
    thinking: &Thinking,
    o: &mut Object<'_>,
    out: &mut EncodedRequest,
) {
    // Models from 4.7 on refuse these, as does any that thinks by a budget.
    let takes = abilities.sampling && !matches!(thinking, Thinking::Budget(_));
    match &request.temperature {
        Some(_) if !takes => out.drop_member("temperature"),
        // OpenAI's scale goes to 2, this one to 1.
        Some(temperature) if temperature.value() > 1.0 => {
            o.raw("temperature", "1");
            out.drop_member("temperature");
        }
        Some(temperature) => {
            o.raw("temperature", temperature.text());
        }
        None => {}
    }
    match &request.top_p {
        // Models since 4.1 refuse both together.
        Some(_) if !takes || request.temperature.is_some() => out.drop_member("top_p"),
        Some(top_p) => {
            o.raw("top_p", top_p.text());
        }
        None => {}
    }
    match request.top_k {
        Some(_) if !takes => out.drop_member("top_k"),
        Some(top_k) => {
            o.number("top_k", top_k);
        }
        None => {}
    }
    // A stop text of blanks alone is refused.
    let stops: Vec<&String> = request.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stops.len() < request.stop.len() {
        out.drop_member("stop");
    }
    if !stops.is_empty() {
        o.array("stop_sequences", |all| {
            for stop in stops {
                all.string(stop);
            }
        });
    }
}

/// Writes `thinking` and `output_config`.
fn output(
    request: &Request,
    abilities: &Abilities,
    thinking: &Thinking,
    o: &mut Object<'_>,
    out: &mut EncodedRequest,
) {
    match thinking {
        Thinking::No => {}
        Thinking::Adaptive => {
            o.object("thinking", |t| {
                t.string("type", "adaptive");
                // Newer models keep their thoughts to themselves unless asked.
                t.string("display", "summarized");
            });
        }
        Thinking::Budget(budget) => {
            o.object("thinking", |t| {
                t.string("type", "enabled").number("budget_tokens", *budget);
            });
        }
    }
    let effort = request.reasoning.as_ref().filter(|_| matches!(thinking, Thinking::Adaptive));
    let effort = effort.and_then(|reasoning| match reasoning.effort.as_deref() {
        Some("minimal") => Some("low"),
        Some(effort) => Some(effort),
        None => reasoning.budget_tokens.map(|budget| match budget {
            0..2048 => "low",
            2048..8192 => "medium",
            _ => "high",
        }),
    });
    let format = match &request.response_format {
        ResponseFormat::JsonSchema { schema, .. } if abilities.schema => Some(schema),
        ResponseFormat::JsonSchema { .. } => {
            out.drop_member("response_format.json_schema");
            None
        }
        _ => None,
    };
    if effort.is_some() || format.is_some() {
        o.object("output_config", |c| {
            c.string_if("effort", effort);
            if let Some(text) = format {
                c.object("format", |f| {
                    schema::write(text, f.string("type", "json_schema").key("schema"));
                });
            }
        });
    }
}

/// The system prompts. Where the model has no other way to be told to answer in JSON, it is told
/// in words.
fn system(request: &Request, texts: &[&str], o: &mut Object<'_>) {
    let json = match &request.response_format {
        ResponseFormat::JsonObject => Some("Answer with one JSON object and nothing else."),
        _ => None,
    };
    let mut blocks = texts.iter().copied().chain(json).peekable();
    if blocks.peek().is_some() {
        o.array("system", |all| {
            for text in blocks {
                all.object(|b| {
                    b.string("type", "text").string("text", text);
                });
            }
        });
    }
}

/// What one side says until the other speaks.
struct Turn<'r> {
    is_assistant: bool,
    parts: Vec<&'r Part>,
}

/// Sorts a conversation into system prompts and turns that alternate, the user's first.
fn turns<'r>(request: &'r Request, out: &mut EncodedRequest) -> (Vec<&'r str>, Vec<Turn<'r>>) {
    let mut system = Vec::new();
    let mut turns: Vec<Turn<'r>> = Vec::new();
    for message in &request.messages {
        let is_assistant = match message.role {
            Role::System | Role::Developer => {
                for part in &message.parts {
                    match part {
                        Part::Text(text) if !text.trim().is_empty() => system.push(text.as_str()),
                        Part::Text(_) => {}
                        _ => out.drop_member("messages.system.content"),
                    }
                }
                continue;
            }
            Role::Assistant => true,
            Role::User | Role::Tool => false,
        };
        if is_assistant && message.parts.iter().any(is_foreign_thought) {
            out.drop_member("thinking");
        }
        let parts = message.parts.iter().filter(|part| match part {
            Part::Text(text) | Part::Refusal(text) => !text.trim().is_empty(),
            Part::Thinking { .. } | Part::RedactedThinking(_) => is_assistant && is_signed(part),
            _ => true,
        });
        let parts: Vec<&Part> = parts.collect();
        if parts.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some(last) if last.is_assistant == is_assistant => last.parts.extend(parts),
            _ => turns.push(Turn { is_assistant, parts }),
        }
    }
    if turns.first().is_none_or(|turn| turn.is_assistant) {
        turns.insert(0, Turn { is_assistant: false, parts: Vec::new() });
    }
    for turn in turns.iter_mut().filter(|turn| !turn.is_assistant) {
        // Results come before anything else in the turn that answers calls.
        turn.parts.sort_by_key(|part| !matches!(part, Part::ToolResult { .. }));
    }
    (system, turns)
}

impl Turn<'_> {
    fn write(&self, is_last: bool, blocks: &mut Array<'_>, out: &mut EncodedRequest) {
        let last_part = self.parts.len().saturating_sub(1);
        for (index, part) in self.parts.iter().enumerate() {
            // The beginning of an answer put into the model's mouth must not end in blanks.
            let trims = self.is_assistant && is_last && index == last_part;
            block(part, trims, blocks, out);
        }
        if blocks.is_empty() {
            // An empty turn is refused, and the model wants the user to begin.
            text_block(".", blocks);
        }
    }
}

fn text_block(text: &str, blocks: &mut Array<'_>) {
    blocks.object(|b| {
        b.string("type", "text").string("text", text);
    });
}

fn block(part: &Part, trims: bool, blocks: &mut Array<'_>, out: &mut EncodedRequest) {
    match part {
        Part::Text(text) | Part::Refusal(text) => {
            text_block(if trims { text.trim_end() } else { text }, blocks);
        }
        Part::Image { source, .. } => image(source, blocks, out),
        Part::File { source, name } => file(source, name.as_deref(), blocks, out),
        Part::Audio { .. } => out.drop_member("input_audio"),
        Part::ToolCall(call) => {
            blocks.object(|b| {
                b.string("type", "tool_use")
                    .string("id", &fit_id(&call.id))
                    .string("name", &call.name)
                    .raw("input", &write::object_text(&call.arguments));
            });
        }
        Part::ToolResult { id, parts, is_error } => {
            blocks.object(|b| {
                b.string("type", "tool_result").string("tool_use_id", &fit_id(id)).array(
                    "content",
                    |inner| {
                        for part in parts {
                            match part {
                                Part::Text(text) if text.is_empty() => {}
                                Part::Text(text) => text_block(text, inner),
                                Part::Image { source, .. } => image(source, inner, out),
                                Part::File { source, name } => {
                                    file(source, name.as_deref(), inner, out);
                                }
                                _ => {}
                            }
                        }
                    },
                );
                if *is_error {
                    b.boolean("is_error", true);
                }
            });
        }
        Part::Thinking { text, signature } => {
            blocks.object(|b| {
                b.string("type", "thinking")
                    .string("thinking", text)
                    .string("signature", signature.as_deref().unwrap_or_default());
            });
        }
        Part::RedactedThinking(data) => {
            blocks.object(|b| {
                b.string("type", "redacted_thinking").string("data", data);
            });
        }
    }
}

/// Ids hold letters, digits, `_` and `-`.
fn fit_id(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.is_empty() {
        return Cow::Borrowed("call");
    }
    if id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(id.chars().map(|c| if fits(c) { c } else { '_' }).collect())
}

fn source(source: &Source, b: &mut Object<'_>) {
    b.object("source", |s| {
        match source {
            Source::Url(url) => s.string("type", "url").string("url", url),
            Source::Id(id) => s.string("type", "file").string("file_id", id),
            Source::Base64 { media_type, data } => {
                // A common misnomer.
                let media_type =
                    if media_type == "image/jpg" { "image/jpeg" } else { media_type.as_str() };
                s.string("type", "base64").string("media_type", media_type).string("data", data)
            }
        };
    });
}

fn image(from: &Source, blocks: &mut Array<'_>, out: &mut EncodedRequest) {
    if matches!(from, Source::Id(_)) {
        out.drop_member("image.file_id");
        return;
    }
    blocks.object(|b| {
        b.string("type", "image");
        source(from, b);
    });
}

fn file(from: &Source, name: Option<&str>, blocks: &mut Array<'_>, out: &mut EncodedRequest) {
    match from {
        Source::Id(_) => out.drop_member("file.file_id"),
        Source::Base64 { media_type, .. } if media_type != "application/pdf" => {
            out.drop_member("file");
        }
        from => {
            blocks.object(|b| {
                b.string("type", "document");
                source(from, b);
                b.string_if("title", name);
            });
        }
    }
}

fn tools(request: &Request, o: &mut Object<'_>, out: &mut EncodedRequest) {
    let mut names: Vec<&str> = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function { name, strict, .. } => {
                names.push(name);
                if *strict == Some(true) {
                    out.drop_member("tools.strict");
                }
            }
            Tool::Provider { .. } => out.drop_member("tools"),
        }
    }
    let is_offered = !names.is_empty();
    let called: Vec<&str> = request
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call.name.as_str()),
            _ => None,
        })
        .collect();
    // Tools that were called must be among those declared, even when none is offered any more.
    let mut forgotten: Vec<&str> = if is_offered { Vec::new() } else { called };
    forgotten.sort_unstable();
    forgotten.dedup();
    if !is_offered && forgotten.is_empty() {
        return;
    }
    o.array("tools", |tools| {
        for tool in &request.tools {
            let Tool::Function { name, description, parameters, .. } = tool else { continue };
            tools.object(|t| {
                t.string("name", name)
                    .string_if("description", description.as_deref())
                    .raw("input_schema", &input_schema(parameters.as_deref()));
            });
        }
        for name in &forgotten {
            tools.object(|t| {
                t.string("name", name).raw("input_schema", EMPTY_SCHEMA);
            });
        }
    });
    let choice = match &request.tool_choice {
        _ if !is_offered => Some(("none", None)),
        None if request.parallel_tool_calls == Some(false) => Some(("auto", None)),
        None => None,
        Some(ToolChoice::Auto) => Some(("auto", None)),
        Some(ToolChoice::None) => Some(("none", None)),
        Some(ToolChoice::Required) => Some(("any", None)),
        Some(ToolChoice::Function(name)) => Some(("tool", Some(name.as_str()))),
    };
    if let Some((kind, name)) = choice {
        o.object("tool_choice", |c| {
            c.string("type", kind).string_if("name", name);
            if request.parallel_tool_calls == Some(false) && kind != "none" {
                c.boolean("disable_parallel_tool_use", true);
            }
        });
    }
}

const EMPTY_SCHEMA: &str = "{\"type\":\"object\",\"properties\":{}}";

/// A schema of arguments; its `type` is mandatory here.
fn input_schema(parameters: Option<&str>) -> Cow<'_, str> {
    let Some(text) = parameters else { return Cow::Borrowed(EMPTY_SCHEMA) };
    let Ok(node) = tree::parse_str(text) else { return Cow::Borrowed(EMPTY_SCHEMA) };
    if node.get("type").is_some() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::new();
    write::object(&mut out, |o| {
        o.string("type", "object");
        for (name, member) in node.members() {
            if name != "type" {
                o.foreign(name, member.raw);
            }
        }
    });
    Cow::Owned(String::from_utf8(out).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::dialect::Dialect;

    fn body(model: &str, json: &str) -> (serde_json::Value, Vec<String>) {
        let request = Dialect::OpenAiChat.decode_request(json.as_bytes()).unwrap();
        let mut out = EncodedRequest::default();
        encode(&request, model, &mut out).unwrap();
        let dropped = out.dropped.iter().map(|name| name.to_string()).collect();
        (serde_json::from_slice(&out.body).unwrap(), dropped)
    }

    #[test]
    fn roles_alternate_and_results_come_first() {
        let (value, dropped) = body(
            "claude-sonnet-4-5",
            r#"{"messages":[
              {"role":"assistant","content":"hello"},
              {"role":"system","content":"be brief"},
              {"role":"user","content":"a"},{"role":"user","content":" "},{"role":"user","content":"b"},
              {"role":"assistant","content":"","tool_calls":[
                {"id":"call.1","type":"function","function":{"name":"f","arguments":"{\"n\": 1.0}"}},
                {"id":"call.2","type":"function","function":{"name":"f","arguments":""}}]},
              {"role":"user","content":"quick"},
              {"role":"tool","tool_call_id":"call.1","content":"one"},
              {"role":"tool","tool_call_id":"call.2","content":""},
              {"role":"assistant","content":"Sure: \n"}],
             "tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{}}}}]}"#,
        );
        let messages = value["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant", "user", "assistant"]);
        assert_eq!(messages[0]["content"][0]["text"], ".");
        assert_eq!(messages[2]["content"].as_array().unwrap().len(), 2, "blank texts are refused");
        assert_eq!(messages[3]["content"][0]["id"], "call_1");
        assert_eq!(messages[3]["content"][0]["input"], serde_json::json!({"n": 1.0}));
        assert_eq!(messages[3]["content"][1]["input"], serde_json::json!({}));
        assert_eq!(messages[4]["content"][0]["tool_use_id"], "call_1");
        assert_eq!(messages[4]["content"][2]["text"], "quick");
        assert_eq!(messages[5]["content"][0]["text"], "Sure:");
        assert_eq!(value["system"][0]["text"], "be brief");
        assert_eq!(value["max_tokens"], 16384, "the limit is mandatory");
        assert_eq!(value["tools"][0]["input_schema"]["type"], "object");
        assert!(dropped.is_empty());
    }

    #[test]
    fn what_a_model_refuses_is_left_out_and_told() {
        let json = r#"{"messages":[{"role":"user","content":"a"}],"temperature":1.5,"top_p":0.9,"seed":1,
          "stop":["x"," "],"user":"u","logprobs":true,"logit_bias":{},"presence_penalty":1}"#;
        let (value, dropped) = body("claude-sonnet-4-5", json);
        assert_eq!(value["temperature"], 1);
        assert!(value.get("top_p").is_none());
        assert_eq!(value["stop_sequences"], serde_json::json!(["x"]));
        assert_eq!(value["metadata"]["user_id"], "u");
        assert_eq!(
            dropped,
            ["temperature", "top_p", "stop", "presence_penalty", "seed", "logprobs", "logit_bias"]
        );
        let (value, _) = body("claude-opus-4-7", json);
        assert!(value.get("temperature").is_none());
    }

    #[test]
    fn the_mandatory_limit_is_set_where_none_is() {
        let json = r#"{"messages":[{"role":"user","content":"a"}]}"#;
        for (model, limit) in [
            ("claude-3-haiku-20240307", 4096),
            ("claude-3-5-sonnet-latest", 8192),
            ("kimi-k2", 8192),
        ] {
            assert_eq!(body(model, json).0["max_tokens"], limit, "{model}");
        }
        let json = r#"{"max_tokens":1,"max_completion_tokens":7,"messages":[{"role":"user","content":"a"}]}"#;
        assert_eq!(body("claude-sonnet-5", json).0["max_tokens"], 7);
        let failure = Dialect::AnthropicMessages
            .decode_request(br#"{"messages":[{"role":"user","content":"a"}]}"#)
            .unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("max_tokens"));
    }

    #[test]
    fn thinking_takes_the_form_the_model_knows() {
        let json = r#"{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"low"}"#;
        let (old, _) = body("claude-3-7-sonnet-latest", json);
        assert_eq!(old["thinking"]["budget_tokens"], 1024);
        assert_eq!(old["max_tokens"], 16384 + 1024);
        let (new, _) = body("claude-opus-4-6", json);
        assert_eq!(new["thinking"]["type"], "adaptive");
        assert_eq!(new["output_config"]["effort"], "low");
        let small = r#"{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"high","max_tokens":500}"#;
        let (value, dropped) = body("claude-3-7-sonnet-latest", small);
        assert!(value.get("thinking").is_none());
        assert_eq!(dropped, ["reasoning_effort"]);
        let unsigned = r#"{"messages":[{"role":"user","content":"a"},
          {"role":"assistant","reasoning_content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","tool_call_id":"c","content":"x"}],"reasoning_effort":"low"}"#;
        let (value, dropped) = body("claude-3-7-sonnet-latest", unsigned);
        assert!(value.get("thinking").is_none());
        assert_eq!(dropped, ["reasoning_effort", "thinking"]);
        assert_eq!(value["tools"][0]["name"], "f", "called tools are declared");
        assert_eq!(value["tool_choice"]["type"], "none");
    }

    #[test]
    fn signed_thoughts_go_back_foreign_ones_do_not() {
        let (value, _) = body(
            "claude-sonnet-4-5",
            r#"{"messages":[{"role":"user","content":"a"},
              {"role":"assistant","content":"b","thinking_blocks":[
                {"type":"thinking","thinking":"t","signature":"c2ln"},
                {"type":"thinking","thinking":"t","signature":"gemini:c2ln"},
                {"type":"redacted_thinking","data":"xx"}]},
              {"role":"user","content":"c"}]}"#,
        );
        let content = value["messages"][1]["content"].as_array().unwrap();
        let types: Vec<&str> = content.iter().map(|b| b["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["thinking", "redacted_thinking", "text"]);
        assert_eq!(content[0]["signature"], "c2ln");
    }

    #[test]
    fn images_files_and_formats() {
        let (value, dropped) = body(
            "claude-sonnet-4-5",
            r#"{"messages":[{"role":"user","content":[
              {"type":"image_url","image_url":{"url":"data:image/jpg;base64,AA"}},
              {"type":"image_url","image_url":{"url":"https://x/y.png"}},
              {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,BB"}},
              {"type":"input_audio","input_audio":{"data":"CC","format":"wav"}}]}],
             "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":
               {"type":"object","properties":{"a":{"type":"integer","minimum":1}}}}},
             "tool_choice":"none","parallel_tool_calls":false}"#,
        );
        let content = &value["messages"][0]["content"];
        assert_eq!(content[0]["source"]["media_type"], "image/jpeg");
        assert_eq!(content[1]["source"]["url"], "https://x/y.png");
        assert_eq!(content[2]["type"], "document");
        assert_eq!(dropped, ["input_audio"]);
        let schema = &value["output_config"]["format"]["schema"];
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema["properties"]["a"].get("minimum").is_none());
        let (value, dropped) = body(
            "claude-3-5-sonnet-latest",
            r#"{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}}}"#,
        );
        assert!(value.get("output_config").is_none());
        assert_eq!(dropped, ["response_format.json_schema"]);
        let (value, _) = body(
            "claude-3-5-sonnet-latest",
            r#"{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_object"}}"#,
        );
        assert!(value["system"][0]["text"].as_str().unwrap().contains("JSON"));
    }
}
