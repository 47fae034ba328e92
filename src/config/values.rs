//! The plain types that settings have, and the writing of TOML.
#![forbid(unsafe_code)]

use super::ConfigError;
use super::node::{At, Entry, Node, Value};
use super::schema::{KeySpec, Rule, Scope, Section, Setting, Shape};
use super::secret::{MASK, Secret};
use super::settings::{ModelTarget, RouteRate};

/// The most elements of a list.
const ITEMS_MAX: usize = 10_000;
/// The most characters of a foreign text that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// "`key` is …, expected …" at the value.
pub(crate) fn wrong_type(key: &str, node: &Node, expected: &str) -> ConfigError {
    node.at.error(format!("`{key}` is {}, expected {expected}", node.value.kind()))
}

/// A foreign text as an error may repeat it: one line, bounded.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

impl Setting for bool {
    const SHAPE: Shape = Shape::Toml;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<bool, ConfigError> {
        match node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(wrong_type(key, node, "true or false")),
        }
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl Setting for u64 {
    const SHAPE: Shape = Shape::Toml;

    fn read(key: &str, node: &Node, rule: Rule) -> Result<u64, ConfigError> {
        let (low, high) = match rule {
            Rule::Range(low, high) => (low, high),
            _ => (0, i64::MAX as u64),
        };
        let expected = format!("an integer from {low} to {high}");
        let Value::Integer(integer) = node.value else {
            return Err(wrong_type(key, node, &expected));
        };
        u64::try_from(integer)
            .ok()
            .filter(|value| (low..=high).contains(value))
            .ok_or_else(|| node.at.error(format!("`{key}` is {integer}, expected {expected}")))
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        out.push_str(&self.to_string());
    }
}

impl Setting for u32 {
    const SHAPE: Shape = Shape::Toml;

    fn read(key: &str, node: &Node, rule: Rule) -> Result<u32, ConfigError> {
        let (low, high) = match rule {
            Rule::Range(low, high) => (low, high.min(u64::from(u32::MAX))),
            _ => (0, u64::from(u32::MAX)),
        };
        let value = u64::read(key, node, Rule::Range(low, high))?;
        u32::try_from(value)
            .map_err(|_| node.at.error(format!("`{key}` is too large, expected at most {high}")))
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        out.push_str(&self.to_string());
    }
}

impl Setting for String {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, rule: Rule) -> Result<String, ConfigError> {
        let Value::Text(text) = &node.value else {
            return Err(wrong_type(key, node, "a string"));
        };
        if text.contains('\0') {
            return Err(node.at.error(format!("`{key}` holds a NUL, expected text")));
        }
        match rule {
            Rule::Text(accept) => accept(text).map_err(|expected| {
                node.at.error(format!("`{key}` is \"{}\", expected {expected}", shown(text)))
            })?,
            // Not repeated in the error: it may hold a password.
            Rule::MaskedUrl(accept) => accept(text).map_err(|expected| {
                node.at.error(format!("`{key}` is not usable, expected {expected}"))
            })?,
            _ => {}
        }
        Ok(text.clone())
    }

    fn write(&self, rule: Rule, out: &mut String) {
        match rule {
            Rule::MaskedUrl(_) => write_text(&masked_url(self), out),
            _ => write_text(self, out),
        }
    }
}

impl Setting for Option<String> {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, rule: Rule) -> Result<Option<String>, ConfigError> {
        String::read(key, node, rule).map(Some)
    }

    fn write(&self, rule: Rule, out: &mut String) {
        match self {
            Some(text) => text.write(rule, out),
            None => write_text("", out),
        }
    }
}

impl Setting for Option<Secret> {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, rule: Rule) -> Result<Option<Secret>, ConfigError> {
        Secret::read(key, node, rule).map(|secret| Some(secret).filter(|it| !it.is_empty()))
    }

    fn write(&self, rule: Rule, out: &mut String) {
        match self {
            Some(secret) => secret.write(rule, out),
            None => write_text("", out),
        }
    }

    fn resolve(&mut self, path: &str, scope: &Scope<'_>) -> Result<(), ConfigError> {
        match self {
            Some(secret) => secret.resolve(path, scope),
            None => Ok(()),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    const SHAPE: Shape = match T::SHAPE {
        Shape::Text => Shape::TextList,
        _ => Shape::TomlList,
    };

    fn read(key: &str, node: &Node, rule: Rule) -> Result<Vec<T>, ConfigError> {
        let Value::List(items) = &node.value else {
            return match (rule, &node.value) {
                (Rule::OneOrMany, Value::Text(_)) => Ok(vec![T::read(key, node, rule)?]),
                _ => Err(wrong_type(key, node, "a list")),
            };
        };
        if items.len() > ITEMS_MAX {
            return Err(node.at.error(format!(
                "`{key}` has {} elements, expected at most {ITEMS_MAX}",
                items.len()
            )));
        }
        items.iter().map(|item| T::read(key, item, rule)).collect()
    }

    fn write(&self, rule: Rule, out: &mut String) {
        out.push('[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            item.write(rule, out);
        }
        out.push(']');
    }

    fn resolve(&mut self, path: &str, scope: &Scope<'_>) -> Result<(), ConfigError> {
        for (index, item) in self.iter_mut().enumerate() {
            item.resolve(&format!("{path}[{index}]"), scope)?;
        }
        Ok(())
    }
}

impl Setting for ModelTarget {
    const SHAPE: Shape = Shape::Toml;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<ModelTarget, ConfigError> {
        let Value::Table(entries) = &node.value else {
            return Err(wrong_type(key, node, "tables such as { provider = \"openai\" }"));
        };
        let mut target = ModelTarget::default();
        for entry in entries {
            assign(&mut target, key, entry)?;
        }
        if target.provider.is_empty() {
            return Err(node.at.error("the target has no `provider`, expected one's name"));
        }
        Ok(target)
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        out.push_str("{ ");
        let mut first = true;
        for printed in self.printed() {
            // An absent model has no spelling: an empty one would not load again.
            if printed.key == "model" && printed.is_default {
                continue;
            }
            if !first {
                out.push_str(", ");
            }
            first = false;
            out.push_str(printed.key);
            out.push_str(" = ");
            out.push_str(&printed.value);
        }
        out.push_str(" }");
    }
}

impl Setting for RouteRate {
    const SHAPE: Shape = Shape::Toml;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<RouteRate, ConfigError> {
        let Value::Table(entries) = &node.value else {
            return Err(wrong_type(key, node, "tables such as { path = \"/v1/*\" }"));
        };
        let mut rate = RouteRate::default();
        for entry in entries {
            assign(&mut rate, key, entry)?;
        }
        if rate.path.is_empty() {
            return Err(node.at.error("the limit has no `path`, expected a route's path"));
        }
        Ok(rate)
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        let keys = self.printed().into_iter().map(|it| format!("{} = {}", it.key, it.value));
        let keys: Vec<String> = keys.collect();
        out.push_str(&format!("{{ {} }}", keys.join(", ")));
    }
}

/// Sets one key of a section, or says that there is none of that name and which is nearest.
pub(crate) fn assign(
    section: &mut dyn Section,
    table: &str,
    entry: &Entry,
) -> Result<(), ConfigError> {
    match section.assign(&entry.key, &entry.node) {
        Some(result) => result,
        None => Err(unknown_key(&entry.at, &entry.key, table, section.keys())),
    }
}

/// The error for a key that no section has.
pub(crate) fn unknown_key(at: &At, key: &str, table: &str, known: &[KeySpec]) -> ConfigError {
    let names: Vec<&str> = known.iter().map(|spec| spec.name).collect();
    at.error(format!("unknown key `{}` in {table}, expected {}", shown(key), nearest(key, &names)))
}

/// The known name that `name` was probably meant to be, else all of them.
pub(crate) fn nearest(name: &str, known: &[&str]) -> String {
    let name: Vec<char> = name.chars().take(SHOWN_CHARS_MAX).collect();
    let best = known.iter().map(|word| (distance(&name, word), *word)).min();
    match best {
        // A third of the letters wrong is a slip; more is another word.
        Some((steps, word)) if steps <= word.len().max(3) / 3 => format!("`{word}`"),
        _ => format!("one of {}", known.join(", ")),
    }
}

/// Edits between two words (Levenshtein).
fn distance(name: &[char], word: &str) -> usize {
    let word: Vec<char> = word.chars().collect();
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (index, letter) in name.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&word) {
            let above = *cell;
            let replaced = diagonal + usize::from(letter != other);
            left = replaced.min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(name.len())
}

/// The URL with the password before its `@` masked.
fn masked_url(url: &str) -> String {
    let start = url.find("://").map_or(0, |end| end + 3);
    let (scheme, rest) = url.split_at_checked(start).unwrap_or(("", url));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{MASK}@{host}"),
        None => url.to_owned(),
    }
}

/// Appends a TOML basic string.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
