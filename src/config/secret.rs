//! Keys and credentials, kept out of every printed form.
#![forbid(unsafe_code)]

use std::fmt;

use super::ConfigError;
use super::node::{Node, Value};
use super::schema::{Rule, Scope, Setting, Shape};
use super::values::{write_text, wrong_type};

/// What stands for a secret in print.
pub(crate) const MASK: &str = "***";

/// A key or credential. `Debug` and `Display` print `***`; [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret {
    value: String,
    /// The variable it is read from, when it was written as `env:NAME`.
    variable: Option<String>,
}

impl Secret {
    /// A secret with this text, taken as it is.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret { value: value.into(), variable: None }
    }

    /// A secret that the variable `name` holds.
    pub(crate) fn from_variable(name: &str, value: &str) -> Secret {
        Secret { value: value.to_owned(), variable: Some(name.to_owned()) }
    }

    /// The secret itself. For comparing and for sending, never for printing.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Nothing was given.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty() && self.variable.is_none()
    }

    /// It is the mask itself: a printed configuration was used as a real one.
    pub(crate) fn is_mask(&self) -> bool {
        self.value == MASK
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Setting for Secret {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<Secret, ConfigError> {
        let Value::Text(text) = &node.value else {
            return Err(wrong_type(key, node, "a string"));
        };
        match text.strip_prefix("env:") {
            Some("") => {
                Err(node.at.error(format!("`{key}` names no variable, expected \"env:NAME\"")))
            }
            // The variable is looked up when all layers are read: a later one may replace it.
            Some(name) => Ok(Secret { value: String::new(), variable: Some(name.to_owned()) }),
            None => Ok(Secret::new(text.as_str())),
        }
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        match &self.variable {
            // The variable's name is no secret and says more than the mask.
            Some(name) => write_text(&format!("env:{name}"), out),
            None if self.value.is_empty() => write_text("", out),
            None => write_text(MASK, out),
        }
    }

    fn resolve(&mut self, path: &str, scope: &Scope<'_>) -> Result<(), ConfigError> {
        if let Some(name) = &self.variable {
            match scope.environment.get(name) {
                Some(value) if !value.is_empty() => self.value.clone_from(value),
                _ => {
                    let name = super::values::shown(name);
                    return Err(scope.at(path).error(format!(
                        "`{path}` reads the variable {name}, which is not set, expected a value"
                    )));
                }
            }
        }
        // It goes into a header field, or is compared with one.
        if self.value.chars().any(char::is_control) {
            return Err(scope.at(path).error(format!(
                "`{path}` holds a control character, expected text that fits in a header"
            )));
        }
        Ok(())
    }
}
