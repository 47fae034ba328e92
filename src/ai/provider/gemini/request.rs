//! Requests: the neutral request to Google's JSON.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::super::{EncodedRequest, one_answer_only};
use super::{MARK, major, schema};
use crate::ai::chat::{
    Message, Part, Reasoning, Request, ResponseFormat, Role, Source, Tool, ToolChoice, join_text,
};
use crate::ai::tree;
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// What Google takes in place of a signature for calls that others made.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Writes the body.
pub(super) fn encode(
    request: &Request,
    model: &str,
    out: &mut EncodedRequest,
) -> Result<(), Failure> {
    one_answer_only(request)?;
    let calls = calls(request);
    let turns = turns(request, &calls, out);
    let mut body = std::mem::take(&mut out.body);
    let mut result = Ok(());
    write::object(&mut body, |o| {
        system(request, o, out);
        o.array("contents", |contents| {
            for turn in &turns {
                contents.object(|c| {
                    c.string("role", if turn.is_model { "model" } else { "user" });
                    c.array("parts", |parts| turn.write(&calls, model, parts, out));
                });
            }
        });
        result = tools(request, o, out);
        if result.is_ok() {
            result = generation(request, model, o, out);
        }
    });
    result?;
    out.body = body;
    for (name, is_there) in [
        ("user", request.user.is_some()),
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false)),
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

fn system(request: &Request, o: &mut Object<'_>, out: &mut EncodedRequest) {
    let is_system = |m: &&Message| matches!(m.role, Role::System | Role::Developer);
    let parts = request.messages.iter().filter(is_system).flat_map(|m| &m.parts);
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => texts.push(text),
            _ => out.drop_member("messages.system.content"),
        }
    }
    if !texts.is_empty() {
        o.object("systemInstruction", |s| {
            s.array("parts", |parts| {
                for text in texts {
                    parts.object(|p| {
                        p.string("text", text);
                    });
                }
            });
        });
    }
}

/// What one side says until the other speaks.
struct Turn<'r> {
    is_model: bool,
    parts: Vec<&'r Part>,
}

fn turns<'r>(request: &'r Request, calls: &Calls<'_>, out: &mut EncodedRequest) -> Vec<Turn<'r>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for message in &request.messages {
        let is_model = match message.role {
            Role::System | Role::Developer => continue,
            Role::Assistant => true,
            Role::User | Role::Tool => false,
        };
        let mut parts: Vec<&Part> = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            let stays = match part {
                Part::Text(text) | Part::Refusal(text) => !text.is_empty(),
                // Only what Google thought itself means something to it.
                Part::Thinking { text, signature } => {
                    let is_its = signature.as_ref().is_some_and(|s| s.starts_with(MARK));
                    if !is_its && !text.is_empty() {
                        out.drop_member("thinking");
                    }
                    is_its
                }
                Part::RedactedThinking(_) => {
                    out.drop_member("thinking");
                    false
                }
                _ => true,
            };
            if stays {
                parts.push(part);
            }
        }
        if parts.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some(last) if last.is_model == is_model => last.parts.extend(parts),
            _ => turns.push(Turn { is_model, parts }),
        }
    }
    if turns.first().is_none_or(|turn| turn.is_model) {
        turns.insert(0, Turn { is_model: false, parts: Vec::new() });
    }
    for turn in turns.iter_mut().filter(|turn| !turn.is_model) {
        // Results come first, in the order of their calls: they are matched by name and place.
        turn.parts.sort_by_key(|part| match part {
            Part::ToolResult { id, .. } => {
                calls.get(id.as_str()).map_or(usize::MAX - 1, |(place, _)| *place)
            }
            _ => usize::MAX,
        });
    }
    turns
}

/// The place among all calls and the tool's name, by a call's id; of two with one id the later.
type Calls<'r> = HashMap<&'r str, (usize, &'r str)>;

fn calls(request: &Request) -> Calls<'_> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let calls = parts.filter_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        _ => None,
    });
    calls.enumerate().map(|(place, call)| (call.id.as_str(), (place, call.name.as_str()))).collect()
}

impl Turn<'_> {
    fn write(
        &self,
        calls: &Calls<'_>,
        model: &str,
        parts: &mut Array<'_>,
        out: &mut EncodedRequest,
    ) {
        // From version 3 on the first call of a step must be signed.
        let mut wants_signature = major(model).is_some_and(|major| major >= 3);
        let mut rest = self.parts.iter().peekable();
        while let Some(part) = rest.next() {
            match part {
                Part::Text(text) | Part::Refusal(text) => {
                    // The signature of a text stands behind it.
                    let signature = rest.peek().and_then(|next| bare_signature(next));
                    if signature.is_some() {
                        rest.next();
                    }
                    parts.object(|p| {
                        p.string("text", text).string_if("thoughtSignature", signature);
                    });
                }
                Part::Thinking { text, signature } => {
                    let signature = signature.as_deref().and_then(|s| s.strip_prefix(MARK));
                    parts.object(|p| {
                        p.string("text", text);
                        if !text.is_empty() {
                            p.boolean("thought", true);
                        }
                        p.string_if("thoughtSignature", signature);
                    });
                }
                Part::ToolCall(call) => {
                    let signature = match call.signature.as_deref() {
                        None if wants_signature => Some(NO_SIGNATURE),
                        signature => signature,
                    };
                    wants_signature = false;
                    parts.object(|p| {
                        p.object("functionCall", |f| {
                            f.string("name", &call.name)
                                .raw("args", &write::object_text(&call.arguments));
                        })
                        .string_if("thoughtSignature", signature);
                    });
                }
                Part::ToolResult { id, parts: inner, is_error } => {
                    result(calls, id, inner, *is_error, parts, out);
                }
                other => media(other, parts, out),
            }
        }
        if parts.is_empty() {
            parts.object(|p| {
                p.string("text", ".");
            });
        }
    }
}

fn bare_signature(part: &Part) -> Option<&str> {
    match part {
        Part::Thinking { text, signature: Some(signature) } if text.is_empty() => {
            signature.strip_prefix(MARK)
        }
        _ => None,
    }
}

/// A tool's answer goes by the tool's name and must be an object.
fn result(
    calls: &Calls<'_>,
    id: &str,
    inner: &[Part],
    is_error: bool,
    parts: &mut Array<'_>,
    out: &mut EncodedRequest,
) {
    let name = calls.get(id).map_or(id, |(_, name)| *name);
    let text = join_text(inner);
    parts.object(|p| {
        p.object("functionResponse", |f| {
            f.string("name", name);
            let is_object = tree::parse_str(&text).is_ok_and(|node| node.is_object());
            if is_object && !is_error {
                f.raw("response", &text);
            } else {
                f.object("response", |r| {
                    r.string(if is_error { "error" } else { "result" }, &text);
                });
            }
        });
    });
    for part in inner.iter().filter(|part| !matches!(part, Part::Text(_))) {
        media(part, parts, out);
    }
}

fn media(part: &Part, parts: &mut Array<'_>, out: &mut EncodedRequest) {
    match part {
        Part::Image { source, .. } => source_part(source, "image/jpeg", parts, out),
        Part::File { source, .. } => source_part(source, "application/pdf", parts, out),
        Part::Audio { data, format } => {
            parts.object(|p| {
                p.object("inlineData", |d| {
                    d.string("mimeType", &format!("audio/{format}")).string("data", data);
                });
            });
        }
        _ => {}
    }
}

fn source_part(source: &Source, usual: &str, parts: &mut Array<'_>, out: &mut EncodedRequest) {
    match source {
        Source::Base64 { media_type, data } => {
            parts.object(|p| {
                p.object("inlineData", |d| {
                    d.string("mimeType", media_type).string("data", data);
                });
            });
        }
        Source::Url(url) => {
            parts.object(|p| {
                p.object("fileData", |d| {
                    d.string("mimeType", media_type(url).unwrap_or(usual)).string("fileUri", url);
                });
            });
        }
        Source::Id(_) => out.drop_member("file_id"),
    }
}

/// The media type an address's ending speaks for.
fn media_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    Some(match path.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

fn tools(request: &Request, o: &mut Object<'_>, out: &mut EncodedRequest) -> Result<(), Failure> {
    let mut declared = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function { name, description, parameters, strict } => {
                if *strict == Some(true) {
                    out.drop_member("tools.strict");
                }
                declared.push((name, description, parameters));
            }
            Tool::Provider { .. } => out.drop_member("tools"),
        }
    }
    if declared.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    o.array("tools", |tools| {
        tools.object(|t| {
            t.array("functionDeclarations", |all| {
                for (name, description, parameters) in declared {
                    all.object(|f| {
                        f.string("name", name).string_if("description", description.as_deref());
                        // A function without arguments has no parameters: an empty object is
                        // refused.
                        let parameters =
                            parameters.as_deref().filter(|text| schema::has_properties(text));
                        if let Some(text) = parameters
                            && result.is_ok()
                        {
                            result = schema::write(text, "tools", f.key("parameters"));
                        }
                    });
                }
            });
        });
    });
    result?;
    let (mode, only) = match &request.tool_choice {
        None => return Ok(()),
        Some(ToolChoice::Auto) => ("AUTO", None),
        Some(ToolChoice::None) => ("NONE", None),
        Some(ToolChoice::Required) => ("ANY", None),
        Some(ToolChoice::Function(name)) => ("ANY", Some(name)),
    };
    o.object("toolConfig", |c| {
        c.object("functionCallingConfig", |f| {
            f.string("mode", mode);
            if let Some(name) = only {
                f.array("allowedFunctionNames", |names| {
                    names.string(name);
                });
            }
        });
    });
    Ok(())
}

fn generation(
    request: &Request,
    model: &str,
    o: &mut Object<'_>,
    out: &mut EncodedRequest,
) -> Result<(), Failure> {
    let mut result = Ok(());
    let mut config = Vec::new();
    write::object(&mut config, |g| {
        for (name, value) in [
            ("temperature", &request.temperature),
            ("topP", &request.top_p),
            ("frequencyPenalty", &request.frequency_penalty),
            ("presencePenalty", &request.presence_penalty),
            ("seed", &request.seed),
        ] {
            g.raw_if(name, value.as_ref().map(|number| number.text()));
        }
        for (name, value) in [("topK", request.top_k), ("maxOutputTokens", request.max_tokens)] {
            if let Some(value) = value {
                g.number(name, value);
            }
        }
        if !request.stop.is_empty() {
            g.array("stopSequences", |stops| {
                for stop in &request.stop {
                    stops.string(stop);
                }
            });
        }
        if request.logprobs {
            g.boolean("responseLogprobs", true);
            if let Some(top) = request.top_logprobs {
                g.number("logprobs", top);
            }
        }
        match &request.response_format {
            ResponseFormat::Text => {}
            ResponseFormat::JsonObject => {
                g.string("responseMimeType", "application/json");
            }
            ResponseFormat::JsonSchema { schema: text, .. } => {
                g.string("responseMimeType", "application/json");
                result = schema::write(text, "response_format", g.key("responseSchema"));
            }
        }
        if let Some(reasoning) = &request.reasoning {
            thinking(reasoning, model, g, out);
        }
    });
    result?;
    if config != b"{}" {
        o.key("generationConfig").extend_from_slice(&config);
    }
    Ok(())
}

/// Google's own mapping of OpenAI's efforts: a level from version 3 on, before that a budget.
fn thinking(reasoning: &Reasoning, model: &str, g: &mut Object<'_>, out: &mut EncodedRequest) {
    let effort = reasoning.effort.as_deref();
    let is_level = match major(model) {
        Some(major) if major >= 3 => true,
        Some(2) if model.contains("gemini-2.5") => false,
        _ => {
            out.drop_member("reasoning_effort");
            return;
        }
    };
    g.object("thinkingConfig", |t| {
        if effort != Some("none") {
            t.boolean("includeThoughts", true);
        }
        if is_level {
            let level = match (effort, reasoning.budget_tokens) {
                (Some("none" | "minimal"), _) => Some("MINIMAL"),
                (Some("low"), _) | (None, Some(0..2048)) => Some("LOW"),
                (Some("medium"), _) | (None, Some(2048..8192)) => Some("MEDIUM"),
                (Some(_), _) | (None, Some(_)) => Some("HIGH"),
                (None, None) => None,
            };
            t.string_if("thinkingLevel", level);
        } else {
            let budget = match (effort, reasoning.budget_tokens) {
                (_, Some(budget)) => Some(budget),
                (Some("none"), None) => Some(0),
                (Some("minimal" | "low"), None) => Some(1024),
                (Some("medium"), None) => Some(8192),
                (Some(_), None) => Some(24576),
                (None, None) => None,
            };
            if let Some(budget) = budget {
                t.number("thinkingBudget", budget);
            }
        }
    });
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
    fn results_go_by_name_in_the_order_of_their_calls() {
        let (value, dropped) = body(
            "gemini-2.5-flash",
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},
              {"role":"assistant","content":"","tool_calls":[
                {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"n\": 1.0}"}},
                {"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},
              {"role":"tool","tool_call_id":"c2","content":"two"},
              {"role":"tool","tool_call_id":"c1","content":"{\"one\":1}"},
              {"role":"user","content":"go on"}],
             "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"n":{"type":"number"}}}}},
               {"type":"function","function":{"name":"g","parameters":{"type":"object","properties":{}}}}],
             "tool_choice":{"type":"function","function":{"name":"f"}},"max_tokens":7,"temperature":0.50,"user":"u"}"#,
        );
        assert_eq!(value["systemInstruction"]["parts"][0]["text"], "s");
        let contents = value["contents"].as_array().unwrap();
        assert_eq!(contents.len(), 3);
        assert_eq!(contents[1]["parts"][0]["functionCall"]["args"], serde_json::json!({"n": 1.0}));
        let answers = contents[2]["parts"].as_array().unwrap();
        assert_eq!(answers[0]["functionResponse"]["name"], "f");
        assert_eq!(answers[0]["functionResponse"]["response"], serde_json::json!({"one": 1}));
        assert_eq!(
            answers[1]["functionResponse"]["response"],
            serde_json::json!({"result": "two"})
        );
        assert_eq!(answers[2]["text"], "go on");
        let functions = &value["tools"][0]["functionDeclarations"];
        assert_eq!(functions[0]["parameters"]["type"], "OBJECT");
        assert!(functions[1].get("parameters").is_none());
        let choice = &value["toolConfig"]["functionCallingConfig"];
        assert_eq!(choice["allowedFunctionNames"], serde_json::json!(["f"]));
        assert_eq!(value["generationConfig"]["maxOutputTokens"], 7);
        assert_eq!(dropped, ["user"]);
    }

    #[test]
    fn signatures_go_back_where_they_came_from() {
        let json = r#"{"messages":[{"role":"user","content":"hi"},
          {"role":"assistant","content":"so","thinking_blocks":[
             {"type":"thinking","thinking":"mine","signature":"gemini:QQ=="},
             {"type":"thinking","thinking":"theirs","signature":"QQ=="}],
           "tool_calls":[
            {"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"U0lH"}}},
            {"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","tool_call_id":"a","content":"1"},{"role":"tool","tool_call_id":"b","content":"2"},
          {"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","tool_call_id":"c","content":"3"}]}"#;
        let (value, _) = body("gemini-3-pro", json);
        let parts = value["contents"][1]["parts"].as_array().unwrap();
        assert_eq!(
            parts[0],
            serde_json::json!({"text":"mine","thought":true,"thoughtSignature":"QQ=="})
        );
        assert_eq!(parts[1], serde_json::json!({"text":"so"}));
        assert_eq!(parts[2]["thoughtSignature"], "U0lH");
        assert!(parts[3].get("thoughtSignature").is_none(), "only the first of a step is signed");
        let step = &value["contents"][3]["parts"][0];
        assert_eq!(step["thoughtSignature"], NO_SIGNATURE);
        let (value, _) = body("gemini-2.5-flash", json);
        assert!(value["contents"][3]["parts"][0].get("thoughtSignature").is_none());
    }

    #[test]
    fn formats_media_and_thinking() {
        let json = r##"{"messages":[{"role":"assistant","content":"hello"},{"role":"user","content":[
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},
            {"type":"image_url","image_url":{"url":"https://x/y.webp?z"}},
            {"type":"input_audio","input_audio":{"data":"BB","format":"wav"}}]}],
          "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"$ref":"#/$defs/A","$defs":{"A":{"type":"object","properties":{"a":{"type":"string"}}}}}}},
          "reasoning_effort":"medium"}"##;
        let (value, dropped) = body("gemini-2.5-pro", json);
        assert_eq!(value["contents"][0]["parts"][0]["text"], ".");
        let parts = &value["contents"][2]["parts"];
        assert_eq!(parts[0]["inlineData"]["mimeType"], "image/png");
        assert_eq!(parts[1]["fileData"]["mimeType"], "image/webp");
        assert_eq!(parts[2]["inlineData"]["mimeType"], "audio/wav");
        let config = &value["generationConfig"];
        assert_eq!(config["responseSchema"]["properties"]["a"]["type"], "STRING");
        assert_eq!(config["thinkingConfig"]["thinkingBudget"], 8192);
        assert!(dropped.is_empty());
        let (value, _) = body("gemini-3-flash", json);
        assert_eq!(value["generationConfig"]["thinkingConfig"]["thinkingLevel"], "MEDIUM");
        let (_, dropped) = body("gemma-3", json);
        assert_eq!(dropped, ["reasoning_effort"]);
    }
}
