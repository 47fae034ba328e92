//! A value of any layer together with the place it came from.
//!
//! TOML documents, variables and `--set` values all become [`Node`]s, so that what reads them
//! into settings knows one form only, and an error can always name its place. Places are a byte
//! offset until an error needs line and column: counting them for every value of a large file
//! would be quadratic.
#![forbid(unsafe_code)]

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// Tables and lists inside each other, at most. The grammar itself stops a little later.
const DEPTH_MAX: usize = 64;

/// A text that settings were read from.
#[derive(Debug)]
pub(crate) struct Source {
    /// A file's path, a variable, or a key given on the command line.
    name: String,
    /// What its offsets count in; `None` for a single value, whose name says enough.
    text: Option<String>,
}

/// Where something stands.
#[derive(Clone, Debug)]
pub(crate) struct At {
    source: Arc<Source>,
    offset: usize,
}

impl At {
    /// The place of a value that has a name instead of a line: a variable, a key.
    pub fn named(name: impl Into<String>) -> At {
        At { source: Arc::new(Source { name: name.into(), text: None }), offset: 0 }
    }

    /// An error here; `message` says what is wrong and what was expected.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.to_string(), message)
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source.name)?;
        let Some(text) = &self.source.text else {
            return Ok(());
        };
        let (line, column) = line_and_column(text, self.offset);
        write!(f, ":{line}:{column}")
    }
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let in_line = before.get(line_start..).unwrap_or_default();
    // A byte order mark opens the file but is no character of its first line.
    let column = in_line.trim_start_matches('\u{feff}').chars().count() + 1;
    (line, column)
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub at: At,
    pub value: Value,
}

/// What TOML can say. Floats and dates keep their spelling: what is exact in it stays so.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(String),
    Flag(bool),
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One `key = value` of a table, in the order of the text.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub at: At,
    pub node: Node,
}

impl Value {
    /// The kind of value, for "`x` is …, expected …".
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a fraction",
            Value::Flag(_) => "true or false",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Parses a TOML document. `name` is what errors call it.
pub(crate) fn parse_document(name: &str, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let source = Arc::new(Source { name: name.to_owned(), text: Some(text.to_owned()) });
    let table = DeTable::parse(text).map_err(|error| grammar_error(&source, &error))?;
    entries(&source, table.into_inner(), 0)
}

/// Parses one TOML value that has no document around it; `None` when it is not TOML.
pub(crate) fn parse_value(at: &At, text: &str) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    // Offsets inside a single value are not shown: its name stands for all of it.
    node(&at.source, value, 0).ok()
}

/// The parser's own complaint as one line of ours.
fn grammar_error(source: &Arc<Source>, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map_or(0, |span| span.start);
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    At { source: source.clone(), offset }.error(message)
}

fn entries(
    source: &Arc<Source>,
    table: DeTable<'_>,
    depth: usize,
) -> Result<Vec<Entry>, ConfigError> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let at = At { source: source.clone(), offset: key.span().start };
        entries.push(Entry {
            key: key.into_inner().into_owned(),
            at,
            node: node(source, value, depth)?,
        });
    }
    // The parser sorts by name; the first error a reader should see is the first in the text.
    entries.sort_by_key(|entry| entry.at.offset);
    Ok(entries)
}

fn node(
    source: &Arc<Source>,
    value: Spanned<DeValue<'_>>,
    depth: usize,
) -> Result<Node, ConfigError> {
    let at = At { source: source.clone(), offset: value.span().start };
    if depth > DEPTH_MAX {
        return Err(at.error(format!("nested too deeply, expected at most {DEPTH_MAX} levels")));
    }
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => return Err(at.error("the integer is too large, expected at most 64 bits")),
        },
        DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => Value::List(
            list.into_iter().map(|item| node(source, item, depth + 1)).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => Value::Table(entries(source, table, depth + 1)?),
    };
    Ok(Node { at, value })
}
