//! A configuration under construction: layer after layer is laid over it, and the place of
//! everything that was set is remembered until the checks are done.
//!
//! A key replaces the same key of an earlier layer, lists as a whole. Tables with a name are
//! merged by it: a known name changes the keys that are given, a new one is appended. `[[tls]]`
//! has no names, so a layer that holds any replaces all of them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::node::{At, Entry, Node, Value};
use super::parts::{self, Form, Part, Tables};
use super::schema::KeySpec;
use super::settings::Provider;
use super::values::{assign, nearest, shown};
use super::{Config, ConfigError};

/// Tables of one kind, at most.
const TABLES_MAX: usize = 10_000;

/// What has been read so far.
pub(crate) struct Draft {
    pub config: Config,
    /// `[plugin.NAME]`, still as values.
    pub plugins: BTreeMap<String, Vec<Entry>>,
    /// Where each table, key and list element was last set, by its path.
    pub marks: BTreeMap<String, At>,
    /// Which of its kind a named table is, by its path: a search would be quadratic.
    indexes: BTreeMap<String, usize>,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            config: Config::without_providers(),
            plugins: BTreeMap::new(),
            marks: BTreeMap::new(),
            indexes: BTreeMap::new(),
        }
    }
}

impl Draft {
    /// Lays a document over what is there.
    pub fn apply_document(&mut self, document: &[Entry]) -> Result<(), ConfigError> {
        for entry in document {
            match parts::form(&entry.key) {
                Some(Form::Single) => self.apply_single(entry)?,
                Some(Form::Named) => self.apply_named(entry)?,
                Some(Form::Listed) => self.apply_listed(entry)?,
                Some(Form::Free) => self.apply_plugins(entry)?,
                None => {
                    return Err(entry.at.error(format!(
                        "unknown table `{}`, expected {}",
                        shown(&entry.key),
                        nearest(&entry.key, &parts::names())
                    )));
                }
            }
        }
        Ok(())
    }

    /// Sets one key of a single table.
    pub fn set_single(&mut self, part: &str, entry: &Entry) -> Result<(), ConfigError> {
        if let Some(Part::Section(section)) = parts::part(&mut self.config, part) {
            assign(section, &format!("[{part}]"), entry)?;
        }
        self.mark(&format!("{part}.{}", entry.key), &entry.node);
        Ok(())
    }

    /// Sets one key of the table called `name`, which is made if it is not there yet.
    pub fn set_named(&mut self, part: &str, name: &str, entry: &Entry) -> Result<(), ConfigError> {
        if entry.key == "name" {
            return Err(entry.at.error("a table's `name` cannot be changed, expected another key"));
        }
        let name_node = Node { at: entry.at.clone(), value: Value::Text(name.to_owned()) };
        self.open_table(part, name, &name_node, &entry.at)?;
        self.set_in_table(part, name, entry)
    }

    /// Tables were taken out: finds the others anew.
    pub fn renumber(&mut self) {
        for (part, form) in parts::PARTS {
            if *form != Form::Named {
                continue;
            }
            let prefix = format!("{part}.");
            let names = self.table_names(part);
            self.indexes.retain(|path, _| !path.starts_with(&prefix));
            for (index, name) in names.into_iter().enumerate() {
                self.indexes.insert(format!("{prefix}{name}"), index);
            }
        }
    }

    /// Appends a provider that stands in no file.
    pub fn add_provider(&mut self, provider: Provider, at: At) {
        let path = format!("provider.{}", provider.name);
        self.marks.insert(path.clone(), at);
        self.indexes.insert(path, self.config.provider.len());
        self.config.provider.push(provider);
    }

    /// Sets one key of a plugin's table.
    pub fn set_plugin(&mut self, name: &str, entry: Entry) -> Result<(), ConfigError> {
        if self.plugins.len() >= TABLES_MAX && !self.plugins.contains_key(name) {
            return Err(too_many("plugin", &entry.at));
        }
        self.marks.insert(format!("plugin.{name}"), entry.at.clone());
        merge(self.plugins.entry(name.to_owned()).or_default(), entry);
        Ok(())
    }

    /// The names of the tables of a kind.
    pub fn table_names(&mut self, part: &str) -> Vec<String> {
        match self.tables(part) {
            Some(tables) => (0..tables.len()).map(|index| tables.name(index).to_owned()).collect(),
            None => Vec::new(),
        }
    }

    /// The keys of a table or of a kind of tables.
    pub fn keys(&mut self, part: &str) -> &'static [KeySpec] {
        match parts::part(&mut self.config, part) {
            Some(Part::Section(section)) => section.keys(),
            Some(Part::Tables(tables)) => tables.keys(),
            Some(Part::Plugins) | None => &[],
        }
    }

    fn tables(&mut self, part: &str) -> Option<&mut dyn Tables> {
        match parts::part(&mut self.config, part) {
            Some(Part::Tables(tables)) => Some(tables),
            _ => None,
        }
    }

    fn apply_single(&mut self, entry: &Entry) -> Result<(), ConfigError> {
        for inner in table(&entry.key, &entry.node, &format!("a table [{}]", entry.key))? {
            self.set_single(&entry.key, inner)?;
        }
        Ok(())
    }

    fn apply_named(&mut self, entry: &Entry) -> Result<(), ConfigError> {
        let part = entry.key.as_str();
        let mut seen = BTreeSet::new();
        for item in list(part, &entry.node)? {
            let inner = table(part, item, &format!("a table [[{part}]]"))?;
            let Some(named) = inner.iter().find(|inner| inner.key == "name") else {
                return Err(item.at.error(format!("[[{part}]] has no `name`, expected one")));
            };
            let Value::Text(name) = &named.node.value else {
                return Err(super::values::wrong_type("name", &named.node, "a string"));
            };
            if !seen.insert(name.clone()) {
                return Err(named.node.at.error(format!(
                    "two [[{part}]] are named \"{}\", expected each name once",
                    shown(name)
                )));
            }
            self.open_table(part, name, &named.node, &item.at)?;
            for inner in inner.iter().filter(|inner| inner.key != "name") {
                self.set_in_table(part, name, inner)?;
            }
        }
        Ok(())
    }

    fn apply_listed(&mut self, entry: &Entry) -> Result<(), ConfigError> {
        let part = entry.key.as_str();
        let items = list(part, &entry.node)?;
        if items.len() > TABLES_MAX {
            return Err(too_many(part, &entry.at));
        }
        if let Some(tables) = self.tables(part) {
            tables.clear();
        }
        for (index, item) in items.iter().enumerate() {
            let inner = table(part, item, &format!("a table [[{part}]]"))?;
            self.marks.insert(format!("{part}[{index}]"), item.at.clone());
            let Some(tables) = self.tables(part) else {
                return Ok(());
            };
            tables.add();
            let Some(section) = tables.get(index) else {
                return Ok(());
            };
            for inner in inner {
                assign(section, &format!("[[{part}]]"), inner)?;
            }
            for inner in inner {
                self.mark(&format!("{part}[{index}].{}", inner.key), &inner.node);
            }
        }
        Ok(())
    }

    fn apply_plugins(&mut self, entry: &Entry) -> Result<(), ConfigError> {
        for plugin in table("plugin", &entry.node, "tables such as [plugin.limiter]")? {
            for inner in table(&plugin.key, &plugin.node, "a table")? {
                self.set_plugin(&plugin.key, inner.clone())?;
            }
            // A table without keys is one too: the plugin may ask whether it is there.
            self.plugins.entry(plugin.key.clone()).or_default();
            self.marks.insert(format!("plugin.{}", plugin.key), plugin.at.clone());
        }
        Ok(())
    }

    /// Makes sure that there is a table with this name. `at` is where it begins.
    fn open_table(
        &mut self,
        part: &str,
        name: &str,
        name_node: &Node,
        at: &At,
    ) -> Result<(), ConfigError> {
        let path = format!("{part}.{name}");
        if self.indexes.contains_key(&path) {
            return Ok(());
        }
        let Some(tables) = self.tables(part) else {
            return Ok(());
        };
        if tables.len() >= TABLES_MAX {
            return Err(too_many(part, at));
        }
        tables.add();
        let index = tables.len() - 1;
        if let Some(section) = tables.get(index) {
            let entry = Entry { key: "name".to_owned(), at: at.clone(), node: name_node.clone() };
            assign(section, &format!("[[{part}]]"), &entry)?;
        }
        self.mark(&format!("{path}.name"), name_node);
        self.marks.insert(path.clone(), at.clone());
        self.indexes.insert(path, index);
        Ok(())
    }

    fn set_in_table(&mut self, part: &str, name: &str, entry: &Entry) -> Result<(), ConfigError> {
        let path = format!("{part}.{name}");
        if let Some(index) = self.indexes.get(&path).copied()
            && let Some(tables) = self.tables(part)
            && let Some(section) = tables.get(index)
        {
            assign(section, &format!("[[{part}]]"), entry)?;
        }
        self.mark(&format!("{path}.{}", entry.key), &entry.node);
        Ok(())
    }

    /// Remembers where a value and what is in it stand.
    fn mark(&mut self, path: &str, node: &Node) {
        self.marks.insert(path.to_owned(), node.at.clone());
        match &node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.mark(&format!("{path}[{index}]"), item);
                }
            }
            Value::Table(entries) => {
                for entry in entries {
                    self.mark(&format!("{path}.{}", entry.key), &entry.node);
                }
            }
            _ => {}
        }
    }
}

fn table<'a>(key: &str, node: &'a Node, expected: &str) -> Result<&'a [Entry], ConfigError> {
    match &node.value {
        Value::Table(entries) => Ok(entries),
        _ => Err(super::values::wrong_type(&shown(key), node, expected)),
    }
}

fn list<'a>(part: &str, node: &'a Node) -> Result<&'a [Node], ConfigError> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(super::values::wrong_type(part, node, &format!("tables [[{part}]]"))),
    }
}

fn too_many(part: &str, at: &At) -> ConfigError {
    at.error(format!("too many tables `{part}`, expected at most {TABLES_MAX}"))
}

/// Puts an entry into a plugin's table, over one of the same key; tables in it are merged.
fn merge(entries: &mut Vec<Entry>, entry: Entry) {
    let Some(known) = entries.iter_mut().find(|known| known.key == entry.key) else {
        entries.push(entry);
        return;
    };
    match (&mut known.node.value, entry.node.value) {
        (Value::Table(inner), Value::Table(new)) => {
            for entry in new {
                merge(inner, entry);
            }
        }
        (value, new) => *value = new,
    }
}
