//! The configuration as a whole: errors with their places, the order of the layers, variables,
//! providers found in the environment, and the printed form.

mod anew;
mod errors;
mod from_env;
mod layers;
mod old_files;
mod printed;
mod variables;

use std::path::PathBuf;

use super::parts::{self, Form, PARTS};
use super::*;

/// Text of a document under the built-in defaults, without environment.
fn from_text(text: &str) -> Result<Config, ConfigError> {
    load(&Sources { text: Some(text), ..Sources::default() })
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with_environment(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load(&Sources { text: Some(text), environment: pairs(environment), ..Sources::default() })
}

fn with_sets(text: &str, sets: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load(&Sources { text: Some(text), sets: pairs(sets), ..Sources::default() })
}

/// The error as it is printed.
fn error(result: Result<Config, ConfigError>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("nh-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
