//! The sample file `config/neurohttp.toml` as words about tables and keys.

use std::fs;

use crate::support::stage::root;

/// A key with its words.
pub struct Key {
    pub name: String,
    /// The value in the sample, TOML.
    pub value: String,
    pub words: String,
}

/// A table with its words.
pub struct Table {
    /// `[server]`, `[[provider]]`.
    pub header: String,
    pub words: String,
    /// It is commented out: its values are examples.
    pub is_example: bool,
    pub keys: Vec<Key>,
}

/// The paragraphs that open the file, and its tables.
pub fn read() -> (Vec<String>, Vec<Table>) {
    let text = fs::read_to_string(root().join("config/neurohttp.toml")).unwrap();
    let mut opening = Vec::new();
    let mut tables: Vec<Table> = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    for line in text.lines() {
        let taken = |words: &mut Vec<&str>| std::mem::take(words).join(" ");
        if line.is_empty() || line == "#" {
            if tables.is_empty() && !words.is_empty() {
                opening.push(taken(&mut words));
            }
            assert!(words.is_empty(), "these words belong to nothing: {words:?}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# ") {
            words.push(rest);
            continue;
        }
        let bare = line.strip_prefix('#').unwrap_or(line);
        if bare.starts_with('[') {
            let (header, words) = (bare.to_owned(), taken(&mut words));
            tables.push(Table { header, words, is_example: bare != line, keys: Vec::new() });
            continue;
        }
        let (name, value) = bare.split_once(" = ").unwrap();
        let key = Key { name: name.to_owned(), value: value.to_owned(), words: taken(&mut words) };
        tables.last_mut().unwrap().keys.push(key);
    }
    (opening, tables)
}

/// The opening of the file as paragraphs for a page about it: what is said of the file's own layout
/// is left out.
pub fn opening() -> Vec<String> {
    let (opening, _) = read();
    opening.into_iter().skip(1).collect()
}
