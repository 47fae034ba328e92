//! What the pass-through of one dialect to the same dialect reads of a request body: a few
//! top-level members, found without building a tree, and the bytes to patch.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::ai::tree::{self, Node};
use crate::ai::write;
use crate::base::error::Failure;
use crate::json::{self, JsonError};

/// The members that are acted on. The order is that of the constants below.
const WANTED: [&str; 10] = [
    "model",
    "stream",
    "stream_options",
    "temperature",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "user",
    "n",
];

/// What stands in a body, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// `model`.
    pub model: Option<String>,
    /// Where the value of `model` stands, with its quotes.
    pub model_range: Option<Range<usize>>,
    /// `stream`; absent and null are false.
    pub stream: bool,
    /// Where the value of `stream` stands, null included.
    pub stream_range: Option<Range<usize>>,
    /// Where the value of `stream_options` stands.
    pub stream_options_range: Option<Range<usize>>,
    /// `stream_options.include_usage`; absent and null are false.
    pub include_usage: bool,
    /// `temperature`.
    pub temperature: Option<f64>,
    /// Whether there is a `seed`.
    pub seeded: bool,
    /// `max_tokens`, `max_completion_tokens` or `max_output_tokens`.
    pub max_tokens: Option<u64>,
    /// `user`.
    pub user: Option<String>,
    /// `n`.
    pub n: Option<u64>,
}

/// Scans a body. Not JSON, not an object, a member we act on twice or of the wrong type: 400.
pub fn scan(body: &[u8]) -> Result<Scan, Failure> {
    let mut found: [Option<Range<usize>>; WANTED.len()] = Default::default();
    json::members(body, &WANTED, &mut found).map_err(refusal)?;
    let [
        model,
        stream,
        options,
        temperature,
        seed,
        max_tokens,
        max_completion,
        max_output,
        user,
        n,
    ] = found;
    let mut scan = Scan::default();
    if let Some((range, node)) = value(body, model)? {
        scan.model = Some(text(&node, "model")?);
        scan.model_range = Some(range);
    }
    scan.stream_range = stream.clone();
    match stream.clone().and_then(|range| body.get(range)) {
        Some(b"true") => scan.stream = true,
        Some(b"false" | b"null") | None => {}
        Some(_) => {
            if let Some((_, node)) = value(body, stream)? {
                return Err(wrong("stream", "a boolean", &node));
            }
        }
    }
    if let Some((range, node)) = value(body, options)? {
        if !node.is_object() {
            return Err(wrong("stream_options", "an object", &node));
        }
        if let Some(include) = node.get("include_usage") {
            scan.include_usage = include
                .boolean()
                .ok_or_else(|| wrong("stream_options.include_usage", "a boolean", include))?;
        }
        scan.stream_options_range = Some(range);
    }
    if let Some((_, node)) = value(body, temperature)? {
        let number = node.float().ok_or_else(|| wrong("temperature", "a number", &node))?;
        scan.temperature = Some(number);
    }
    scan.seeded = value(body, seed)?.is_some();
    for (range, name) in [
        (max_tokens, "max_tokens"),
        (max_completion, "max_completion_tokens"),
        (max_output, "max_output_tokens"),
    ] {
        if let Some(number) = range.clone().and_then(|r| tree::digits(body.get(r)?)) {
            scan.max_tokens = Some(number);
        } else if let Some((_, node)) = value(body, range)? {
            let number = node.unsigned().ok_or_else(|| wrong(name, "a whole number", &node))?;
            scan.max_tokens = Some(number);
        }
    }
    if let Some((_, node)) = value(body, user)? {
        scan.user = Some(text(&node, "user")?);
    }
    if let Some((_, node)) = value(body, n)? {
        scan.n = Some(node.unsigned().ok_or_else(|| wrong("n", "a whole number", &node))?);
    }
    Ok(scan)
}

/// Whom a request comes from where it has no `user`: OpenAI's later names for it, and Anthropic's.
/// As the JSON stands.
pub fn user_elsewhere(body: &[u8]) -> Option<Vec<u8>> {
    let mut found: [Option<Range<usize>>; 3] = Default::default();
    json::members(body, &["prompt_cache_key", "safety_identifier", "metadata"], &mut found).ok()?;
    let [cache_key, identifier, metadata] =
        found.map(|range| body.get(range?).filter(|value| *value != b"null"));
    let is_text = |value: &&[u8]| value.starts_with(b"\"");
    let said = cache_key.filter(is_text).or(identifier.filter(is_text)).or_else(|| {
        let metadata = metadata?;
        let mut found = [None];
        json::members(metadata, &["user_id"], &mut found).ok()?;
        metadata.get(found[0].clone()?).filter(is_text)
    })?;
    Some(said.to_vec())
}

/// What to change in a body that passes through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patch<'p> {
    /// The provider's name of the model.
    pub model: Option<&'p str>,
    /// Ask for the usage of a stream (`stream_options.include_usage`), for our own count. Hide it
    /// from a client that did not ask: [`crate::ai::usage::Filter`].
    pub include_usage: bool,
}

/// The body with `model` in place of its model.
pub fn patch_model(body: &[u8], scan: &Scan, model: &str) -> Vec<u8> {
    patch(body, scan, &Patch { model: Some(model), include_usage: false })
}

/// The body with the changes of `patch`; all other bytes stay as they are. `scan` must be of the
/// same body.
pub fn patch(body: &[u8], scan: &Scan, patch: &Patch<'_>) -> Vec<u8> {
    // (range to replace, its new bytes), in any order; insertions have an empty range.
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    // Behind the opening brace. A body that scanned well has one.
    let front = body.iter().position(|&b| b == b'{').map_or(0, |at| at + 1);
    let is_empty = body.get(front..).is_none_or(|rest| {
        rest.iter().find(|b| !b.is_ascii_whitespace()).is_none_or(|&b| b == b'}')
    });
    let mut inserted = Vec::new();
    if let Some(model) = patch.model
        && scan.model.as_deref() != Some(model)
    {
        let mut value = Vec::new();
        write::string(&mut value, model);
        match &scan.model_range {
            Some(range) => edits.push((range.clone(), value)),
            None => {
                inserted.extend_from_slice(b"\"model\":");
                inserted.extend_from_slice(&value);
            }
        }
    }
    if patch.include_usage && !scan.include_usage {
        match &scan.stream_options_range {
            Some(range) => {
                let value = body.get(range.clone()).unwrap_or(&[]);
                edits.push((range.clone(), with_usage(value)));
            }
            None => {
                if !inserted.is_empty() {
                    inserted.push(b',');
                }
                inserted.extend_from_slice(b"\"stream_options\":{\"include_usage\":true}");
            }
        }
    }
    if !inserted.is_empty() {
        if !is_empty {
            inserted.push(b',');
        }
        edits.push((front..front, inserted));
    }
    edits.sort_by_key(|(range, _)| range.start);
    let more: usize = edits.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut out = Vec::with_capacity(body.len() + more);
    let mut from = 0;
    for (range, bytes) in &edits {
        out.extend_from_slice(body.get(from..range.start).unwrap_or(&[]));
        out.extend_from_slice(bytes);
        from = range.end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or(&[]));
    out
}

/// The body with `stream` set to this; all other bytes stay as they are. `scan` must be of the same
/// body.
pub fn set_stream(body: &[u8], scan: &Scan, stream: bool) -> Vec<u8> {
    let value: &[u8] = if stream { b"true" } else { b"false" };
    if let Some(range) = &scan.stream_range {
        return crate::json::replace(body, range.clone(), value);
    }
    if !stream {
        return body.to_vec();
    }
    let front = body.iter().position(|&b| b == b'{').map_or(0, |at| at + 1);
    let mut member = b"\"stream\":true".to_vec();
    let rest = body.get(front..).unwrap_or(&[]);
    if rest.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|&b| b != b'}') {
        member.push(b',');
    }
    crate::json::replace(body, front..front, &member)
}

/// `stream_options` with `include_usage` true, its other members kept.
fn with_usage(options: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let tree = tree::parse(options).ok();
    write::object(&mut out, |o| {
        for (name, node) in tree.iter().flat_map(Node::members) {
            if name != "include_usage" {
                o.foreign(name, node.raw);
            }
        }
        o.boolean("include_usage", true);
    });
    out
}

/// The value in a range; none when it is absent or null.
fn value(
    body: &[u8],
    range: Option<Range<usize>>,
) -> Result<Option<(Range<usize>, Node<'_>)>, Failure> {
    let Some(range) = range else { return Ok(None) };
    let raw = body.get(range.clone()).unwrap_or(&[]);
    let node = match tree::glance(raw) {
        Some(node) => node,
        None => tree::parse(raw).map_err(|e| invalid(&e.to_string()))?,
    };
    Ok((!node.is_null()).then_some((range, node)))
}

fn text(node: &Node<'_>, param: &'static str) -> Result<String, Failure> {
    node.text().map(str::to_owned).ok_or_else(|| wrong(param, "a string", node))
}

fn wrong(param: &'static str, expected: &str, node: &Node<'_>) -> Failure {
    let found = node.type_name();
    Failure::new(
        400,
        format!("Invalid type for '{param}': expected {expected}, but got {found} instead."),
    )
    .param(param)
    .code("invalid_type")
}

fn refusal(error: JsonError) -> Failure {
    match error {
        JsonError::Syntax { .. } => invalid(&error.to_string()),
        JsonError::NotAnObject => {
            Failure::new(400, "The body must be a JSON object.").code("invalid_type")
        }
        JsonError::Duplicate { index } => {
            let name = WANTED.get(index).copied().unwrap_or_default();
            Failure::new(400, format!("The member '{name}' stands there twice."))
                .param(name)
                .code("duplicate_member")
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(400, format!("The body of the request is not valid JSON: {what}."))
        .code("invalid_json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_acts_on() {
        let body = br#" {"messages":[{"model":"inner"}],"model":"gp\u0074","stream":true,
            "stream_options":{"include_usage":true},"temperature":0,"seed":1,"max_tokens":5,"user":"u"}"#;
        let scan = scan(body).unwrap();
        assert_eq!(scan.model.as_deref(), Some("gpt"));
        assert_eq!(&body[scan.model_range.clone().unwrap()], br#""gp\u0074""#);
        assert!(scan.stream && scan.include_usage && scan.seeded);
        assert_eq!(scan.temperature, Some(0.0));
        assert_eq!(scan.max_tokens, Some(5));
        assert_eq!(scan.user.as_deref(), Some("u"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param, code) in [
            ("{\"model\":1}", Some("model"), "invalid_type"),
            ("{\"model\":\"a\",\"model\":\"b\"}", Some("model"), "duplicate_member"),
            ("{\"stream\":\"true\"}", Some("stream"), "invalid_type"),
            ("{\"stream_options\":[]}", Some("stream_options"), "invalid_type"),
            ("{\"temperature\":\"0\"}", Some("temperature"), "invalid_type"),
            ("{\"max_tokens\":1.5}", Some("max_tokens"), "invalid_type"),
            ("[]", None, "invalid_type"),
            ("{", None, "invalid_json"),
            ("{} x", None, "invalid_json"),
            ("", None, "invalid_json"),
        ] {
            let failure = scan(body.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400, "{body}");
            assert_eq!(failure.param.as_deref(), param, "{body}");
            assert_eq!(failure.code.as_deref(), Some(code), "{body}");
        }
        let nothing = Scan { stream_range: Some(23..27), ..Scan::default() };
        assert_eq!(scan(b"{\"model\":null,\"stream\":null}").unwrap(), nothing);
    }

    #[test]
    fn patches_only_what_it_must() {
        for (body, usage, expected) in [
            (r#"{"a": 1.0, "model" : "x" }"#, false, r#"{"a": 1.0, "model" : "new" }"#),
            (r#"{"a":1}"#, false, r#"{"model":"new","a":1}"#),
            (r#"{ }"#, false, r#"{"model":"new" }"#),
            (r#"{"model":"new"}"#, false, r#"{"model":"new"}"#),
            (
                r#"{"model":"x","stream":true}"#,
                true,
                r#"{"stream_options":{"include_usage":true},"model":"new","stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":false,"x":1},"model":"x"}"#,
                true,
                r#"{"stream_options":{"x":1,"include_usage":true},"model":"new"}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":true},"model":"x"}"#,
                true,
                r#"{"stream_options":{"include_usage":true},"model":"new"}"#,
            ),
        ] {
            let scan = scan(body.as_bytes()).unwrap();
            let patch_all = Patch { model: Some("new"), include_usage: usage };
            let out = patch(body.as_bytes(), &scan, &patch_all);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
