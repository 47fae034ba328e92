//! What can be configured, for the documents that are made of it: every table and key, its default,
//! and what it takes. The last is asked of the check itself, by offering it what no key takes and
//! reading what it says it expected.
#![forbid(unsafe_code)]

use super::Config;
use super::node::{At, Node, Value};
use super::parts::{self, Form, PARTS, Part};
use super::schema::Section;
use super::settings::{ModelTarget, RouteRate};

/// A key of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyReference {
    /// The key.
    pub name: &'static str,
    /// What it has when nothing sets it, as TOML.
    pub default: String,
    /// What it takes, as an error would say: `an integer from 0 to 1024`.
    pub expected: String,
}

/// A table of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableReference {
    /// Its first line: `[server]`, `[[provider]]`, `[plugin.NAME]`; for what stands in a list of
    /// a key, `targets` of `[[model]]`.
    pub header: String,
    /// Its keys; none for `[plugin.NAME]`, whose keys are the plugin's.
    pub keys: Vec<KeyReference>,
}

/// Every table, in the order of a printed configuration.
pub fn reference() -> Vec<TableReference> {
    let mut config = Config::default();
    let mut tables = Vec::new();
    for (name, form) in PARTS {
        let header = match form {
            Form::Single => format!("[{name}]"),
            Form::Named | Form::Listed => format!("[[{name}]]"),
            Form::Free => format!("[{name}.NAME]"),
        };
        let keys = match parts::part(&mut config, name) {
            Some(Part::Section(section)) => keys_of(section),
            Some(Part::Tables(list)) => {
                list.clear();
                list.add();
                list.get(0).map(keys_of).unwrap_or_default()
            }
            Some(Part::Plugins) | None => Vec::new(),
        };
        tables.push(TableReference { header, keys });
        match *name {
            "model" => tables.push(inner("`targets` of `[[model]]`", &mut ModelTarget::default())),
            "firewall" => tables.push(inner("`routes` of `[firewall]`", &mut RouteRate::default())),
            _ => {}
        }
    }
    tables
}

fn inner(header: &str, section: &mut dyn Section) -> TableReference {
    TableReference { header: header.to_owned(), keys: keys_of(section) }
}

fn keys_of(section: &mut dyn Section) -> Vec<KeyReference> {
    let printed = section.printed();
    printed
        .into_iter()
        .map(|printed| KeyReference {
            name: printed.key,
            default: printed.value,
            expected: expected(section, printed.key),
        })
        .collect()
}

/// What a key takes.
fn expected(section: &mut dyn Section, key: &str) -> String {
    let kind = refusal(section, key, Value::Table(Vec::new())).unwrap_or_default();
    match kind.as_str() {
        "a list" => {
            let text = || Value::Text("\u{1}".to_owned());
            let item = |value| Value::List(vec![Node { at: nowhere(), value }]);
            let element = refusal(section, key, item(Value::Flag(true)))
                .filter(|expected| expected != "a string")
                .or_else(|| refusal(section, key, item(text())))
                .unwrap_or_else(|| "a string".to_owned());
            // A list that may be written as its only element refuses a text for what it says.
            match refusal(section, key, text()) {
                Some(other) if other == "a list" => format!("a list; each element {element}"),
                _ => format!("{element}, or a list of them"),
            }
        }
        "a string" => {
            let odd = refusal(section, key, Value::Text("\u{1}".to_owned()));
            odd.or_else(|| refusal(section, key, Value::Text(String::new()))).unwrap_or(kind)
        }
        _ => kind,
    }
}

/// What the check says it expected instead of `value`; `None` when it takes it, or does not say.
fn refusal(section: &mut dyn Section, key: &str, value: Value) -> Option<String> {
    let refused = section.assign(key, &Node { at: nowhere(), value })?.err()?;
    refused.to_string().split_once(", expected ").map(|(_, expected)| expected.to_owned())
}

fn nowhere() -> At {
    At::named("")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a document that says something else than the check does, or nothing.
    #[test]
    fn every_key_says_what_it_takes() {
        let tables = reference();
        for table in &tables {
            for key in &table.keys {
                assert!(!key.expected.is_empty(), "{} {}", table.header, key.name);
            }
        }
        let find = |header: &str, name: &str| {
            let table = tables.iter().find(|table| table.header == header).unwrap();
            table.keys.iter().find(|key| key.name == name).unwrap().clone()
        };
        let workers = find("[server]", "workers");
        assert_eq!(
            (workers.default.as_str(), workers.expected.as_str()),
            ("0", "an integer from 0 to 1024")
        );
        assert!(find("[server]", "listen").expected.ends_with("or a list of them"));
        assert!(find("[[model]]", "strategy").expected.starts_with("one of priority, weighted"));
        assert!(find("[[model]]", "capabilities").expected.starts_with("a list; each element"));
        assert_eq!(find("[cache]", "enable").expected, "true or false");
        assert_eq!(find("`targets` of `[[model]]`", "weight").default, "1");
    }
}
