//! A configuration as TOML again, with every secret masked.
#![forbid(unsafe_code)]

use std::fmt;

use super::Config;
use super::node::{Entry, Node, Value, parse_document};
use super::parts::{self, PARTS, Part};
use super::schema::Section;
use super::secret::MASK;
use super::values::{shown, write_text};

/// Words in a plugin's keys whose values are not printed: what they mean is the plugin's affair.
const SECRET_WORDS: &[&str] = &["key", "secret", "token", "pass", "credential", "auth"];

impl Config {
    /// The whole configuration as TOML, every key with its value. A secret is printed as the
    /// `env:NAME` it was read from, else as `***`; the text loads again.
    pub fn to_toml_masked(&self) -> String {
        let mut out = String::new();
        for file in &self.files {
            out.push_str(&format!("# from {}\n", shown(&file.display().to_string())));
        }
        let mut config = self.clone();
        for (name, _) in PARTS {
            match parts::part(&mut config, name) {
                Some(Part::Section(section)) => {
                    write_section(&format!("[{name}]"), section, &mut out)
                }
                Some(Part::Tables(tables)) => {
                    for index in 0..tables.len() {
                        if let Some(section) = tables.get(index) {
                            write_section(&format!("[[{name}]]"), section, &mut out);
                        }
                    }
                }
                Some(Part::Plugins) => self.write_plugins(&mut out),
                None => {}
            }
        }
        out
    }

    fn write_plugins(&self, out: &mut String) {
        for (name, text) in &self.plugin {
            open(&format!("[plugin.{}]", key_text(name)), out);
            // It was written by `plugin_text`, so it parses.
            let mut entries = parse_document(name, text).unwrap_or_default();
            mask(&mut entries);
            out.push_str(&plugin_text(&entries));
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_toml_masked())
    }
}

/// A plugin's table as TOML text, one key a line; tables in it are written inline.
pub(crate) fn plugin_text(entries: &[Entry]) -> String {
    let mut out = String::new();
    for entry in entries {
        out.push_str(&key_text(&entry.key));
        out.push_str(" = ");
        write_value(&entry.node, &mut out);
        out.push('\n');
    }
    out
}

fn write_section(header: &str, section: &dyn Section, out: &mut String) {
    open(header, out);
    for printed in section.printed() {
        out.push_str(&format!("{} = {}\n", printed.key, printed.value));
    }
}

fn open(header: &str, out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
}

fn key_text(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_bare) {
        return key.to_owned();
    }
    let mut out = String::new();
    write_text(key, &mut out);
    out
}

fn write_value(node: &Node, out: &mut String) {
    match &node.value {
        Value::Text(text) => write_text(text, out),
        Value::Integer(integer) => out.push_str(&integer.to_string()),
        Value::Float(text) | Value::Date(text) => out.push_str(text),
        Value::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Table(entries) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { " " });
                out.push_str(&key_text(&entry.key));
                out.push_str(" = ");
                write_value(&entry.node, out);
            }
            out.push_str(" }");
        }
    }
}

/// Masks texts, also inside lists and tables, under keys that sound like secrets.
fn mask(entries: &mut [Entry]) {
    for entry in entries {
        let key = entry.key.to_ascii_lowercase();
        let is_secret = SECRET_WORDS.iter().any(|word| key.contains(word));
        mask_value(&mut entry.node.value, is_secret);
    }
}

fn mask_value(value: &mut Value, is_secret: bool) {
    match value {
        Value::Text(text) if is_secret => MASK.clone_into(text),
        Value::List(items) => {
            items.iter_mut().for_each(|item| mask_value(&mut item.value, is_secret));
        }
        Value::Table(entries) if is_secret => {
            entries.iter_mut().for_each(|entry| mask_value(&mut entry.node.value, true));
        }
        Value::Table(entries) => mask(entries),
        _ => {}
    }
}
