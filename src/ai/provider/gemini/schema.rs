//! The part of JSON Schema that Gemini's `Schema` is (an OpenAPI 3.0 subset).
//!
//! References are written out, as it knows none; what refers to itself ends in a plain object.
//! `null` among types becomes `nullable`, `const` an `enum` of one, `oneOf` an `anyOf`, `allOf` is
//! merged. Enums that are not of strings, and every other member it would refuse, are left out and
//! told in the description.
#![forbid(unsafe_code)]

use crate::ai::tree::{self, Node, Value};
use crate::ai::write::{self, Array, Object};
use crate::base::error::Failure;

/// Deepest nesting once references are written out.
const DEPTH_MAX: usize = 48;
/// Largest schema once references are written out.
const BYTES_MAX: usize = 1 << 20;

/// Members that are handed on as they are.
const KEPT: [&str; 14] = [
    "title",
    "default",
    "example",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "nullable",
    "propertyOrdering",
];

/// Members that say nothing to a model.
const SILENT: [&str; 8] = [
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "$comment",
    "additionalProperties",
    "$anchor",
    "examples",
];

/// Appends the schema in `text`.
pub(super) fn write(text: &str, param: &'static str, out: &mut Vec<u8>) -> Result<(), Failure> {
    let refuse = |what: &str| {
        Failure::new(400, format!("The schema in '{param}' cannot be put for this model: {what}."))
            .param(param)
            .code("unsupported_schema")
    };
    let root = tree::parse_str(text).map_err(|e| refuse(&e.to_string()))?;
    let mut writer = Writer { root: &root, within: Vec::new(), too_large: false };
    let before = out.len();
    writer.schema(&root, 0, out);
    if writer.too_large || out.len() - before > BYTES_MAX {
        out.truncate(before);
        return Err(refuse("it is too large or too deep once its references are written out"));
    }
    Ok(())
}

/// Whether a schema of arguments has any.
pub(super) fn has_properties(text: &str) -> bool {
    let root = tree::parse_str(text);
    root.is_ok_and(|root| {
        let has_some = root.get("properties").is_some_and(|p| !p.members().is_empty());
        has_some || ["$ref", "anyOf", "oneOf", "allOf"].iter().any(|n| root.get(n).is_some())
    })
}

struct Writer<'r, 'a> {
    root: &'r Node<'a>,
    /// References that are being written out.
    within: Vec<&'r str>,
    too_large: bool,
}

/// What several schemas amount to: `$ref`, `allOf` and lone alternatives taken together. Earlier
/// parts win.
#[derive(Default)]
struct Merged<'r, 'a> {
    parts: Vec<&'r Node<'a>>,
    /// References entered for it.
    entered: usize,
    nullable: bool,
    /// It leads back into itself.
    cyclic: bool,
}

impl<'r, 'a> Merged<'r, 'a> {
    fn get(&self, name: &str) -> Option<&'r Node<'a>> {
        self.parts.iter().find_map(|part| part.get(name))
    }

    fn lists(&self, name: &'static str) -> impl Iterator<Item = &'r Node<'a>> {
        self.parts.iter().filter_map(move |part| part.get(name))
    }
}

impl<'r, 'a> Writer<'r, 'a> {
    fn schema(&mut self, node: &'r Node<'a>, depth: usize, out: &mut Vec<u8>) {
        if depth > DEPTH_MAX || out.len() > BYTES_MAX {
            self.too_large = true;
            out.extend_from_slice(b"{}");
            return;
        }
        let mut merged = Merged::default();
        self.merge(node, &mut merged, 0);
        let mut o = Object::begin(out);
        if merged.cyclic {
            o.string("type", "OBJECT");
        } else {
            self.members(&merged, depth, &mut o);
        }
        o.end();
        self.within.truncate(self.within.len() - merged.entered);
    }

    /// Follows references and takes in what must hold together.
    fn merge(&mut self, node: &'r Node<'a>, merged: &mut Merged<'r, 'a>, steps: usize) {
        if steps > DEPTH_MAX || merged.parts.len() > 256 {
            self.too_large = true;
            return;
        }
        merged.parts.push(node);
        if let Some(name) = node.get("$ref") {
            let Some(name) = name.text() else { return };
            if self.within.contains(&name) {
                merged.cyclic = true;
                return;
            }
            if let Some((name, target)) = self.find(node, name) {
                self.within.push(name);
                merged.entered += 1;
                self.merge(target, merged, steps + 1);
            }
        }
        for part in node.get("allOf").map(Node::items).unwrap_or_default() {
            self.merge(part, merged, steps + 1);
        }
        // An alternative to null alone is the thing itself, or null.
        let alternatives = node.get("anyOf").or(node.get("oneOf")).map(Node::items);
        if let Some(alternatives) = alternatives {
            let others: Vec<&'r Node<'a>> =
                alternatives.iter().filter(|item| !is_null_schema(item)).collect();
            merged.nullable |= others.len() < alternatives.len();
            if let [only] = others.as_slice() {
                self.merge(only, merged, steps + 1);
            }
        }
    }

    /// The schema a reference within the document leads to (RFC 6901), and the reference with the
    /// life of the tree.
    fn find(&self, node: &'r Node<'a>, name: &str) -> Option<(&'r str, &'r Node<'a>)> {
        let pointer = name.strip_prefix('#')?;
        let mut found = self.root;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            found = match &found.value {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => found.get(&step)?,
            };
        }
        let name = node.get("$ref").and_then(Node::text)?;
        Some((name, found))
    }

    fn members(&mut self, merged: &Merged<'r, 'a>, depth: usize, o: &mut Object<'_>) {
        let mut told: Vec<String> = Vec::new();
        let mut nullable = merged.nullable;
        let kinds = kinds(merged, &mut nullable);
        let alternatives = self.alternatives(merged);
        let kind = match kinds.as_slice() {
            [kind] => Some(*kind),
            [] if !alternatives.is_empty() => None,
            [] => Some(infer(merged)),
            _ => None,
        };
        if let Some(kind) = kind {
            o.string("type", &kind.to_ascii_uppercase());
        }
        for name in KEPT {
            if let Some(value) = merged.get(name)
                && name != "nullable"
            {
                o.raw(name, value.raw);
            }
        }
        if nullable || merged.get("nullable").and_then(Node::boolean) == Some(true) {
            o.boolean("nullable", true);
        }
        format(merged, kind, o, &mut told);
        enumeration(merged, kind, o, &mut told);
        if !alternatives.is_empty() {
            let mut array = Array::begin(o.key("anyOf"));
            for item in alternatives {
                self.schema(item, depth + 1, array.item());
            }
            array.end();
        } else if kinds.len() > 1 {
            o.array("anyOf", |all| {
                for kind in &kinds {
                    all.object(|k| {
                        k.string("type", &kind.to_ascii_uppercase());
                    });
                }
            });
        }
        if kind == Some("object") {
            self.properties(merged, depth, o);
        }
        if kind == Some("array") {
            match merged.get("items").filter(|items| items.is_object()) {
                Some(items) => self.schema(items, depth + 1, o.key("items")),
                // It is mandatory.
                None => {
                    o.raw("items", "{\"type\":\"STRING\"}");
                }
            }
        }
        self.describe(merged, told, o);
    }

    /// The alternatives that are more than one.
    fn alternatives(&self, merged: &Merged<'r, 'a>) -> Vec<&'r Node<'a>> {
        let lists = merged.lists("anyOf").chain(merged.lists("oneOf"));
        for list in lists {
            let others: Vec<&'r Node<'a>> =
                list.items().iter().filter(|item| !is_null_schema(item)).collect();
            if others.len() > 1 {
                return others;
            }
        }
        Vec::new()
    }

    fn properties(&mut self, merged: &Merged<'r, 'a>, depth: usize, o: &mut Object<'_>) {
        let mut names: Vec<&str> = Vec::new();
        let members = merged.lists("properties").flat_map(Node::members);
        let members: Vec<_> = members.collect();
        if members.is_empty() {
            return;
        }
        let mut properties = Object::begin(o.key("properties"));
        for (name, value) in members {
            if names.contains(&name.as_ref()) {
                continue;
            }
            names.push(name);
            self.schema(value, depth + 1, properties.foreign_key(name));
        }
        properties.end();
        // A required name without a property is refused.
        let required = merged.lists("required").flat_map(Node::items).filter_map(Node::text);
        let mut required: Vec<&str> = required.filter(|name| names.contains(name)).collect();
        required.dedup();
        if !required.is_empty() {
            o.array("required", |all| {
                for name in required {
                    all.string(name);
                }
            });
        }
    }

    fn describe(&self, merged: &Merged<'r, 'a>, mut told: Vec<String>, o: &mut Object<'_>) {
        for (name, value) in merged.parts.iter().flat_map(|part| part.members()) {
            let name = name.as_ref();
            let is_known = KEPT.contains(&name)
                || SILENT.contains(&name)
                || [
                    "type",
                    "$ref",
                    "anyOf",
                    "oneOf",
                    "allOf",
                    "format",
                    "enum",
                    "const",
                    "items",
                    "properties",
                    "required",
                    "description",
                ]
                .contains(&name);
            if !is_known {
                told.push(format!("{name}: {}", value.raw));
            }
        }
        let description = merged.get("description").and_then(Node::text).unwrap_or_default();
        let mut description = description.to_owned();
        if !told.is_empty() {
            if !description.is_empty() {
                description.push_str("\n\n");
            }
            description.push_str(&format!("{{{}}}", told.join(", ")));
        }
        if !description.is_empty() {
            o.string("description", &description);
        }
    }
}

fn is_null_schema(node: &Node<'_>) -> bool {
    node.text_of("type") == Some("null")
}

/// The types besides null.
fn kinds<'r>(merged: &Merged<'r, '_>, nullable: &mut bool) -> Vec<&'r str> {
    let Some(node) = merged.get("type") else { return Vec::new() };
    let all: Vec<&'r str> = match node.text() {
        Some(kind) => vec![kind],
        None => node.items().iter().filter_map(Node::text).collect(),
    };
    *nullable |= all.contains(&"null");
    all.into_iter().filter(|kind| *kind != "null").collect()
}

/// The type of a schema that names none.
fn infer(merged: &Merged<'_, '_>) -> &'static str {
    if merged.get("properties").is_some() {
        return "object";
    }
    if merged.get("items").is_some() {
        return "array";
    }
    let sample = merged.get("const").or(merged.get("enum").and_then(|e| e.items().first()));
    match sample.map(|node| &node.value) {
        Some(Value::Number) => "number",
        Some(Value::Bool(_)) => "boolean",
        _ => "string",
    }
}

/// Formats it knows; the rest is told.
fn format(merged: &Merged<'_, '_>, kind: Option<&str>, o: &mut Object<'_>, told: &mut Vec<String>) {
    let Some(node) = merged.get("format") else { return };
    let is_known = match kind {
        Some("string") => matches!(node.text(), Some("enum" | "date-time")),
        Some("number") => matches!(node.text(), Some("float" | "double")),
        Some("integer") => matches!(node.text(), Some("int32" | "int64")),
        _ => false,
    };
    if is_known {
        o.raw("format", node.raw);
    } else {
        told.push(format!("format: {}", node.raw));
    }
}

/// Enums are of strings only.
fn enumeration(
    merged: &Merged<'_, '_>,
    kind: Option<&str>,
    o: &mut Object<'_>,
    told: &mut Vec<String>,
) {
    let values: Vec<&Node<'_>> = match (merged.get("enum"), merged.get("const")) {
        (Some(list), _) => list.items().iter().filter(|item| !item.is_null()).collect(),
        (None, Some(only)) => vec![only],
        (None, None) => return,
    };
    if kind == Some("string") && values.iter().all(|value| value.text().is_some()) {
        o.array("enum", |all| {
            for value in values {
                write::string(all.item(), value.text().unwrap_or_default());
            }
        });
    } else {
        let raw: Vec<&str> = values.iter().map(|value| value.raw).collect();
        told.push(format!("enum: [{}]", raw.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expected: serde_json::Value) {
        let mut out = Vec::new();
        write(schema, "tools", &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value, expected, "{schema}");
    }

    #[test]
    fn references_are_written_out() {
        check(
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/A","description":"mine"},
                "b":{"type":"array","items":{"$ref":"#/$defs/A"}}},"required":["a","ghost"],
                "$defs":{"A":{"type":"string","description":"theirs","format":"uuid"}},"additionalProperties":false}"##,
            serde_json::json!({"type":"OBJECT","properties":{
                "a":{"type":"STRING","description":"mine\n\n{format: \"uuid\"}"},
                "b":{"type":"ARRAY","items":{"type":"STRING","description":"theirs\n\n{format: \"uuid\"}"}}},
                "required":["a"]}),
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        check(
            r##"{"$ref":"#/$defs/T","$defs":{"T":{"type":"object","properties":{
                "v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/T"},{"type":"null"}]}}}}}"##,
            serde_json::json!({"type":"OBJECT","properties":{"v":{"type":"INTEGER"},
                "next":{"type":"OBJECT"}}}),
        );
        check(r##"{"$ref":"#"}"##, serde_json::json!({"type":"OBJECT"}));
    }

    #[test]
    fn a_schema_that_explodes_is_refused() {
        // Each level names the next one ten times.
        let mut defs = String::new();
        for level in 0..20 {
            let next = level + 1;
            let properties: Vec<String> =
                (0..10).map(|i| format!(r##""p{i}":{{"$ref":"#/$defs/D{next}"}}"##)).collect();
            defs.push_str(&format!(
                r#""D{level}":{{"type":"object","properties":{{{}}}}},"#,
                properties.join(",")
            ));
        }
        let schema =
            format!(r##"{{"$ref":"#/$defs/D0","$defs":{{{defs}"D20":{{"type":"string"}}}}}}"##);
        let failure = write(&schema, "tools", &mut Vec::new()).unwrap_err();
        assert_eq!(failure.status, 400);
        // A chain of references longer than any schema needs.
        let chain: Vec<String> = (0..5000)
            .map(|i| format!(r##""D{i}":{{"allOf":[{{"$ref":"#/$defs/D{}"}}]}}"##, i + 1))
            .collect();
        let schema = format!(r##"{{"$ref":"#/$defs/D0","$defs":{{{}}}}}"##, chain.join(","));
        assert!(write(&schema, "tools", &mut Vec::new()).is_err());
    }

    #[test]
    fn types_take_its_form() {
        for (schema, expected) in [
            (r#"{"type":["string","null"]}"#, serde_json::json!({"type":"STRING","nullable":true})),
            (
                r#"{"type":["string","integer"]}"#,
                serde_json::json!({"anyOf":[{"type":"STRING"},{"type":"INTEGER"}]}),
            ),
            (
                r#"{"anyOf":[{"type":"string","minLength":2},{"type":"null"}]}"#,
                serde_json::json!({"type":"STRING","minLength":2,"nullable":true}),
            ),
            (
                r#"{"oneOf":[{"type":"string"},{"type":"number"},{"type":"null"}]}"#,
                serde_json::json!({"anyOf":[{"type":"STRING"},{"type":"NUMBER"}],"nullable":true}),
            ),
            (r#"{"const":"a"}"#, serde_json::json!({"type":"STRING","enum":["a"]})),
            (
                r#"{"type":"integer","enum":[1,2],"exclusiveMinimum":0}"#,
                serde_json::json!({"type":"INTEGER","description":"{enum: [1, 2], exclusiveMinimum: 0}"}),
            ),
            (
                r#"{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{}}}]}"#,
                serde_json::json!({"type":"OBJECT","properties":{"a":{"type":"STRING"},"b":{"type":"STRING"}}}),
            ),
            (r#"{"type":"array"}"#, serde_json::json!({"type":"ARRAY","items":{"type":"STRING"}})),
            (
                r#"{"type":"string","format":"date-time"}"#,
                serde_json::json!({"type":"STRING","format":"date-time"}),
            ),
            (r#"{"type":"object"}"#, serde_json::json!({"type":"OBJECT"})),
        ] {
            check(schema, expected);
        }
        assert!(!has_properties(r#"{"type":"object","properties":{}}"#));
        assert!(has_properties(r#"{"type":"object","properties":{"a":{}}}"#));
    }
}
