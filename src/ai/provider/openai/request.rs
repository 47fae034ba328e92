//! Requests: the neutral request to OpenAI's JSON, as a row of the table wants it.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::super::{EncodedRequest, TargetInfo, one_answer_only};
use super::{Row, effort};
use crate::ai::chat::{Message, Part, Request, ResponseFormat, Role, Source, Tool, ToolChoice};
use crate::ai::dialect::openai_parts;
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// Members that OpenAI itself knows and its compatibles may refuse.
const OFFICIAL: [&str; 8] = [
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "verbosity",
    "web_search_options",
];

/// Members beyond the common ones that Mistral knows.
const STRICT: [&str; 8] = [
    "guardrails",
    "metadata",
    "min_tokens",
    "prediction",
    "prompt_cache_key",
    "prompt_mode",
    "repetition_penalty",
    "safe_prompt",
];

/// Longest `user` that OpenAI takes.
const USER_CHARS_MAX: usize = 64;

/// Writes the body.
pub(super) fn encode(
    request: &Request,
    target: &TargetInfo<'_>,
    row: &Row,
    out: &mut EncodedRequest,
) -> Result<(), Failure> {
    one_answer_only(request)?;
    let mut body = std::mem::take(&mut out.body);
    write::object(&mut body, |o| {
        o.string("model", target.model).array("messages", |messages| {
            self::messages(request, row, messages, out);
        });
        sampling(request, row, o, out);
        effort::write(request, target, row, o, out);
        response_format(request, row, o, out);
        if request.stream {
            o.boolean("stream", true);
            if row.stream_options {
                o.object("stream_options", |s| {
                    s.boolean("include_usage", true);
                });
            }
        }
        tools(request, row, o, out);
        extra(request, row, o, out);
    });
    out.body = body;
    out.drop_lost(request);
    Ok(())
}

fn sampling(request: &Request, row: &Row, o: &mut Object<'_>, out: &mut EncodedRequest) {
    if let Some(max) = request.max_tokens {
        o.number(row.max_tokens, max);
    }
    let seed = if row.strict { "random_seed" } else { "seed" };
    for (name, value) in [
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("frequency_penalty", &request.frequency_penalty),
        ("presence_penalty", &request.presence_penalty),
        (seed, &request.seed),
    ] {
        o.raw_if(name, value.as_ref().map(|number| number.text()));
    }
    if !request.stop.is_empty() {
        o.array("stop", |stops| {
            for stop in &request.stop {
                stops.string(stop);
            }
        });
    }
    match request.top_k {
        Some(_) if row.official || row.strict => out.drop_member("top_k"),
        Some(top) => {
            o.number("top_k", top);
        }
        None => {}
    }
    match request.user.as_deref() {
        Some(_) if row.strict => out.drop_member("user"),
        Some(user) if user.chars().count() > USER_CHARS_MAX => out.drop_member("user"),
        user => {
            o.string_if("user", user);
        }
    }
    if request.logprobs && !row.logprobs {
        out.drop_member("logprobs");
    } else if request.logprobs {
        o.boolean("logprobs", true);
        if let Some(top) = request.top_logprobs {
            o.number("top_logprobs", top);
        }
    }
}

fn response_format(request: &Request, row: &Row, o: &mut Object<'_>, out: &mut EncodedRequest) {
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonSchema { name, description, schema, strict } if row.json_schema => {
            o.object("response_format", |f| {
                f.string("type", "json_schema").object("json_schema", |s| {
                    s.string("name", name)
                        .string_if("description", description.as_deref())
                        .raw("schema", schema);
                    if let Some(strict) = strict {
                        s.boolean("strict", *strict);
                    }
                });
            });
        }
        format => {
            if matches!(format, ResponseFormat::JsonSchema { .. }) {
                out.drop_member("response_format.json_schema");
            }
            o.object("response_format", |f| {
                f.string("type", "json_object");
            });
        }
    }
}

fn extra(request: &Request, row: &Row, o: &mut Object<'_>, out: &mut EncodedRequest) {
    for (name, json) in &request.extra {
        let fits = if name == "logit_bias" && !row.logprobs {
            false
        } else if row.strict {
            STRICT.contains(&name.as_str())
        } else {
            row.official || !OFFICIAL.contains(&name.as_str())
        };
        if fits {
            o.foreign(name, json);
        } else {
            out.drop_foreign(name);
        }
    }
}

fn tools(request: &Request, row: &Row, o: &mut Object<'_>, out: &mut EncodedRequest) {
    let is_function = |tool: &&Tool| matches!(tool, Tool::Function { .. });
    if request.tools.iter().any(|tool| !is_function(&tool)) {
        out.drop_member("tools");
    }
    let is_unwanted = !row.tool_choice && request.tool_choice == Some(ToolChoice::None);
    if is_unwanted || !request.tools.iter().any(|tool| is_function(&tool)) {
        return;
    }
    o.array("tools", |tools| {
        for tool in &request.tools {
            let Tool::Function { name, description, parameters, strict } = tool else { continue };
            let parameters = match parameters.as_deref() {
                // To the strict one they are mandatory.
                None if row.strict => Some("{\"type\":\"object\",\"properties\":{}}"),
                parameters => parameters,
            };
            tools.object(|t| {
                t.string("type", "function").object("function", |f| {
                    f.string("name", name)
                        .string_if("description", description.as_deref())
                        .raw_if("parameters", parameters);
                    if let Some(strict) = strict {
                        f.boolean("strict", *strict);
                    }
                });
            });
        }
    });
    match &request.tool_choice {
        None | Some(ToolChoice::Auto) if !row.tool_choice => {}
        Some(_) if !row.tool_choice => out.drop_member("tool_choice"),
        None => {}
        Some(ToolChoice::Function(name)) => {
            o.object("tool_choice", |c| {
                c.string("type", "function").object("function", |f| {
                    f.string("name", name);
                });
            });
        }
        Some(word) => {
            let word = match word {
                ToolChoice::None => "none",
                ToolChoice::Required if row.strict => "any",
                ToolChoice::Required => "required",
                _ => "auto",
            };
            o.string("tool_choice", word);
        }
    }
    if let Some(parallel) = request.parallel_tool_calls {
        o.boolean("parallel_tool_calls", parallel);
    }
}

fn messages(request: &Request, row: &Row, all: &mut Array<'_>, out: &mut EncodedRequest) {
    for message in &request.messages {
        self::message(message, row, all, out);
    }
}

/// One neutral message is one message here, except that each tool result becomes a message of its
/// own, before whatever else the message says.
fn message(message: &Message, row: &Row, all: &mut Array<'_>, out: &mut EncodedRequest) {
    let is_result = |part: &&Part| matches!(part, Part::ToolResult { .. });
    let results = message.parts.iter().filter(is_result).count();
    let rest: Vec<&Part> = message.parts.iter().filter(|part| !is_result(part)).collect();
    // Mistral refuses a user behind a tool: text that follows results goes into the last one.
    let follows = row.strict
        && results > 0
        && !rest.is_empty()
        && rest.iter().all(|part| matches!(part, Part::Text(_)));
    let mut left = results;
    for part in &message.parts {
        let Part::ToolResult { id, parts, is_error } = part else { continue };
        left -= 1;
        let mut text = text_of(parts.iter());
        if *is_error && !text.to_ascii_lowercase().contains("error") {
            // There is no other place for it.
            text = Cow::Owned(format!("Error: {text}"));
        }
        if follows && left == 0 {
            text = Cow::Owned(format!("{text}\n\n{}", text_of(rest.iter().copied())));
        }
        all.object(|m| {
            m.string("role", "tool")
                .string("tool_call_id", &call_id(id, row))
                .string("content", &text);
        });
        if parts.iter().any(|part| !matches!(part, Part::Text(_))) {
            out.drop_member("tool_result.image");
        }
    }
    if follows || rest.is_empty() && results > 0 {
        return;
    }
    let role = match message.role {
        Role::Developer if row.official => "developer",
        Role::System | Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    all.object(|m| {
        m.string("role", role);
        match message.name.as_deref() {
            Some(_) if !row.names => out.drop_member("messages.name"),
            name => {
                m.string_if("name", name);
            }
        }
        content(message.role, &rest, m, out);
        if message.prefix && row.strict && role == "assistant" {
            m.boolean("prefix", true);
        } else if message.prefix {
            out.drop_member("messages.prefix");
        }
        if message.role == Role::Assistant {
            assistant(&message.parts, row, m, out);
        }
    });
}

fn assistant(parts: &[Part], row: &Row, m: &mut Object<'_>, out: &mut EncodedRequest) {
    let refusal = parts.iter().find_map(|part| match part {
        Part::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    match refusal {
        Some(_) if row.strict => out.drop_member("refusal"),
        refusal => {
            m.string_if("refusal", refusal);
        }
    }
    let thought: String = parts
        .iter()
        .filter_map(|part| match part {
            Part::Thinking { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match row.thinking {
        Some(name) if !thought.is_empty() => {
            m.string(name, &thought);
        }
        None if !thought.is_empty() => out.drop_member("thinking"),
        _ => {}
    }
    if row.strict {
        let renamed: Vec<Part> = parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => {
                    let mut call = call.clone();
                    call.id = call_id(&call.id, row).into_owned();
                    call.signature = None;
                    Some(Part::ToolCall(call))
                }
                _ => None,
            })
            .collect();
        openai_parts::tool_calls(&renamed, &[], m);
    } else {
        openai_parts::tool_calls(parts, &[], m);
    }
}

/// A call's id as the row wants it.
fn call_id<'i>(id: &'i str, row: &Row) -> Cow<'i, str> {
    if row.strict { short_id(id) } else { Cow::Borrowed(id) }
}

/// An id of nine letters and digits, always the same for the same id (Mistral's rule).
pub(in crate::ai) fn short_id(id: &str) -> Cow<'_, str> {
    if id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // FNV-1a in 64 bits: 62^9 is below 2^54, so nothing of it is wasted on these few ids.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut short = String::with_capacity(9);
    for _ in 0..9 {
        let digit = DIGITS.get((hash % 62) as usize).copied().unwrap_or(b'0');
        short.push(char::from(digit));
        hash /= 62;
    }
    Cow::Owned(short)
}

/// The text parts, joined by line ends where there are several.
fn text_of<'p>(parts: impl Iterator<Item = &'p Part>) -> Cow<'p, str> {
    let mut texts = parts.filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let Some(first) = texts.next() else { return Cow::Borrowed("") };
    let mut all = Cow::Borrowed(first);
    for text in texts {
        let all = all.to_mut();
        all.push('\n');
        all.push_str(text);
    }
    all
}

/// Text alone is a string, as several compatibles know no array of texts; with anything else it is
/// an array of parts.
fn content(role: Role, parts: &[&Part], m: &mut Object<'_>, out: &mut EncodedRequest) {
    let is_other =
        |part: &&&Part| matches!(part, Part::Image { .. } | Part::Audio { .. } | Part::File { .. });
    if parts.iter().any(|part| is_other(&part)) {
        m.array("content", |items| {
            for part in parts {
                content_part(part, items, out);
            }
        });
    } else if parts.iter().any(|part| matches!(part, Part::Text(_))) {
        m.string("content", &text_of(parts.iter().copied()));
    } else {
        m.raw("content", if role == Role::Assistant { "null" } else { "\"\"" });
    }
}

fn content_part(part: &Part, items: &mut Array<'_>, out: &mut EncodedRequest) {
    match part {
        Part::Text(text) => {
            items.object(|i| {
                i.string("type", "text").string("text", text);
            });
        }
        Part::Image { source: Source::Id(_), .. } => out.drop_member("image.file_id"),
        Part::Image { source, detail } => {
            items.object(|i| {
                i.string("type", "image_url").object("image_url", |u| {
                    u.string("url", &address(source)).string_if("detail", detail.as_deref());
                });
            });
        }
        Part::Audio { data, format } => {
            items.object(|i| {
                i.string("type", "input_audio").object("input_audio", |a| {
                    a.string("data", data).string("format", format);
                });
            });
        }
        Part::File { source: Source::Url(_), .. } => out.drop_member("file.url"),
        Part::File { source, name } => {
            items.object(|i| {
                i.string("type", "file").object("file", |f| {
                    match source {
                        Source::Id(id) => f.string("file_id", id),
                        source => f
                            .string("filename", name.as_deref().unwrap_or("file.pdf"))
                            .string("file_data", &address(source)),
                    };
                });
            });
        }
        _ => {}
    }
}

/// A source as an address, bytes as a `data:` URL.
fn address(source: &Source) -> Cow<'_, str> {
    match source {
        Source::Url(text) | Source::Id(text) => Cow::Borrowed(text),
        Source::Base64 { media_type, data } => {
            Cow::Owned(format!("data:{media_type};base64,{data}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::chat::ToolCall;
    use crate::ai::dialect::Dialect;
    use crate::ai::provider::openai::row;

    fn body(kind: &str, model: &str, request: &Request) -> (serde_json::Value, Vec<String>) {
        let target = TargetInfo { kind, base_path: "/v1", model, api_key: Some("k") };
        let mut out = EncodedRequest::default();
        encode(request, &target, row(kind), &mut out).unwrap();
        let dropped = out.dropped.iter().map(|name| name.to_string()).collect();
        (serde_json::from_slice(&out.body).unwrap(), dropped)
    }

    #[test]
    fn an_anthropic_conversation_becomes_openais() {
        let request = Dialect::AnthropicMessages
            .decode_request(
                br#"{"model":"x","max_tokens":9,"stream":true,
              "system":[{"type":"text","text":"a"},{"type":"text","text":"b"}],
              "messages":[
                {"role":"user","content":[{"type":"text","text":"look"},
                  {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]},
                {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},
                  {"type":"tool_use","id":"t1","name":"f","input":{"n": 1.0}},
                  {"type":"tool_use","id":"t2","name":"g","input":{}}]},
                {"role":"user","content":[
                  {"type":"text","text":"and now?"},
                  {"type":"tool_result","tool_use_id":"t1","content":"one"},
                  {"type":"tool_result","tool_use_id":"t2","content":"no","is_error":true}]}],
              "tools":[{"name":"f","input_schema":{"type":"object"}}],
              "tool_choice":{"type":"any"},"thinking":{"type":"enabled","budget_tokens":4096}}"#,
            )
            .unwrap();
        let (value, dropped) = body("openai", "gpt-5", &request);
        let messages = value["messages"].as_array().unwrap();
        assert_eq!(messages[0]["content"], "a\nb", "texts alone are one string");
        assert_eq!(messages[1]["content"][1]["image_url"]["url"], "data:image/png;base64,AA");
        assert!(messages[2]["content"].is_null(), "null content stays null");
        assert_eq!(messages[2]["tool_calls"][0]["function"]["arguments"], "{\"n\": 1.0}");
        assert_eq!(messages[2]["tool_calls"][1]["function"]["arguments"], "{}");
        assert_eq!(messages[3]["role"], "tool");
        assert_eq!(messages[4]["content"], "Error: no");
        assert_eq!(messages[5]["content"], "and now?", "results come first");
        assert_eq!(messages.len(), 6);
        assert_eq!(value["max_completion_tokens"], 9);
        assert_eq!(value["reasoning_effort"], "medium");
        assert_eq!(value["tool_choice"], "required");
        assert_eq!(value["stream_options"]["include_usage"], true);
        assert_eq!(dropped, ["thinking"]);

        let (value, dropped) = body("deepseek", "deepseek-reasoner", &request);
        assert_eq!(value["messages"][2]["reasoning_content"], "hm");
        assert_eq!(value["max_tokens"], 9);
        assert!(dropped.is_empty());
        let (value, dropped) = body("openai", "gpt-4o", &request);
        assert!(value.get("reasoning_effort").is_none());
        assert_eq!(dropped, ["thinking", "reasoning_effort"]);
    }

    #[test]
    fn mistral_gets_only_what_it_knows() {
        let request = Dialect::OpenAiChat
            .decode_request(
                br#"{"model":"x","max_completion_tokens":9,"seed":7,"user":"u","store":true,"safe_prompt":true,
              "top_k":4,"logprobs":true,"top_logprobs":2,"logit_bias":{"1":2},"stream":true,"stream_options":{"include_usage":true},
              "messages":[
                {"role":"developer","content":"s"},
                {"role":"user","name":"ann","content":"hi"},
                {"role":"assistant","tool_calls":[{"id":"call_abc","type":"function","function":{"name":"f","arguments":"{}"}}]},
                {"role":"tool","tool_call_id":"call_abc","content":"one"}],
              "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required"}"#,
            )
            .unwrap();
        let (value, dropped) = body("mistral", "mistral-large", &request);
        let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "max_tokens",
                "messages",
                "model",
                "random_seed",
                "safe_prompt",
                "stream",
                "tool_choice",
                "tools"
            ]
        );
        assert_eq!(value["tool_choice"], "any");
        assert_eq!(value["messages"][0]["role"], "system");
        let call = value["messages"][2]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!(call.len(), 9);
        assert!(call.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(value["messages"][3]["tool_call_id"], call);
        assert!(value["tools"][0]["function"]["parameters"].is_object());
        let expected = ["messages.name", "top_k", "user", "logprobs", "store", "logit_bias"];
        assert_eq!(dropped, expected);
    }

    #[test]
    fn zhipu_chooses_tools_itself() {
        for (choice, tools, lost) in
            [("none", false, false), ("auto", true, false), ("required", true, true)]
        {
            let text = format!(
                r#"{{"model":"x","messages":[{{"role":"user","content":"hi"}}],"tool_choice":"{choice}",
                  "tools":[{{"type":"function","function":{{"name":"f"}}}}]}}"#
            );
            let request = Dialect::OpenAiChat.decode_request(text.as_bytes()).unwrap();
            let (value, dropped) = body("zhipu", "glm-4.7", &request);
            assert_eq!(value.get("tools").is_some(), tools, "{choice}");
            assert!(value.get("tool_choice").is_none(), "{choice}");
            assert_eq!(dropped.contains(&"tool_choice".to_owned()), lost, "{choice}");
        }
    }

    #[test]
    fn mistral_never_sees_a_user_behind_a_tool() {
        let result = |id: &str| Part::ToolResult {
            id: id.into(),
            parts: vec![Part::Text("one".into())],
            is_error: false,
        };
        let request = Request {
            messages: vec![Message::new(
                Role::User,
                vec![result("a"), result("b"), Part::Text("and?".into())],
            )],
            ..Request::default()
        };
        let (value, _) = body("mistral", "m", &request);
        let messages = value["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0]["content"], "one");
        assert_eq!(messages[1]["content"], "one\n\nand?");
    }

    #[test]
    fn a_prefix_stays_with_mistral_alone() {
        let request = Dialect::OpenAiChat
            .decode_request(
                br#"{"model":"x","messages":[{"role":"user","content":"a"},
                  {"role":"assistant","content":"b","prefix":true}]}"#,
            )
            .unwrap();
        let (value, dropped) = body("mistral", "m", &request);
        assert_eq!(value["messages"][1]["prefix"], true);
        assert!(dropped.is_empty());
        let (value, dropped) = body("openai", "m", &request);
        assert!(value["messages"][1].get("prefix").is_none());
        assert_eq!(dropped, ["messages.prefix"]);
    }

    #[test]
    fn short_ids_are_stable_and_distinct() {
        assert_eq!(short_id("aB3dE6gH9"), "aB3dE6gH9");
        let ids = ["call_1", "call_2", "toolu_01ABC", "", "aB3dE6gH_"];
        let short: std::collections::HashSet<_> = ids.iter().map(|id| short_id(id)).collect();
        assert_eq!(short.len(), ids.len());
        assert_eq!(short_id("call_1"), short_id("call_1"));
    }

    #[test]
    fn several_answers_and_lost_members_are_told() {
        let request = Request { n: Some(2), ..Request::default() };
        let target = TargetInfo { kind: "openai", base_path: "", model: "m", api_key: None };
        let failure =
            encode(&request, &target, row("openai"), &mut EncodedRequest::default()).unwrap_err();
        assert_eq!((failure.status, failure.param.as_deref()), (400, Some("n")));
        let request = Request {
            lost: vec!["x\r\ny: z".into()],
            user: Some("u".repeat(65)),
            messages: vec![Message::new(
                Role::Assistant,
                vec![Part::ToolCall(ToolCall::default())],
            )],
            ..Request::default()
        };
        let (_, dropped) = body("openai", "m", &request);
        assert_eq!(dropped, ["user", "xyz"], "fit for a header");
    }
}
