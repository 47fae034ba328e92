//! Requests: the neutral request to OpenAI's JSON.
#![forbid(unsafe_code)]

use super::super::{EncodedRequest, TargetInfo};
use super::Row;
use crate::ai::chat::{
    Message, Part, Request, ResponseFormat, Role, Source, Tool, ToolChoice, join_text,
};
use crate::ai::dialect::openai_parts;
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// Writes the body.
pub(super) fn encode(
    request: &Request,
    target: &TargetInfo<'_>,
    row: &Row,
    out: &mut EncodedRequest,
) -> Result<(), Failure> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(one_answer_only());
    }
    let mut body = std::mem::take(&mut out.body);
    write::object(&mut body, |o| {
        o.string("model", target.model).array("messages", |messages| {
            for message in &request.messages {
                self::message(message, messages, out);
            }
        });
        parameters(request, row, o, out);
        tools(request, o, out);
        for (name, json) in &request.extra {
            o.foreign(name, json);
        }
    });
    out.body = body;
    for name in &request.lost {
        out.drop_foreign(name);
    }
    Ok(())
}

/// A translation answers once.
pub(in crate::ai::provider) fn one_answer_only() -> Failure {
    Failure::new(400, "'n' above 1 is not possible with the provider of this model.")
        .param("n")
        .code("unsupported_value")
}

fn parameters(request: &Request, row: &Row, o: &mut Object<'_>, out: &mut EncodedRequest) {
    if let Some(max) = request.max_tokens {
        o.number(row.max_tokens, max);
    }
    for (name, value) in [
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("frequency_penalty", &request.frequency_penalty),
        ("presence_penalty", &request.presence_penalty),
        ("seed", &request.seed),
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
    if request.top_k.is_some() {
        out.drop_member("top_k");
    }
    if let Some(reasoning) = &request.reasoning {
        o.string_if("reasoning_effort", reasoning.effort.as_deref());
    }
    o.string_if("user", request.user.as_deref());
    if request.logprobs {
        o.boolean("logprobs", true);
    }
    if let Some(top) = request.top_logprobs {
        o.number("top_logprobs", top);
    }
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
    if request.stream {
        o.boolean("stream", true);
        if row.stream_options {
            o.object("stream_options", |s| {
                s.boolean("include_usage", true);
            });
        }
    }
}

fn tools(request: &Request, o: &mut Object<'_>, out: &mut EncodedRequest) {
    let is_function = |tool: &&Tool| matches!(tool, Tool::Function { .. });
    if request.tools.iter().any(|tool| !is_function(&tool)) {
        out.drop_member("tools");
    }
    if !request.tools.iter().any(|tool| is_function(&tool)) {
        return;
    }
    o.array("tools", |tools| {
        for tool in &request.tools {
            let Tool::Function { name, description, parameters, strict } = tool else {
                continue;
            };
            tools.object(|t| {
                t.string("type", "function").object("function", |f| {
                    f.string("name", name)
                        .string_if("description", description.as_deref())
                        .raw_if("parameters", parameters.as_deref());
                    if let Some(strict) = strict {
                        f.boolean("strict", *strict);
                    }
                });
            });
        }
    });
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => {
            o.string("tool_choice", "auto");
        }
        Some(ToolChoice::None) => {
            o.string("tool_choice", "none");
        }
        Some(ToolChoice::Required) => {
            o.string("tool_choice", "required");
        }
        Some(ToolChoice::Function(name)) => {
            o.object("tool_choice", |c| {
                c.string("type", "function").object("function", |f| {
                    f.string("name", name);
                });
            });
        }
    }
    if let Some(parallel) = request.parallel_tool_calls {
        o.boolean("parallel_tool_calls", parallel);
    }
}

/// One neutral message is one message here, except that each tool result becomes a message of its
/// own, before whatever else the message says.
fn message(message: &Message, messages: &mut Array<'_>, out: &mut EncodedRequest) {
    let mut rest = false;
    for part in &message.parts {
        match part {
            Part::ToolResult { id, parts, .. } => {
                messages.object(|m| {
                    m.string("role", "tool").string("tool_call_id", id);
                    m.string("content", &join_text(parts));
                });
                if parts.iter().any(|part| !matches!(part, Part::Text(_))) {
                    out.drop_member("tool_result.image");
                }
            }
            _ => rest = true,
        }
    }
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    if !rest && (message.role == Role::Tool || !message.parts.is_empty()) {
        return;
    }
    messages.object(|m| {
        m.string("role", role).string_if("name", message.name.as_deref());
        content(message, m, out);
        if message.role == Role::Assistant {
            let refusal = message.parts.iter().find_map(|part| match part {
                Part::Refusal(text) => Some(text.as_str()),
                _ => None,
            });
            m.string_if("refusal", refusal);
            openai_parts::thinking(&message.parts, m);
            openai_parts::tool_calls(&message.parts, m);
        }
    });
}

/// Text alone is a string; anything else makes an array of parts; nothing is null.
fn content(message: &Message, m: &mut Object<'_>, out: &mut EncodedRequest) {
    let spoken = message.parts.iter().filter(|part| {
        matches!(part, Part::Text(_) | Part::Image { .. } | Part::Audio { .. } | Part::File { .. })
    });
    let spoken: Vec<&Part> = spoken.collect();
    match spoken.as_slice() {
        [] => {
            m.raw("content", if message.role == Role::Assistant { "null" } else { "\"\"" });
        }
        [Part::Text(text)] => {
            m.string("content", text);
        }
        parts => {
            m.array("content", |items| {
                for part in parts {
                    content_part(part, items, out);
                }
            });
        }
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
fn address(source: &Source) -> String {
    match source {
        Source::Url(url) => url.clone(),
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        Source::Id(id) => id.clone(),
    }
}
