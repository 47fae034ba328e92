//! The part of JSON Schema that Anthropic's structured outputs take.
//!
//! Objects must forbid further properties; bounds and patterns are refused. What is left out is
//! told in the description, where the model may still heed it, as Anthropic's own clients do.
#![forbid(unsafe_code)]

use crate::ai::tree::{self, Node};
use crate::ai::write;

const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Appends the schema in `text`.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    match tree::parse_str(text) {
        Ok(node) => schema(&node, out),
        Err(_) => out.extend_from_slice(b"{}"),
    }
}

fn schema(node: &Node<'_>, out: &mut Vec<u8>) {
    if !node.is_object() {
        out.extend_from_slice(b"{}");
        return;
    }
    let is_object = node.text_of("type") == Some("object") || node.get("properties").is_some();
    write::object(out, |o| {
        let mut left_out: Vec<(&str, &str)> = Vec::new();
        let mut has_description = false;
        for (name, value) in node.members() {
            match name.as_ref() {
                "$defs" | "definitions" | "properties" => {
                    map(value, o.foreign_key(name));
                }
                "items" => schema(value, o.key("items")),
                "anyOf" | "allOf" => list(value, o.key(name)),
                // It is told apart from `anyOf` by checks the model is not under.
                "oneOf" => list(value, o.key("anyOf")),
                "format" if value.text().is_some_and(|f| FORMATS.contains(&f)) => {
                    o.raw("format", value.raw);
                }
                "minItems" if matches!(value.unsigned(), Some(0 | 1)) => {
                    o.raw("minItems", value.raw);
                }
                "type" | "$ref" | "enum" | "const" | "title" | "required" | "default" => {
                    o.raw(name, value.raw);
                }
                "description" => has_description = value.text().is_some(),
                "additionalProperties" | "$schema" | "$id" => {}
                _ => left_out.push((name, value.raw)),
            }
        }
        if is_object {
            o.boolean("additionalProperties", false);
        }
        let mut description = String::new();
        if has_description {
            description.push_str(node.text_of("description").unwrap_or_default());
        }
        if !left_out.is_empty() {
            if has_description {
                description.push_str("\n\n");
            }
            let told: Vec<String> =
                left_out.iter().map(|(name, raw)| format!("{name}: {raw}")).collect();
            description.push_str(&format!("{{{}}}", told.join(", ")));
        }
        if !description.is_empty() {
            o.string("description", &description);
        }
    });
}

fn map(node: &Node<'_>, out: &mut Vec<u8>) {
    write::object(out, |o| {
        for (name, value) in node.members() {
            schema(value, o.foreign_key(name));
        }
    });
}

fn list(node: &Node<'_>, out: &mut Vec<u8>) {
    let mut array = write::Array::begin(out);
    for item in node.items() {
        schema(item, array.item());
    }
    array.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_told_in_words() {
        let text = r##"{"$schema":"x","type":"object","properties":{
            "n":{"type":"integer","minimum":1,"maximum":10,"description":"A number"},
            "e":{"oneOf":[{"const":"a"},{"$ref":"#/$defs/D"}]},
            "l":{"type":"array","items":{"type":"string","format":"regex"},"minItems":3}},
            "required":["n"],"additionalProperties":true,
            "$defs":{"D":{"type":"object","properties":{"x":{"type":"string","format":"date"}}}}}"##;
        let mut out = Vec::new();
        schema(&tree::parse_str(text).unwrap(), &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"type":"object","properties":{
                "n":{"type":"integer","description":"A number\n\n{minimum: 1, maximum: 10}"},
                "e":{"anyOf":[{"const":"a"},{"$ref":"#/$defs/D"}]},
                "l":{"type":"array","items":{"type":"string","description":"{format: \"regex\"}"},
                     "description":"{minItems: 3}"}},
                "required":["n"],"additionalProperties":false,
                "$defs":{"D":{"type":"object","properties":{"x":{"type":"string","format":"date"}},
                    "additionalProperties":false}}})
        );
    }
}
