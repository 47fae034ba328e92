//! Requests: bytes to the neutral request.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt;

use super::super::{custom, read, signature, unread};
use crate::ai::chat::{
    Message, Part, Reasoning, Request, ResponseFormat, Role, Source, Tool, ToolCall, ToolChoice,
};
use crate::ai::tree::Node;
use crate::base::error::Failure;

/// Reads a request.
pub(in crate::ai::dialect) fn decode(body: &[u8]) -> Result<Request, Failure> {
    let root = read::body(body)?;
    let mut request = Request::default();
    let mut messages = None;
    let mut newer_limit = None;
    let mut allowed = None;
    for (name, node) in root.members() {
        if node.is_null() {
            continue;
        }
        match name.as_ref() {
            "messages" => messages = Some(read::items(node, format_args!("messages"))?),
            "tools" => tools(node, &mut request)?,
            "functions" if request.tools.is_empty() => request.tools = functions(node)?,
            "tool_choice" | "function_call" => {
                let (choice, only) = tool_choice(node, name)?;
                request.tool_choice = Some(choice);
                allowed = only;
            }
            "parallel_tool_calls" => {
                let param = format_args!("parallel_tool_calls");
                request.parallel_tool_calls = Some(read::boolean(node, param)?);
            }
            "max_completion_tokens" => {
                let param = format_args!("max_completion_tokens");
                newer_limit = Some(read::unsigned_from(node, param, 1)?);
            }
            "response_format" => request.response_format = response_format(node)?,
            "reasoning_effort" => {
                let effort = read::text(node, format_args!("reasoning_effort"))?;
                request.reasoning.get_or_insert_default().effort = Some(effort.to_owned());
            }
            // OpenRouter's form of the same wish.
            "reasoning" if node.is_object() => {
                let reasoning = request.reasoning.get_or_insert_with(Reasoning::default);
                if let Some(effort) = node.text_of("effort") {
                    reasoning.effort = Some(effort.to_owned());
                }
                reasoning.budget_tokens = node.unsigned_of("max_tokens");
            }
            "logprobs" => request.logprobs = read::boolean(node, format_args!("logprobs"))?,
            "top_logprobs" => {
                let param = format_args!("top_logprobs");
                request.top_logprobs = Some(read::unsigned_from(node, param, 0)?);
            }
            "n" => request.n = Some(read::unsigned_from(node, format_args!("n"), 1)?),
            _ => parameter(name, node, &mut request)?,
        }
    }
    // Clients that send both names mean the newer one.
    request.max_tokens = newer_limit.or(request.max_tokens);
    if let Some(allowed) = allowed {
        request.tools.retain(|tool| match tool {
            Tool::Function { name, .. } => allowed.contains(name),
            Tool::Provider { .. } => true,
        });
    }
    let messages = messages.ok_or_else(|| read::missing(format_args!("messages")))?;
    if messages.is_empty() {
        return Err(Failure::new(400, "'messages' must hold at least one message.")
            .param("messages")
            .code("empty_array"));
    }
    for (index, node) in messages.iter().enumerate() {
        request.messages.push(message(node, index)?);
    }
    unread::chat(&root, &mut request.lost);
    Ok(request)
}

/// Reads a member that chat and plain completions share. Unknown ones are kept in `extra`.
pub(in crate::ai::dialect) fn parameter(
    name: &str,
    node: &Node<'_>,
    request: &mut Request,
) -> Result<(), Failure> {
    match name {
        "model" => request.model = Some(read::text(node, format_args!("model"))?.to_owned()),
        "max_tokens" => {
            request.max_tokens = Some(read::unsigned_from(node, format_args!("max_tokens"), 1)?);
        }
        "temperature" => {
            request.temperature = Some(read::number_within(node, "temperature", 0.0, 2.0)?);
        }
        "top_p" => request.top_p = Some(read::number_within(node, "top_p", 0.0, 1.0)?),
        "frequency_penalty" => {
            let value = read::number_within(node, "frequency_penalty", -2.0, 2.0)?;
            request.frequency_penalty = Some(value);
        }
        "presence_penalty" => {
            let value = read::number_within(node, "presence_penalty", -2.0, 2.0)?;
            request.presence_penalty = Some(value);
        }
        "stop" => request.stop = read::texts(node, "stop")?,
        "seed" => request.seed = Some(read::number(node, format_args!("seed"))?),
        "stream" => request.stream = read::boolean(node, format_args!("stream"))?,
        "stream_options" => {
            let options = read::object(node, format_args!("stream_options"))?;
            if let Some(include) = options.get("include_usage") {
                let param = format_args!("stream_options.include_usage");
                request.include_usage = read::boolean(include, param)?;
            }
        }
        "user" => request.user = Some(read::text(node, format_args!("user"))?.to_owned()),
        "top_k" if node.unsigned().is_some() => request.top_k = node.unsigned(),
        _ => request.extra.push((name.to_owned(), node.raw.to_owned())),
    }
    Ok(())
}

fn message(node: &Node<'_>, index: usize) -> Result<Message, Failure> {
    let at = format!("messages[{index}]");
    read::object(node, format_args!("{at}"))?;
    let role = read::required_text(node, "role", format_args!("{at}"))?;
    let mut parts = Vec::new();
    let role = match role {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => {
            return Err(read::wrong_value(
                format_args!("{at}.role"),
                "'system', 'developer', 'user', 'assistant', 'tool' or 'function'",
            ));
        }
    };
    match (role, node.get("content")) {
        (Role::Assistant, found) => assistant(node, found, &at, &mut parts)?,
        (_, None) => return Err(read::missing(format_args!("{at}.content"))),
        (Role::Tool, Some(found)) => {
            let mut inner = Vec::new();
            content(found, format_args!("{at}.content"), &mut inner)?;
            // The older `function` role answers by name and has no id.
            let id = match (node.text_of("tool_call_id"), node.text_of("name")) {
                (Some(id), _) => id,
                (None, Some(name)) => name,
                (None, None) => return Err(read::missing(format_args!("{at}.tool_call_id"))),
            };
            parts.push(Part::ToolResult { id: id.to_owned(), parts: inner, is_error: false });
        }
        (_, Some(found)) => content(found, format_args!("{at}.content"), &mut parts)?,
    }
    let name = read::optional_text(node, "name", format_args!("{at}"))?;
    let prefix = node.get("prefix").and_then(Node::boolean) == Some(true);
    Ok(Message { role, parts, name, prefix })
}

/// What a model said before: thinking, then text, then calls.
fn assistant(
    node: &Node<'_>,
    found: Option<&Node<'_>>,
    at: &str,
    parts: &mut Vec<Part>,
) -> Result<(), Failure> {
    if let Some(blocks) = node.get("thinking_blocks") {
        for block in blocks.items() {
            match (block.text_of("thinking"), block.text_of("data")) {
                (Some(text), _) => parts.push(Part::Thinking {
                    text: text.to_owned(),
                    signature: block.text_of("signature").map(str::to_owned),
                }),
                (None, Some(data)) => parts.push(Part::RedactedThinking(data.to_owned())),
                (None, None) => {}
            }
        }
    } else if let Some(text) = node.text_of("reasoning_content").or(node.text_of("reasoning")) {
        parts.push(Part::Thinking { text: text.to_owned(), signature: None });
    }
    if let Some(found) = found {
        content(found, format_args!("{at}.content"), parts)?;
    }
    if let Some(refusal) = node.text_of("refusal") {
        parts.push(Part::Refusal(refusal.to_owned()));
    }
    if let Some(calls) = node.get("tool_calls") {
        for (i, call) in read::items(calls, format_args!("{at}.tool_calls"))?.iter().enumerate() {
            let at = format!("{at}.tool_calls[{i}]");
            let id = read::required_text(call, "id", format_args!("{at}"))?;
            let (id, travelled) = signature::from_id(id);
            let signature = call.path(&["extra_content", "google", "thought_signature"]);
            parts.push(Part::ToolCall(ToolCall {
                id: id.to_owned(),
                signature: signature.and_then(Node::text).map(str::to_owned).or(travelled),
                ..tool_call(call, &at)?
            }));
        }
    }
    if let Some(function) = node.get("function_call") {
        let call = function_call(function, format_args!("{at}.function_call"))?;
        parts.push(Part::ToolCall(ToolCall { id: call.name.clone(), ..call }));
    }
    Ok(())
}

/// A call but for its id.
fn tool_call(node: &Node<'_>, at: &str) -> Result<ToolCall, Failure> {
    if let Some(custom) = node.get("custom") {
        let at = format_args!("{at}.custom");
        let name = read::required_text(custom, "name", at)?.to_owned();
        let arguments = custom::arguments(read::required_text(custom, "input", at)?);
        return Ok(ToolCall { name, arguments, ..ToolCall::default() });
    }
    let function = node.get("function");
    let function = function.ok_or_else(|| read::missing(format_args!("{at}.function")))?;
    function_call(function, format_args!("{at}.function"))
}

fn function_call(node: &Node<'_>, at: fmt::Arguments<'_>) -> Result<ToolCall, Failure> {
    let name = read::required_text(node, "name", at)?.to_owned();
    let arguments = match node.get("arguments") {
        Some(arguments) => read::text(arguments, format_args!("{at}.arguments"))?,
        None => "",
    };
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    Ok(ToolCall { name, arguments: arguments.to_owned(), ..ToolCall::default() })
}

/// A string, or an array of typed parts.
fn content(node: &Node<'_>, at: fmt::Arguments<'_>, parts: &mut Vec<Part>) -> Result<(), Failure> {
    if let Some(text) = node.text() {
        parts.push(Part::Text(text.to_owned()));
        return Ok(());
    }
    if !node.is_array() {
        return Err(read::wrong_type(at, "a string or an array of content parts", node));
    }
    for (i, item) in node.items().iter().enumerate() {
        parts.push(part(item, format_args!("{at}[{i}]"))?);
    }
    Ok(())
}

fn part(node: &Node<'_>, at: fmt::Arguments<'_>) -> Result<Part, Failure> {
    read::object(node, at)?;
    let inner =
        |name: &str| node.get(name).ok_or_else(|| read::missing(format_args!("{at}.{name}")));
    Ok(match read::required_text(node, "type", at)? {
        "text" => Part::Text(read::required_text(node, "text", at)?.to_owned()),
        "refusal" => Part::Refusal(read::required_text(node, "refusal", at)?.to_owned()),
        "image_url" => {
            let image = inner("image_url")?;
            // Some clients send the bare address.
            let (url, detail) = match image.text() {
                Some(url) => (url, None),
                None => (
                    read::required_text(image, "url", format_args!("{at}.image_url"))?,
                    image.text_of("detail").map(str::to_owned),
                ),
            };
            Part::Image { source: read::source(url), detail }
        }
        "input_audio" => {
            let audio = inner("input_audio")?;
            let at = format_args!("{at}.input_audio");
            Part::Audio {
                data: read::required_text(audio, "data", at)?.to_owned(),
                format: read::required_text(audio, "format", at)?.to_owned(),
            }
        }
        "file" => {
            let file = inner("file")?;
            let source = match (file.text_of("file_data"), file.text_of("file_id")) {
                (Some(data), _) => match read::source(data) {
                    // Bare base64 is a PDF: the only kind OpenAI's page names.
                    Source::Url(data) if !data.contains(':') => {
                        Source::Base64 { media_type: "application/pdf".to_owned(), data }
                    }
                    source => source,
                },
                (None, Some(id)) => Source::Id(id.to_owned()),
                (None, None) => return Err(read::missing(format_args!("{at}.file.file_data"))),
            };
            Part::File { source, name: file.text_of("filename").map(str::to_owned) }
        }
        _ => {
            return Err(read::wrong_value(
                format_args!("{at}.type"),
                "'text', 'image_url', 'input_audio', 'file' or 'refusal'",
            ));
        }
    })
}

fn tools(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    request.tools.clear();
    for (i, tool) in read::items(node, format_args!("tools"))?.iter().enumerate() {
        read::object(tool, format_args!("tools[{i}]"))?;
        let kind = read::required_text(tool, "type", format_args!("tools[{i}]"))?;
        let at = format_args!("tools[{i}].{kind}");
        let inner = || tool.get(kind).ok_or_else(|| read::missing(at));
        let found = match kind {
            "function" => function(inner()?, at)?,
            "custom" => {
                let found = custom::tool(inner()?, at)?;
                request.custom_tools.extend(inner()?.text_of("name").map(str::to_owned));
                found
            }
            _ => Tool::Provider { kind: kind.to_owned(), json: tool.raw.to_owned() },
        };
        request.tools.push(found);
    }
    Ok(())
}

fn functions(node: &Node<'_>) -> Result<Vec<Tool>, Failure> {
    let each = read::items(node, format_args!("functions"))?.iter().enumerate();
    each.map(|(i, found)| function(found, format_args!("functions[{i}]"))).collect()
}

fn function(node: &Node<'_>, at: fmt::Arguments<'_>) -> Result<Tool, Failure> {
    read::object(node, at)?;
    if let Some(parameters) = node.get("parameters") {
        read::object(parameters, format_args!("{at}.parameters"))?;
    }
    Ok(Tool::Function {
        name: read::required_text(node, "name", at)?.to_owned(),
        description: read::optional_text(node, "description", at)?,
        parameters: node.get("parameters").map(|p| p.raw.to_owned()),
        strict: node.get("strict").and_then(Node::boolean),
    })
}

/// The choice, and the names `allowed_tools` narrows the tools to.
fn tool_choice(
    node: &Node<'_>,
    param: &str,
) -> Result<(ToolChoice, Option<HashSet<String>>), Failure> {
    let wrong =
        || read::wrong_value(format_args!("{param}"), "'auto', 'none', 'required' or a function");
    let word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        _ => Err(wrong()),
    };
    if let Some(text) = node.text() {
        return Ok((word(text)?, None));
    }
    if !node.is_object() {
        return Err(read::wrong_type(format_args!("{param}"), "a string or an object", node));
    }
    if node.text_of("type") == Some("allowed_tools") {
        let allowed = node.get("allowed_tools").unwrap_or(node);
        let names = allowed.get("tools").map(Node::items).unwrap_or_default().iter();
        let names =
            names.filter_map(|tool| named(tool).text_of("name")).map(str::to_owned).collect();
        return Ok((word(allowed.text_of("mode").unwrap_or("auto"))?, Some(names)));
    }
    let name = named(node).text_of("name").ok_or_else(wrong)?;
    Ok((ToolChoice::Function(name.to_owned()), None))
}

/// What holds the name of a tool.
fn named<'n, 'a>(tool: &'n Node<'a>) -> &'n Node<'a> {
    tool.get("function").or(tool.get("custom")).unwrap_or(tool)
}

fn response_format(node: &Node<'_>) -> Result<ResponseFormat, Failure> {
    let at = format_args!("response_format");
    read::object(node, at)?;
    Ok(match read::required_text(node, "type", at)? {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => {
            let at = format_args!("response_format.json_schema");
            let found = node.get("json_schema").ok_or_else(|| read::missing(at))?;
            let schema =
                found.get("schema").ok_or_else(|| read::missing(format_args!("{at}.schema")))?;
            read::object(schema, format_args!("{at}.schema"))?;
            ResponseFormat::JsonSchema {
                name: read::required_text(found, "name", at)?.to_owned(),
                description: read::optional_text(found, "description", at)?,
                schema: schema.raw.to_owned(),
                strict: found.get("strict").and_then(Node::boolean),
            }
        }
        _ => {
            return Err(read::wrong_value(
                format_args!("response_format.type"),
                "'text', 'json_object' or 'json_schema'",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rich_request_is_read_whole() {
        let request = decode(
            br#"{"model":"m","messages":[
              {"role":"system","content":"s"},
              {"role":"user","content":[{"type":"text","text":"look"},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},
                {"type":"image_url","image_url":{"url":"https://x/y.png"}}]},
              {"role":"assistant","content":null,"tool_calls":[
                {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1.0}"}},
                {"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},
              {"role":"tool","tool_call_id":"c1","content":"one"}],
             "tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,
               "parameters":{"type":"object","properties":{"a":{"type":"number","minimum":1.50}}}}}],
             "tool_choice":{"type":"function","function":{"name":"f"}},
             "max_tokens":5,"max_completion_tokens":7,"temperature":0.20,"stop":"x","seed":42,
             "stream":true,"stream_options":{"include_usage":true},"store":false,
             "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"a":1}}},
             "reasoning_effort":"low","user":"u","top_p":null,"metadata":{"k":"v"}}"#,
        )
        .unwrap();
        assert_eq!(request.model.as_deref(), Some("m"));
        assert_eq!(request.messages.len(), 4);
        let user = request.messages.get(1).unwrap();
        assert_eq!(
            user.parts.get(1),
            Some(&Part::Image {
                source: Source::Base64 { media_type: "image/png".into(), data: "AAAA".into() },
                detail: Some("low".into())
            })
        );
        let calls = &request.messages.get(2).unwrap().parts;
        assert_eq!(calls.len(), 2, "null content leaves no part");
        assert!(matches!(&calls[0], Part::ToolCall(c) if c.arguments == "{\"a\": 1.0}"));
        assert!(matches!(&calls[1], Part::ToolCall(c) if c.arguments == "{}"));
        assert_eq!(request.max_tokens, Some(7), "the newer name wins");
        assert_eq!(request.temperature.as_ref().unwrap().text(), "0.20");
        assert_eq!(request.stop, ["x"]);
        assert!(request.stream && request.include_usage);
        assert_eq!(request.tool_choice, Some(ToolChoice::Function("f".into())));
        let Some(Tool::Function { parameters: Some(parameters), .. }) = request.tools.first()
        else {
            panic!("a function")
        };
        assert!(parameters.contains("1.50"), "a schema is kept as written");
        assert_eq!(
            request.extra,
            [
                ("store".to_owned(), "false".to_owned()),
                ("metadata".to_owned(), r#"{"k":"v"}"#.to_owned())
            ]
        );
    }

    #[test]
    fn wrong_members_are_named() {
        for (body, param) in [
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"messages":[]}"#, "messages"),
            (r#"{"messages":"hi"}"#, "messages"),
            (r#"{"messages":[1]}"#, "messages[0]"),
            (r#"{"messages":[{"content":"a"}]}"#, "messages[0].role"),
            (r#"{"messages":[{"role":"king","content":"a"}]}"#, "messages[0].role"),
            (r#"{"messages":[{"role":"user"}]}"#, "messages[0].content"),
            (r#"{"messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"x"}]}]}"#,
                "messages[0].content[0].type",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
                "messages[0].content[0].image_url",
            ),
            (r#"{"messages":[{"role":"tool","content":"a"}]}"#, "messages[0].tool_call_id"),
            (
                r#"{"messages":[{"role":"assistant","tool_calls":[{}]}]}"#,
                "messages[0].tool_calls[0].id",
            ),
            (r#"{"messages":[{"role":"user","content":"a"}],"temperature":3}"#, "temperature"),
            (r#"{"messages":[{"role":"user","content":"a"}],"stop":5}"#, "stop"),
            (r#"{"messages":[{"role":"user","content":"a"}],"stop":[5]}"#, "stop[0]"),
            (r#"{"messages":[{"role":"user","content":"a"}],"stream":1}"#, "stream"),
            (
                r#"{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function"}]}"#,
                "tools[0].function",
            ),
            (
                r#"{"messages":[{"role":"user","content":"a"}],"tool_choice":"maybe"}"#,
                "tool_choice",
            ),
            (
                r#"{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"yaml"}}"#,
                "response_format.type",
            ),
            (r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":-1}"#, "max_tokens"),
        ] {
            let failure = decode(body.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400, "{body}");
            assert_eq!(failure.param.as_deref(), Some(param), "{body}");
        }
    }

    #[test]
    fn custom_tools_are_functions_with_one_text() {
        let request = decode(
            br#"{"messages":[{"role":"user","content":"a"},
                {"role":"assistant","tool_calls":[{"id":"c","type":"custom","custom":{"name":"patch","input":"a\nb"}}]},
                {"role":"tool","tool_call_id":"c","content":"done"}],
              "tools":[{"type":"custom","custom":{"name":"patch","description":"edits","format":{"type":"text"}}},
                {"type":"function","function":{"name":"f"}}],
              "tool_choice":{"type":"custom","custom":{"name":"patch"}}}"#,
        )
        .unwrap();
        assert_eq!(request.custom_tools, ["patch"]);
        assert_eq!(request.tool_choice, Some(ToolChoice::Function("patch".into())));
        assert!(matches!(&request.tools[0], Tool::Function { name, parameters: Some(p), .. }
            if name == "patch" && p.contains("\"input\"")));
        assert!(matches!(&request.messages[1].parts[0], Part::ToolCall(call)
            if call.name == "patch" && call.arguments == r#"{"input":"a\nb"}"#));
        let body = br#"{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"custom"}]}"#;
        assert_eq!(decode(body).unwrap_err().param.as_deref(), Some("tools[0].custom"));
    }

    #[test]
    fn allowed_tools_narrow_the_tools() {
        let request = decode(
            br#"{"messages":[{"role":"user","content":"a"}],
              "tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],
              "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required",
                "tools":[{"type":"function","function":{"name":"g"}}]}}}"#,
        )
        .unwrap();
        assert_eq!(request.tools.len(), 1);
        assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    }
}
