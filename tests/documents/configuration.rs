//! `docs/configuration.md`: the sample's words, and what the check takes.

use std::fmt::Write as _;

use neurohttp::config::{KeyReference, TableReference, reference};

use crate::compare;
use crate::sample::{self, Table};

const OPENING: &str = "\
<!-- Made of config/neurohttp.toml and src/config by `make docs`; do not edit. -->
# Configuration

Every table and key, what it means, its default, and what it takes. The same words stand in
`config/neurohttp.toml`, which can be copied and shortened; what a key takes is what the check says when it
is given something else. `neurohttp check` validates a file and prints what all layers come to.

";

/// One row for each key that the check knows, in its order.
pub fn rows<'a>(
    table: &'a TableReference,
    words: Option<&'a Table>,
) -> Vec<(&'a KeyReference, String, String)> {
    table
        .keys
        .iter()
        .map(|key| {
            let said = words.and_then(|it| it.keys.iter().find(|found| found.name == key.name));
            let mut text = said.map(|it| it.words.clone()).unwrap_or_default();
            if let Some(said) = said
                && words.is_some_and(|it| it.is_example)
                && said.value != key.default
            {
                let _ = write!(text, " Example: `{}`.", said.value);
            }
            if !matches!(key.expected.as_str(), "a string" | "true or false") {
                let _ = write!(text, " Takes {}.", key.expected);
            }
            let default = match key.default.as_str() {
                "\"\"" if words.is_none_or(|it| it.is_example) => String::new(),
                default => default.to_owned(),
            };
            (key, default, text.trim_start().to_owned())
        })
        .collect()
}

/// The tables of the reference with the sample's words for them.
pub fn tables() -> Vec<(TableReference, Option<Table>)> {
    let (_, mut said) = sample::read();
    let mut tables = Vec::new();
    for table in reference() {
        let is_it = |found: &Table| {
            found.header == table.header
                || (table.header == "[plugin.NAME]" && found.header.starts_with("[plugin."))
        };
        let words = said.iter().position(is_it).map(|index| said.remove(index));
        assert!(words.is_some() || table.header.starts_with('`'), "{} has no words", table.header);
        tables.push((table, words));
    }
    assert!(said.is_empty(), "the sample has tables that are none");
    tables
}

/// Text as it stands in a cell: what Markdown would take for its own is escaped, but in code.
fn cell(text: &str) -> String {
    let pieces = text.split('`').enumerate().map(|(index, piece)| {
        let piece = piece.replace('|', "\\|");
        if index % 2 == 1 { piece } else { piece.replace('*', "\\*").replace('<', "\\<") }
    });
    pieces.collect::<Vec<_>>().join("`")
}

fn page() -> String {
    let mut out = OPENING.to_owned();
    for paragraph in sample::opening() {
        let _ = write!(out, "{paragraph}\n\n");
    }
    for (table, words) in tables() {
        let header = match table.header.starts_with('`') {
            true => table.header.clone(),
            false => format!("`{}`", table.header),
        };
        let _ = write!(out, "## {header}\n\n");
        if let Some(words) = words.as_ref().filter(|words| !words.words.is_empty()) {
            let _ = write!(out, "{}\n\n", words.words);
        }
        if table.keys.is_empty() {
            continue;
        }
        out.push_str("| key | default | what |\n| --- | --- | --- |\n");
        for (key, default, text) in rows(&table, words.as_ref()) {
            let default = match default.is_empty() {
                true => String::new(),
                false => cell(&format!("`{default}`")),
            };
            let _ = writeln!(out, "| `{}` | {default} | {} |", key.name, cell(&text));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[test]
fn the_page_is_fresh() {
    compare("docs/configuration.md", &page());
}
