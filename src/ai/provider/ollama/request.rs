//! Requests: the neutral request to Ollama's JSON.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::super::{EncodedRequest, one_answer_only};
use crate::ai::chat::{
    Message, Part, Request, ResponseFormat, Role, Source, Tool, ToolChoice, join_text,
};
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// Writes the body.
pub(super) fn encode(
    request: &Request,
    model: &str,
    out: &mut EncodedRequest,
) -> Result<(), Failure> {
    one_answer_only(request)?;
    let mut body = std::mem::take(&mut out.body);
    write::object(&mut body, |o| {
        o.string("model", model).array("messages", |messages| {
            let mut called = HashMap::new();
            for message in &request.messages {
                self::message(message, &called, messages, out);
                called.extend(message.parts.iter().filter_map(|part| match part {
                    Part::ToolCall(call) => Some((call.id.as_str(), call.name.as_str())),
                    _ => None,
                }));
            }
        });
        tools(request, o, out);
        match &request.response_format {
            ResponseFormat::Text => {}
            ResponseFormat::JsonObject => {
                o.string("format", "json");
            }
            ResponseFormat::JsonSchema { schema, .. } => {
                o.raw("format", schema);
            }
        }
        think(request, model, o);
        options(request, o);
        if request.logprobs {
            o.boolean("logprobs", true);
            if let Some(top) = request.top_logprobs {
                o.number("top_logprobs", top);
            }
        }
        // It streams unless told not to.
        o.boolean("stream", request.stream);
    });
    out.body = body;
    for (name, is_there) in [
        ("user", request.user.is_some()),
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false)),
        ("tools.strict", request.tools.iter().any(is_strict)),
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
    Ok(())
}

/// One neutral message is one message here, but for tool results, which are each their own.
/// `called`: the tools of the calls before it, by their ids.
fn message(
    message: &Message,
    called: &HashMap<&str, &str>,
    all: &mut Array<'_>,
    out: &mut EncodedRequest,
) {
    let mut rest = Vec::new();
    for part in &message.parts {
        let Part::ToolResult { id, parts, is_error } = part else {
            rest.push(part);
            continue;
        };
        let text = join_text(parts);
        let text = if *is_error { format!("Error: {text}") } else { text };
        all.object(|m| {
            m.string("role", "tool").string("content", &text);
            // Results are told by the tool's name; newer versions know the id too.
            m.string_if("tool_name", called.get(id.as_str()).copied()).string("tool_call_id", id);
            images(parts.iter(), m, out);
        });
    }
    if rest.is_empty() && !message.parts.is_empty() {
        return;
    }
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    all.object(|m| {
        let texts: Vec<&str> = rest.iter().copied().filter_map(text).collect();
        m.string("role", role).string("content", &texts.join("\n"));
        let thought: String = rest
            .iter()
            .filter_map(|part| match part {
                Part::Thinking { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        if !thought.is_empty() {
            m.string("thinking", &thought);
        }
        images(rest.iter().copied(), m, out);
        calls(&rest, m);
    });
    for part in rest {
        match part {
            Part::Audio { .. } => out.drop_member("input_audio"),
            Part::File { .. } => out.drop_member("file"),
            Part::RedactedThinking(_) => out.drop_member("thinking"),
            _ => {}
        }
    }
}

fn is_strict(tool: &Tool) -> bool {
    matches!(tool, Tool::Function { strict: Some(true), .. })
}

fn text(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(text),
        _ => None,
    }
}

/// Images are base64 beside the text; it fetches none.
fn images<'p>(parts: impl Iterator<Item = &'p Part>, m: &mut Object<'_>, out: &mut EncodedRequest) {
    let mut found = Vec::new();
    for part in parts {
        match part {
            Part::Image { source: Source::Base64 { data, .. }, .. } => found.push(data),
            Part::Image { .. } => out.drop_member("image_url"),
            _ => {}
        }
    }
    if !found.is_empty() {
        m.array("images", |images| {
            for data in found {
                images.string(data);
            }
        });
    }
}

fn calls(parts: &[&Part], m: &mut Object<'_>) {
    if !parts.iter().any(|part| matches!(part, Part::ToolCall(_))) {
        return;
    }
    m.array("tool_calls", |calls| {
        for part in parts {
            let Part::ToolCall(call) = part else { continue };
            calls.object(|c| {
                c.string("id", &call.id).object("function", |f| {
                    // An object, where OpenAI has text.
                    f.string("name", &call.name)
                        .raw("arguments", &write::object_text(&call.arguments));
                });
            });
        }
    });
}

fn tools(request: &Request, o: &mut Object<'_>, out: &mut EncodedRequest) {
    let only = match &request.tool_choice {
        Some(ToolChoice::None) => return,
        Some(ToolChoice::Required) => {
            out.drop_member("tool_choice");
            None
        }
        Some(ToolChoice::Function(name)) => {
            // The nearest it can do: no other tool is offered.
            out.drop_member("tool_choice");
            Some(name)
        }
        Some(ToolChoice::Auto) | None => None,
    };
    if request.tools.iter().any(|tool| matches!(tool, Tool::Provider { .. })) {
        out.drop_member("tools");
    }
    let mut functions = request
        .tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::Function { name, description, parameters, .. } => {
                Some((name, description, parameters))
            }
            Tool::Provider { .. } => None,
        })
        .filter(|(name, ..)| only.is_none_or(|only| only == *name))
        .peekable();
    if functions.peek().is_none() {
        return;
    }
    o.array("tools", |tools| {
        for (name, description, parameters) in functions {
            tools.object(|t| {
                t.string("type", "function").object("function", |f| {
                    f.string("name", name)
                        .string("description", description.as_deref().unwrap_or_default())
                        .raw(
                            "parameters",
                            parameters
                                .as_deref()
                                .unwrap_or("{\"type\":\"object\",\"properties\":{}}"),
                        );
                });
            });
        }
    });
}

fn think(request: &Request, model: &str, o: &mut Object<'_>) {
    let Some(reasoning) = &request.reasoning else { return };
    match reasoning.effort.as_deref() {
        Some("none") => {
            o.boolean("think", false);
        }
        // Only this family knows levels.
        Some(effort) if model.starts_with("gpt-oss") => {
            let level = match effort {
                "minimal" | "low" => "low",
                "medium" => "medium",
                _ => "high",
            };
            o.string("think", level);
        }
        _ => {
            o.boolean("think", true);
        }
    }
}

fn options(request: &Request, o: &mut Object<'_>) {
    let numbers = [
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("frequency_penalty", &request.frequency_penalty),
        ("presence_penalty", &request.presence_penalty),
        ("seed", &request.seed),
    ];
    let has_any = numbers.iter().any(|(_, value)| value.is_some())
        || request.max_tokens.is_some()
        || request.top_k.is_some()
        || !request.stop.is_empty();
    if !has_any {
        return;
    }
    o.object("options", |options| {
        for (name, value) in numbers {
            options.raw_if(name, value.as_ref().map(|number| number.text()));
        }
        if let Some(max) = request.max_tokens {
            options.number("num_predict", max);
        }
        if let Some(top) = request.top_k {
            options.number("top_k", top);
        }
        if !request.stop.is_empty() {
            options.array("stop", |stops| {
                for stop in &request.stop {
                    stops.string(stop);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::dialect::Dialect;

    #[test]
    fn a_conversation_becomes_ollamas() {
        let request = Dialect::OpenAiChat
            .decode_request(
                br#"{"messages":[
              {"role":"system","content":"s"},
              {"role":"user","content":[{"type":"text","text":"look"},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},
                {"type":"image_url","image_url":{"url":"https://x/y.png"}}]},
              {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[
                {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"n\": 1.0}"}}]},
              {"role":"tool","tool_call_id":"c1","content":"one"}],
             "tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],
             "tool_choice":{"type":"function","function":{"name":"f"}},
             "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}},
             "max_tokens":5,"temperature":0.70,"stop":["x"],"reasoning_effort":"low","user":"u"}"#,
            )
            .unwrap();
        let mut out = EncodedRequest::default();
        encode(&request, "qwen3", &mut out).unwrap();
        let text = String::from_utf8(out.body.clone()).unwrap();
        assert!(text.contains("\"temperature\":0.70"), "numbers stay as written");
        let value: serde_json::Value = serde_json::from_slice(&out.body).unwrap();
        assert_eq!(value["stream"], false, "it streams unless told not to");
        assert_eq!(value["messages"][1]["images"], serde_json::json!(["AA"]));
        let call = &value["messages"][2]["tool_calls"][0]["function"];
        assert_eq!(call["arguments"], serde_json::json!({"n": 1.0}), "an object");
        assert_eq!(value["messages"][2]["thinking"], "hm");
        assert_eq!(value["messages"][3]["tool_name"], "f");
        assert_eq!(value["tools"].as_array().unwrap().len(), 1);
        assert_eq!(value["format"]["type"], "object");
        assert_eq!(value["options"]["num_predict"], 5);
        assert_eq!(value["think"], true);
        assert_eq!(out.dropped, ["image_url", "tool_choice", "user"]);
    }
}
