//! Requests: bytes to the neutral request.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt;

use super::super::{custom, read, signature, unread};
use crate::ai::chat::{
    Message, Namespaced, Part, Request, ResponseFormat, Role, Source, Tool, ToolCall, ToolChoice,
};
use crate::ai::provider::openai;
use crate::ai::tree::Node;
use crate::base::error::Failure;

/// Longest name of a function that every provider takes.
const FUNCTION_NAME_BYTES_MAX: usize = 64;

/// Reads a request.
pub(in crate::ai::dialect) fn decode(body: &[u8]) -> Result<Request, Failure> {
    let root = read::body(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut input = None;
    let mut instructions = None;
    let mut allowed = None;
    for (name, node) in root.members() {
        if node.is_null() {
            continue;
        }
        match name.as_ref() {
            "model" => request.model = Some(read::text(node, format_args!("model"))?.to_owned()),
            "input" => input = Some(node),
            "instructions" => {
                instructions = Some(read::text(node, format_args!("instructions"))?);
            }
            "max_output_tokens" => {
                let param = format_args!("max_output_tokens");
                request.max_tokens = Some(read::unsigned_from(node, param, 1)?);
            }
            "temperature" => {
                request.temperature = Some(read::number_within(node, "temperature", 0.0, 2.0)?);
            }
            "top_p" => request.top_p = Some(read::number_within(node, "top_p", 0.0, 1.0)?),
            "stream" => request.stream = read::boolean(node, format_args!("stream"))?,
            "tools" => tools(node, &mut request)?,
            "tool_choice" => {
                let (choice, only) = tool_choice(node)?;
                request.tool_choice = Some(choice);
                allowed = only;
                let kind = node.text_of("type").unwrap_or("function");
                if !["function", "custom", "allowed_tools"].contains(&kind) {
                    request.lose(&format!("tool_choice.{kind}"));
                }
            }
            "parallel_tool_calls" => {
                let param = format_args!("parallel_tool_calls");
                request.parallel_tool_calls = Some(read::boolean(node, param)?);
            }
            "text" => text(node, &mut request)?,
            "reasoning" => reasoning(node, &mut request)?,
            "top_logprobs" => {
                let param = format_args!("top_logprobs");
                let top = read::unsigned_from(node, param, 0)?;
                request.top_logprobs = Some(top);
                request.logprobs |= top > 0;
            }
            "user" => request.user = Some(read::text(node, format_args!("user"))?.to_owned()),
            "store" | "background" => {
                if read::boolean(node, format_args!("{name}"))? {
                    return Err(stateless(name));
                }
            }
            "previous_response_id" | "conversation" | "prompt" => return Err(stateless(name)),
            // Else it asks for what is told without asking, or for what tools found that are lost.
            "include" => {
                let asks = |item: &Node<'_>| item.text() == Some("message.output_text.logprobs");
                request.logprobs |= node.items().iter().any(asks);
            }
            "stream_options" => {}
            "metadata"
            | "service_tier"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "safety_identifier" => {
                request.extra.push((name.to_string(), node.raw.to_owned()));
            }
            "truncation" if node.text() == Some("disabled") => {}
            _ => request.lose(name),
        }
    }
    if let Some(allowed) = allowed {
        request.tools.retain(|tool| match tool {
            Tool::Function { name, .. } => allowed.contains(name),
            Tool::Provider { .. } => true,
        });
    }
    if let Some(text) = instructions {
        request.messages.push(Message::text(Role::System, text));
    }
    let input = input.ok_or_else(|| read::missing(format_args!("input")))?;
    match input.text() {
        Some(text) => request.messages.push(Message::text(Role::User, text)),
        None if input.is_array() => {
            for (index, node) in input.items().iter().enumerate() {
                item(node, index, &mut request)?;
            }
        }
        None => {
            let param = format_args!("input");
            return Err(read::wrong_type(param, "a string or an array of items", input));
        }
    }
    unread::responses(&root, &mut request.lost);
    if request.messages.is_empty() {
        return Err(Failure::new(400, "'input' must hold at least one item.")
            .param("input")
            .code("empty_array"));
    }
    Ok(request)
}

fn stateless(param: &str) -> Failure {
    let message =
        format!("'{param}' needs stored answers, which the provider of this model does not have.");
    Failure::new(400, message).param(param.to_owned()).code("unsupported_parameter")
}

fn item(node: &Node<'_>, index: usize, request: &mut Request) -> Result<(), Failure> {
    let at = format!("input[{index}]");
    let at = format_args!("{at}");
    read::object(node, at)?;
    match node.text_of("type").unwrap_or("message") {
        "message" => {
            let role = match read::required_text(node, "role", at)? {
                "system" => Role::System,
                "developer" => Role::Developer,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => {
                    return Err(read::wrong_value(
                        format_args!("{at}.role"),
                        "'user', 'assistant', 'system' or 'developer'",
                    ));
                }
            };
            let found = node.get("content");
            let found = found.ok_or_else(|| read::missing(format_args!("{at}.content")))?;
            let mut parts = Vec::new();
            content(found, format_args!("{at}.content"), &mut parts)?;
            say(request, role, parts);
        }
        "function_call" | "custom_tool_call" => {
            let (id, signature) = call_id(node, at)?;
            // A custom tool takes free text; as a function it has one argument.
            let arguments = match node.text_of("input") {
                Some(input) => custom::arguments(input),
                None => node.text_of("arguments").unwrap_or_default().to_owned(),
            };
            let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
            let name = read::required_text(node, "name", at)?;
            let name = match node.text_of("namespace") {
                Some(namespace) => flat_name(namespace, name),
                None => name.to_owned(),
            };
            let call = ToolCall { id, name, arguments, signature };
            say(request, Role::Assistant, vec![Part::ToolCall(call)]);
        }
        "function_call_output" | "custom_tool_call_output" => {
            let (id, _) = call_id(node, at)?;
            let mut parts = Vec::new();
            let found = node.get("output");
            let found = found.ok_or_else(|| read::missing(format_args!("{at}.output")))?;
            content(found, format_args!("{at}.output"), &mut parts)?;
            say(request, Role::Tool, vec![Part::ToolResult { id, parts, is_error: false }]);
        }
        "reasoning" => {
            let texts = |name: &str| -> String {
                let items = node.get(name).map(Node::items).unwrap_or_default();
                items.iter().filter_map(|item| item.text_of("text")).collect()
            };
            let content = texts("content");
            let part = Part::Thinking {
                text: if content.is_empty() { texts("summary") } else { content },
                signature: node.text_of("encrypted_content").map(str::to_owned),
            };
            say(request, Role::Assistant, vec![part]);
        }
        "item_reference" => return Err(stateless("item_reference")),
        kind => request.lose(kind),
    }
    Ok(())
}

/// Adds what `role` says. Items of one turn of the model, and results of its calls, belong
/// together: elsewhere they are one message.
fn say(request: &mut Request, role: Role, parts: Vec<Part>) {
    let joins = matches!(role, Role::Assistant | Role::Tool);
    match request.messages.last_mut() {
        Some(last) if joins && last.role == role => last.parts.extend(parts),
        _ => request.messages.push(Message::new(role, parts)),
    }
}

fn call_id(node: &Node<'_>, at: fmt::Arguments<'_>) -> Result<(String, Option<String>), Failure> {
    let (id, signature) = signature::from_id(read::required_text(node, "call_id", at)?);
    Ok((id.to_owned(), signature))
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
    Ok(match read::required_text(node, "type", at)? {
        "input_text" | "output_text" | "text" | "summary_text" => {
            Part::Text(read::required_text(node, "text", at)?.to_owned())
        }
        "refusal" => Part::Refusal(read::required_text(node, "refusal", at)?.to_owned()),
        "input_image" => Part::Image {
            source: match node.text_of("file_id") {
                Some(id) => Source::Id(id.to_owned()),
                None => read::source(read::required_text(node, "image_url", at)?),
            },
            detail: node.text_of("detail").map(str::to_owned),
        },
        "input_file" => {
            let source = if let Some(data) = node.text_of("file_data") {
                match read::source(data) {
                    Source::Url(data) if !data.contains(':') => {
                        Source::Base64 { media_type: "application/pdf".to_owned(), data }
                    }
                    source => source,
                }
            } else if let Some(url) = node.text_of("file_url") {
                Source::Url(url.to_owned())
            } else {
                Source::Id(read::required_text(node, "file_id", at)?.to_owned())
            };
            Part::File { source, name: node.text_of("filename").map(str::to_owned) }
        }
        "input_audio" => {
            let param = format_args!("{at}.input_audio");
            let audio = node.get("input_audio").ok_or_else(|| read::missing(param))?;
            Part::Audio {
                data: read::required_text(audio, "data", param)?.to_owned(),
                format: read::required_text(audio, "format", param)?.to_owned(),
            }
        }
        _ => {
            return Err(read::wrong_value(
                format_args!("{at}.type"),
                "'input_text', 'input_image', 'input_file', 'output_text' or 'refusal'",
            ));
        }
    })
}

fn tools(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    for (i, node) in read::items(node, format_args!("tools"))?.iter().enumerate() {
        let at = format_args!("tools[{i}]");
        read::object(node, at)?;
        if read::required_text(node, "type", at)? != "namespace" {
            tool(node, None, at, request)?;
            continue;
        }
        let inner = node.get("tools");
        let inner = inner.ok_or_else(|| read::missing(format_args!("{at}.tools")))?;
        let inner = read::items(inner, format_args!("{at}.tools"))?;
        for (j, inner) in inner.iter().enumerate() {
            let at = format_args!("{at}.tools[{j}]");
            read::object(inner, at)?;
            tool(inner, Some(node), at, request)?;
        }
    }
    Ok(())
}

/// The function that stands for a tool within a namespace.
fn flat_name(namespace: &str, name: &str) -> String {
    let between = if namespace.ends_with("__") { "" } else { "__" };
    let all = format!("{namespace}{between}{name}");
    if all.len() <= FUNCTION_NAME_BYTES_MAX || !all.is_ascii() {
        return all;
    }
    let short = openai::short_id(&all);
    let head = all.get(..FUNCTION_NAME_BYTES_MAX - 1 - short.len()).unwrap_or_default();
    format!("{head}_{short}")
}

/// Reads a tool, perhaps of a namespace, whose description goes before its own.
fn tool(
    tool: &Node<'_>,
    namespace: Option<&Node<'_>>,
    at: fmt::Arguments<'_>,
    request: &mut Request,
) -> Result<(), Failure> {
    let mut found = match read::required_text(tool, "type", at)? {
        "function" => {
            let parameters = tool.get("parameters");
            if let Some(parameters) = parameters {
                read::object(parameters, format_args!("{at}.parameters"))?;
            }
            Tool::Function {
                name: read::required_text(tool, "name", at)?.to_owned(),
                description: read::optional_text(tool, "description", at)?,
                parameters: parameters.map(|p| p.raw.to_owned()),
                strict: tool.get("strict").and_then(Node::boolean),
            }
        }
        "custom" => custom::tool(tool, at)?,
        kind => Tool::Provider { kind: kind.to_owned(), json: tool.raw.to_owned() },
    };
    if let Tool::Function { name, description, .. } = &mut found {
        if let Some(space) = namespace {
            let namespace = read::required_text(space, "name", at)?;
            let own = std::mem::replace(name, flat_name(namespace, name));
            if let Some(about) = space.text_of("description").filter(|text| !text.is_empty()) {
                let of_its_own = description.take().unwrap_or_default();
                *description = Some(format!("{about}\n\n{of_its_own}").trim_end().to_owned());
            }
            let namespace = namespace.to_owned();
            request.namespaced.push(Namespaced { name: name.clone(), namespace, own });
        }
        if tool.text_of("type") == Some("custom") {
            request.custom_tools.push(name.clone());
        }
    }
    request.tools.push(found);
    Ok(())
}

/// The choice, and the names `allowed_tools` narrows the tools to.
fn tool_choice(node: &Node<'_>) -> Result<(ToolChoice, Option<HashSet<String>>), Failure> {
    let word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        _ => Err(read::wrong_value(
            format_args!("tool_choice"),
            "'auto', 'none', 'required' or a function",
        )),
    };
    if let Some(text) = node.text() {
        return Ok((word(text)?, None));
    }
    let at = format_args!("tool_choice");
    read::object(node, at)?;
    match read::required_text(node, "type", at)? {
        "function" | "custom" => {
            Ok((ToolChoice::Function(read::required_text(node, "name", at)?.to_owned()), None))
        }
        "allowed_tools" => {
            let names = node.get("tools").map(Node::items).unwrap_or_default().iter();
            let names = names.filter_map(|tool| tool.text_of("name")).map(str::to_owned);
            Ok((word(node.text_of("mode").unwrap_or("auto"))?, Some(names.collect())))
        }
        // A choice of a tool that only OpenAI runs.
        _ => Ok((ToolChoice::Auto, None)),
    }
}

fn text(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    read::object(node, format_args!("text"))?;
    if let Some(verbosity) = node.get("verbosity") {
        request.extra.push(("verbosity".to_owned(), verbosity.raw.to_owned()));
    }
    let Some(format) = node.get("format") else {
        return Ok(());
    };
    let at = format_args!("text.format");
    read::object(format, at)?;
    request.response_format = match read::required_text(format, "type", at)? {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => {
            let param = format_args!("text.format.schema");
            let schema = format.get("schema").ok_or_else(|| read::missing(param))?;
            read::object(schema, param)?;
            ResponseFormat::JsonSchema {
                name: read::required_text(format, "name", at)?.to_owned(),
                description: read::optional_text(format, "description", at)?,
                schema: schema.raw.to_owned(),
                strict: format.get("strict").and_then(Node::boolean),
            }
        }
        _ => {
            let param = format_args!("text.format.type");
            return Err(read::wrong_value(param, "'text', 'json_object' or 'json_schema'"));
        }
    };
    Ok(())
}

fn reasoning(node: &Node<'_>, request: &mut Request) -> Result<(), Failure> {
    let at = format_args!("reasoning");
    read::object(node, at)?;
    let reasoning = request.reasoning.get_or_insert_default();
    reasoning.effort = read::optional_text(node, "effort", at)?;
    reasoning.summary = read::optional_text(node, "summary", at)?;
    if *reasoning == crate::ai::chat::Reasoning::default() {
        request.reasoning = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A choice of a tool that no other provider has is named, not quietly made `auto`.
    #[test]
    fn a_choice_that_cannot_cross_is_told() {
        let decode = |choice: &str| {
            let body = format!(r#"{{"model":"m","input":"x","tool_choice":{choice}}}"#);
            super::decode(body.as_bytes()).unwrap()
        };
        assert_eq!(decode(r#"{"type":"mcp"}"#).lost, ["tool_choice.mcp"]);
        assert_eq!(decode(r#"{"type":"file_search"}"#).lost, ["tool_choice.file_search"]);
        for kind in ["function", "custom"] {
            let request = decode(&format!(r#"{{"type":"{kind}","name":"f"}}"#));
            assert!(request.lost.is_empty());
            assert_eq!(request.tool_choice, Some(ToolChoice::Function("f".into())));
        }
        assert!(decode("\"required\"").lost.is_empty());
    }

    #[test]
    fn items_become_messages() {
        let request = decode(
            br#"{"model":"m","instructions":"be brief","input":[
              {"role":"user","content":[{"type":"input_text","text":"look"},
                {"type":"input_image","image_url":"data:image/png;base64,AA","detail":"low"}]},
              {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"sig"},
              {"type":"message","role":"assistant","content":[{"type":"output_text","text":"ok","annotations":[]}]},
              {"type":"function_call","call_id":"c1__ts__QUJD","name":"f","arguments":"{\"a\":1.0}"},
              {"type":"custom_tool_call","call_id":"c2","name":"g","input":"free \"text\""},
              {"type":"function_call_output","call_id":"c1__ts__QUJD","output":"one"},
              {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_text","text":"two"}]},
              {"type":"web_search_call","id":"x"}],
             "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":false},{"type":"web_search"},
                {"type":"custom","name":"g","description":"d","format":{"type":"grammar","syntax":"regex","definition":"a+"}}],
             "tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"json_schema","name":"n","schema":{}},"verbosity":"low"},
             "reasoning":{"effort":"low","summary":"auto"},"max_output_tokens":9,"store":false,
             "include":["reasoning.encrypted_content"],"truncation":"auto","prompt_cache_key":"k"}"#,
        )
        .unwrap();
        let roles: Vec<Role> = request.messages.iter().map(|m| m.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
        let turn = &request.messages[2].parts;
        assert_eq!(turn.len(), 4, "one turn is one message");
        assert!(
            matches!(&turn[0], Part::Thinking { text, signature: Some(s) } if text == "hm" && s == "sig")
        );
        assert!(matches!(&turn[2], Part::ToolCall(c) if c.id == "c1" && c.signature.is_some()));
        assert!(
            matches!(&turn[3], Part::ToolCall(c) if c.arguments == r#"{"input":"free \"text\""}"#)
        );
        assert_eq!(request.messages[3].parts.len(), 2);
        assert_eq!(request.lost, ["truncation", "web_search_call"]);
        assert_eq!(request.extra.len(), 2);
        assert_eq!(request.custom_tools, ["g"]);
        assert!(matches!(&request.tools[2], Tool::Function { description: Some(d), .. }
            if d.starts_with("d\n") && d.ends_with("(regex):\na+")));
        assert_eq!(request.max_tokens, Some(9));
        assert_eq!(request.reasoning.unwrap().effort.as_deref(), Some("low"));
    }

    #[test]
    fn tools_of_a_namespace_are_functions_with_longer_names() {
        let request = decode(
            br#"{"input":[{"type":"function_call","call_id":"c","namespace":"mcp__git","name":"log","arguments":"{}"},
                {"type":"function_call_output","call_id":"c","output":"done"}],
              "tools":[{"type":"namespace","name":"mcp__git","description":"the repository","tools":[
                {"type":"function","name":"log","description":"its log","parameters":{"type":"object"}},
                {"type":"custom","name":"patch"},{"type":"other"}]}]}"#,
        )
        .unwrap();
        let names: Vec<&str> = request
            .tools
            .iter()
            .filter_map(|tool| match tool {
                Tool::Function { name, .. } => Some(name.as_str()),
                Tool::Provider { .. } => None,
            })
            .collect();
        assert_eq!(names, ["mcp__git__log", "mcp__git__patch"]);
        assert_eq!(request.custom_tools, ["mcp__git__patch"]);
        assert_eq!(request.namespaced[0].own, "log");
        assert!(matches!(&request.tools[0], Tool::Function { description: Some(d), .. }
            if d == "the repository\n\nits log"));
        assert!(matches!(&request.messages[0].parts[0], Part::ToolCall(c) if c.name == names[0]));
        let long = flat_name(&"n".repeat(40), &"m".repeat(40));
        assert_eq!(long.len(), FUNCTION_NAME_BYTES_MAX);
        assert_ne!(long, flat_name(&"n".repeat(40), &"m".repeat(41)));
        assert_eq!(flat_name("mcp__a__", "b"), "mcp__a__b");
    }

    #[test]
    fn state_is_refused_clearly() {
        for (body, param) in [
            (r#"{"input":"a","previous_response_id":"resp_1"}"#, "previous_response_id"),
            (r#"{"input":"a","store":true}"#, "store"),
            (r#"{"input":"a","background":true}"#, "background"),
            (r#"{"input":"a","conversation":"c"}"#, "conversation"),
            (r#"{"input":[{"type":"item_reference","id":"x"}]}"#, "item_reference"),
        ] {
            let failure = decode(body.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400, "{body}");
            assert_eq!(failure.param.as_deref(), Some(param), "{body}");
            assert_eq!(failure.code.as_deref(), Some("unsupported_parameter"), "{body}");
        }
        assert!(decode(br#"{"input":"a","store":false,"previous_response_id":null}"#).is_ok());
    }

    #[test]
    fn wrong_members_are_named() {
        for (body, param) in [
            (r#"{}"#, "input"),
            (r#"{"input":[]}"#, "input"),
            (r#"{"input":5}"#, "input"),
            (r#"{"input":[5]}"#, "input[0]"),
            (r#"{"input":[{"role":"king","content":"a"}]}"#, "input[0].role"),
            (r#"{"input":[{"role":"user","content":[{"type":"x"}]}]}"#, "input[0].content[0].type"),
            (r#"{"input":[{"type":"function_call","name":"f"}]}"#, "input[0].call_id"),
            (
                r#"{"input":"a","text":{"format":{"type":"json_schema","name":"n"}}}"#,
                "text.format.schema",
            ),
            (r#"{"input":"a","max_output_tokens":0}"#, "max_output_tokens"),
            (r#"{"input":"a","tool_choice":"maybe"}"#, "tool_choice"),
        ] {
            let failure = decode(body.as_bytes()).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some(param), "{body}");
        }
    }
}
