//! The tables of a configuration by their names: which there are, and what form each has.
#![forbid(unsafe_code)]

use super::Config;
use super::schema::{KeySpec, Section};
use super::settings::{Key, Model, Provider, TlsCertificate};

/// How a table is written and addressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// `[server]`, addressed as `server.key`.
    Single,
    /// `[[provider]]`, each with a `name`, addressed as `provider.NAME.key`.
    Named,
    /// `[[tls]]`, without names: a later layer replaces all of them.
    Listed,
    /// `[plugin.NAME]`, whose keys are the plugin's own.
    Free,
}

/// A list of tables of one kind.
pub(crate) trait Tables {
    /// How many there are.
    fn len(&self) -> usize;
    /// The name of one; empty when the kind has none.
    fn name(&self, index: usize) -> &str;
    /// One of them.
    fn get(&mut self, index: usize) -> Option<&mut dyn Section>;
    /// Appends one that holds the defaults.
    fn add(&mut self);
    /// Removes all.
    fn clear(&mut self);
    /// The keys that each has.
    fn keys(&self) -> &'static [KeySpec];
}

/// A table that is known by its name.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Key {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Provider {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Model {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for TlsCertificate {
    fn name(&self) -> &str {
        ""
    }
}

impl<T: Section + Named + Default> Tables for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn name(&self, index: usize) -> &str {
        <[T]>::get(self, index).map_or("", Named::name)
    }

    fn get(&mut self, index: usize) -> Option<&mut dyn Section> {
        match self.get_mut(index) {
            Some(table) => Some(table),
            None => None,
        }
    }

    fn add(&mut self) {
        self.push(T::default());
    }

    fn clear(&mut self) {
        Vec::clear(self);
    }

    fn keys(&self) -> &'static [KeySpec] {
        T::default().keys()
    }
}

/// One table, or the list of a kind.
pub(crate) enum Part<'a> {
    /// `[server]` and its like.
    Section(&'a mut dyn Section),
    /// `[[provider]]` and its like.
    Tables(&'a mut dyn Tables),
    /// `[plugin.NAME]`.
    Plugins,
}

macro_rules! parts {
    ($($name:ident $form:ident,)*) => {
        /// Every table, in the order in which a configuration is printed.
        pub(crate) const PARTS: &[(&str, Form)] = &[$((stringify!($name), Form::$form),)*];

        /// The table called `name`.
        pub(crate) fn part<'a>(config: &'a mut Config, name: &str) -> Option<Part<'a>> {
            match name {
                $(stringify!($name) => Some(parts!(@ config $name $form)),)*
                _ => None,
            }
        }
    };
    (@ $config:ident $name:ident Single) => { Part::Section(&mut $config.$name) };
    (@ $config:ident $name:ident Named) => { Part::Tables(&mut $config.$name) };
    (@ $config:ident $name:ident Listed) => { Part::Tables(&mut $config.$name) };
    (@ $config:ident $name:ident Free) => { Part::Plugins };
}

parts! {
    server Single,
    limits Single,
    timeouts Single,
    tls Listed,
    auth Single,
    key Named,
    admin Single,
    provider Named,
    model Named,
    retry Single,
    breaker Single,
    hedge Single,
    compression Single,
    cache Single,
    firewall Single,
    guard Single,
    dialects Single,
    optimizer Single,
    plugins Single,
    plugin Free,
    telemetry Single,
    log Single,
}

/// The keys in which two configurations differ, secrets included: `section.key`, `table.NAME`.
pub(crate) fn differences(one: &mut Config, other: &mut Config) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, _) in PARTS {
        match (part(one, name), part(other, name)) {
            (Some(Part::Section(mine)), Some(Part::Section(theirs))) => {
                let changed = mine.changed(&*theirs);
                keys.extend(changed.into_iter().map(|key| format!("{name}.{key}")));
            }
            (Some(Part::Tables(mine)), Some(Part::Tables(theirs))) => {
                compare(name, mine, theirs, &mut keys);
            }
            _ => {}
        }
    }
    keys
}

fn compare(part: &str, mine: &mut dyn Tables, theirs: &mut dyn Tables, keys: &mut Vec<String>) {
    let label = |tables: &dyn Tables, index: usize| match tables.name(index) {
        "" => format!("{part}[{index}]"),
        name => format!("{part}.{name}"),
    };
    let places = |tables: &dyn Tables| -> std::collections::BTreeMap<String, usize> {
        (0..tables.len()).map(|index| (label(tables, index), index)).collect()
    };
    let (of_mine, of_theirs) = (places(mine), places(theirs));
    for (name, index) in &of_mine {
        let is_same =
            of_theirs.get(name).is_some_and(|other| match (mine.get(*index), theirs.get(*other)) {
                (Some(mine), Some(theirs)) => mine.changed(&*theirs).is_empty(),
                _ => false,
            });
        if !is_same {
            keys.push(name.clone());
        }
    }
    keys.extend(of_theirs.into_keys().filter(|name| !of_mine.contains_key(name)));
}

/// The form of the table called `name`.
pub(crate) fn form(name: &str) -> Option<Form> {
    PARTS.iter().find(|(part, _)| *part == name).map(|(_, form)| *form)
}

/// The names of all tables, for errors.
pub(crate) fn names() -> Vec<&'static str> {
    PARTS.iter().map(|(name, _)| *name).collect()
}
