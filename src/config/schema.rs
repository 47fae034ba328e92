//! How settings are declared: the `section!` macro turns one table of keys into a struct, its
//! defaults, the reading of its keys, the names that `--set` and variables may use, and its
//! printed form. A key added to a `section!` in `settings.rs` is known everywhere.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::ConfigError;
use super::node::{At, Node};

/// What a setting's value may be, beyond its type.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Whatever the type allows.
    Any,
    /// An integer between these, both included.
    Range(u64, u64),
    /// A text that this accepts; the error says what was expected.
    Text(fn(&str) -> Result<(), &'static str>),
    /// A URL whose password is masked in print.
    MaskedUrl(fn(&str) -> Result<(), &'static str>),
    /// A list that may be written as its only element.
    OneOrMany,
}

/// How the plain text of a variable or `--set` becomes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// A quoted TOML string, else the text as it is.
    Text,
    /// Anything that only TOML can say: numbers, flags, tables.
    Toml,
    /// A TOML list, else texts between commas.
    TextList,
    /// A TOML list.
    TomlList,
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpec {
    pub name: &'static str,
    pub shape: Shape,
}

/// A key's value as it is printed.
pub(crate) struct Printed {
    pub key: &'static str,
    /// TOML, secrets masked.
    pub value: String,
    /// It is what the key has when nothing sets it.
    pub is_default: bool,
}

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    /// How plain text becomes this type.
    const SHAPE: Shape;
    /// The value that `node` says, or an error at its place.
    fn read(key: &str, node: &Node, rule: Rule) -> Result<Self, ConfigError>;
    /// Appends the value as TOML, secrets masked.
    fn write(&self, rule: Rule, out: &mut String);
    /// Replaces `env:NAME` by what the variable holds; `path` is the key's, for errors.
    fn resolve(&mut self, _path: &str, _scope: &Scope<'_>) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// What is known once every layer is read.
pub(crate) struct Scope<'a> {
    /// The variables that `env:NAME` may name.
    pub environment: &'a BTreeMap<String, String>,
    /// Where each key was last set, by its path.
    pub marks: &'a BTreeMap<String, At>,
}

impl Scope<'_> {
    /// The place of the key at `path`, or of the nearest thing around it that was set.
    pub fn at(&self, path: &str) -> At {
        let mut path = path;
        loop {
            if let Some(at) = self.marks.get(path) {
                return at.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return At::named("configuration"),
            }
        }
    }
}

/// A struct declared with `section!`.
pub(crate) trait Section {
    /// Its keys, in the order of declaration.
    fn keys(&self) -> &'static [KeySpec];
    /// Sets one key; `None` when there is no such key.
    fn assign(&mut self, key: &str, node: &Node) -> Option<Result<(), ConfigError>>;
    /// Every key with its value.
    fn printed(&self) -> Vec<Printed>;
    /// Looks up each `env:NAME` in it.
    fn resolve(&mut self, path: &str, scope: &Scope<'_>) -> Result<(), ConfigError>;
    /// The keys whose values another section of the same kind has otherwise; of another kind: all.
    fn changed(&self, other: &dyn Section) -> Vec<&'static str>;
    /// Itself, for comparing.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Declares sections: `key: Type = default, rule;` with the documentation above each.
macro_rules! section {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$key_doc:meta])* $key:ident: $type:ty = $default:expr, $rule:expr;)*
    })*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq)]
        pub struct $name { $($(#[$key_doc])* pub $key: $type,)* }

        impl Default for $name {
            fn default() -> $name { $name { $($key: $default,)* } }
        }

        impl $crate::config::schema::Section for $name {
            fn keys(&self) -> &'static [$crate::config::schema::KeySpec] {
                use $crate::config::schema::{KeySpec, Setting};
                const { &[$(KeySpec {
                    name: stringify!($key),
                    shape: <$type as Setting>::SHAPE,
                },)*] }
            }

            fn assign(
                &mut self,
                key: &str,
                node: &$crate::config::node::Node,
            ) -> Option<Result<(), $crate::config::ConfigError>> {
                use $crate::config::schema::Setting;
                match key {
                    $(stringify!($key) => Some(
                        <$type as Setting>::read(key, node, $rule).map(|value| self.$key = value),
                    ),)*
                    _ => None,
                }
            }

            fn changed(
                &self,
                other: &dyn $crate::config::schema::Section,
            ) -> Vec<&'static str> {
                let other = other.as_any().downcast_ref::<$name>();
                let mut changed = Vec::new();
                $(if other.is_none_or(|other| other.$key != self.$key) {
                    changed.push(stringify!($key));
                })*
                changed
            }

            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn printed(&self) -> Vec<$crate::config::schema::Printed> {
                use $crate::config::schema::{Printed, Setting};
                let default = $name::default();
                vec![$({
                    let mut value = String::new();
                    Setting::write(&self.$key, $rule, &mut value);
                    Printed {
                        key: stringify!($key),
                        value,
                        is_default: self.$key == default.$key,
                    }
                },)*]
            }

            fn resolve(
                &mut self,
                path: &str,
                scope: &$crate::config::schema::Scope<'_>,
            ) -> Result<(), $crate::config::ConfigError> {
                use $crate::config::schema::Setting;
                $(Setting::resolve(
                    &mut self.$key,
                    &format!("{path}.{}", stringify!($key)),
                    scope,
                )?;)*
                Ok(())
            }
        }

        // The printed form masks secrets, so a stray `{:?}` in a log line shows none.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                use $crate::config::schema::Section;
                let mut out = f.debug_struct(stringify!($name));
                for printed in self.printed() {
                    out.field(printed.key, &format_args!("{}", printed.value));
                }
                out.finish()
            }
        }
    )* };
}
pub(crate) use section;
