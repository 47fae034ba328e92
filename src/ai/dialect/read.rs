//! Reading request members, with errors in OpenAI's words. Messages name members and types, never
//! values: a value may be part of a prompt.
#![forbid(unsafe_code)]

use std::fmt;

use crate::ai::chat::{Number, Source};
use crate::ai::tree::{self, Node};
use crate::base::error::Failure;

/// Parses a request body, an object without repeated members, nor those of a turn in `messages` or `input`:
/// a guard that reads one of two contents would let the other one pass.
pub(super) fn body(bytes: &[u8]) -> Result<Node<'_>, Failure> {
    let node = tree::parse(bytes).map_err(|e| {
        Failure::new(400, format!("The body of the request is not valid JSON: {e}."))
            .code("invalid_json")
    })?;
    if !node.is_object() {
        let found = node.type_name();
        return Err(Failure::new(400, format!("The body must be a JSON object, not {found}."))
            .code("invalid_type"));
    }
    let turns = ["messages", "input"].into_iter().filter_map(|name| node.get(name));
    let objects = std::iter::once(&node).chain(turns.flat_map(Node::items));
    if let Some(twice) = objects.into_iter().find_map(repeated) {
        let name: String = twice.chars().take(64).collect();
        return Err(Failure::new(400, format!("The member '{name}' stands there twice."))
            .param(name)
            .code("duplicate_member"));
    }
    Ok(node)
}

/// The name of a member that an object has twice.
fn repeated<'n>(object: &'n Node<'_>) -> Option<&'n str> {
    let mut names: Vec<&str> = object.members().iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair.first() == pair.last())?.first().copied()
}

/// A member has the wrong type.
pub(super) fn wrong_type(param: fmt::Arguments<'_>, expected: &str, node: &Node<'_>) -> Failure {
    let param = param.to_string();
    let found = node.type_name();
    let message =
        format!("Invalid type for '{param}': expected {expected}, but got {found} instead.");
    Failure::new(400, message).param(param).code("invalid_type")
}

/// A member is not there.
pub(super) fn missing(param: fmt::Arguments<'_>) -> Failure {
    let param = param.to_string();
    Failure::new(400, format!("Missing required parameter: '{param}'."))
        .param(param)
        .code("missing_required_parameter")
}

/// A member has a value that is none of those it may have.
pub(super) fn wrong_value(param: fmt::Arguments<'_>, expected: &str) -> Failure {
    let param = param.to_string();
    Failure::new(400, format!("Invalid value for '{param}': expected {expected}."))
        .param(param)
        .code("invalid_value")
}

/// A string.
pub(super) fn text<'n>(node: &'n Node<'_>, param: fmt::Arguments<'_>) -> Result<&'n str, Failure> {
    node.text().ok_or_else(|| wrong_type(param, "a string", node))
}

/// The string member `name` of `object`, which must be there.
pub(super) fn required_text<'n>(
    object: &'n Node<'_>,
    name: &str,
    at: fmt::Arguments<'_>,
) -> Result<&'n str, Failure> {
    match object.get(name) {
        Some(node) => text(node, format_args!("{at}.{name}")),
        None => Err(missing(format_args!("{at}.{name}"))),
    }
}

/// The string member `name` of `object`, if it is there.
pub(super) fn optional_text(
    object: &Node<'_>,
    name: &str,
    at: fmt::Arguments<'_>,
) -> Result<Option<String>, Failure> {
    match object.get(name) {
        Some(node) => text(node, format_args!("{at}.{name}")).map(|t| Some(t.to_owned())),
        None => Ok(None),
    }
}

/// A boolean.
pub(super) fn boolean(node: &Node<'_>, param: fmt::Arguments<'_>) -> Result<bool, Failure> {
    node.boolean().ok_or_else(|| wrong_type(param, "a boolean", node))
}

/// A number.
pub(super) fn number(node: &Node<'_>, param: fmt::Arguments<'_>) -> Result<Number, Failure> {
    match node.float() {
        Some(_) => Ok(Number::from_text(node.raw)),
        None => Err(wrong_type(param, "a number", node)),
    }
}

/// A number within bounds.
pub(super) fn number_within(
    node: &Node<'_>,
    param: &str,
    low: f64,
    high: f64,
) -> Result<Number, Failure> {
    let number = number(node, format_args!("{param}"))?;
    if !(low..=high).contains(&number.value()) {
        return Err(wrong_value(
            format_args!("{param}"),
            &format!("a number from {low} to {high}"),
        ));
    }
    Ok(number)
}

/// A whole number from `low` on.
pub(super) fn unsigned_from(
    node: &Node<'_>,
    param: fmt::Arguments<'_>,
    low: u64,
) -> Result<u64, Failure> {
    if node.float().is_none() {
        return Err(wrong_type(param, "an integer", node));
    }
    match node.unsigned() {
        Some(value) if value >= low => Ok(value),
        _ => Err(wrong_value(param, &format!("an integer from {low} on"))),
    }
}

/// An array's items.
pub(super) fn items<'n, 'a>(
    node: &'n Node<'a>,
    param: fmt::Arguments<'_>,
) -> Result<&'n [Node<'a>], Failure> {
    if !node.is_array() {
        return Err(wrong_type(param, "an array", node));
    }
    Ok(node.items())
}

/// Checks that a value is an object.
pub(super) fn object<'n, 'a>(
    node: &'n Node<'a>,
    param: fmt::Arguments<'_>,
) -> Result<&'n Node<'a>, Failure> {
    if !node.is_object() {
        return Err(wrong_type(param, "an object", node));
    }
    Ok(node)
}

/// A string or a list of strings.
pub(super) fn texts(node: &Node<'_>, param: &str) -> Result<Vec<String>, Failure> {
    if let Some(text) = node.text() {
        return Ok(vec![text.to_owned()]);
    }
    if !node.is_array() {
        return Err(wrong_type(format_args!("{param}"), "a string or an array of strings", node));
    }
    let each = node.items().iter().enumerate();
    each.map(|(i, item)| text(item, format_args!("{param}[{i}]")).map(str::to_owned)).collect()
}

/// Where an address points: a `data:` URL (RFC 2397) in base64 is taken apart.
pub(super) fn source(url: &str) -> Source {
    if let Some((head, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(','))
        && let Some(media_type) = head.strip_suffix(";base64")
    {
        let media_type = media_type.split(';').next().unwrap_or_default();
        return Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() };
    }
    Source::Url(url.to_owned())
}
