//! Compiles C and C++ programs against the library, each once per process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::stage::{root, scratch, stage};

/// How a program is linked with the library.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Link {
    /// Against `libneurohttp.so`.
    Shared,
    /// Against `libneurohttp.a`.
    Static,
}

/// The warnings that every C file of the repository must pass.
pub const STRICT: [&str; 6] =
    ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wstrict-prototypes", "-Werror"];

/// The C compiler with the include path, the strict flags and those of `NH_CFLAGS`.
pub fn c_compiler() -> Command {
    let mut command = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    command.args(STRICT).arg("-I").arg(root().join("include"));
    if let Ok(flags) = std::env::var("NH_CFLAGS") {
        command.args(flags.split_whitespace());
    }
    command
}

/// Builds `source` (relative to the repository) into a program and returns its path.
pub fn build(source: &str, link: Link) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<(String, Link), PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let built = built.get_or_insert_default();
    let key = (source.to_owned(), link);
    if let Some(path) = built.get(&key) {
        return path.clone();
    }
    let path = compile(source, link);
    built.insert(key, path.clone());
    path
}

fn compile(source: &str, link: Link) -> PathBuf {
    let folder = scratch().join(match link {
        Link::Shared => "c-shared",
        Link::Static => "c-static",
    });
    std::fs::create_dir_all(&folder).unwrap();
    let name = Path::new(source).with_extension("");
    let output = folder.join(name.to_string_lossy().replace('/', "-"));
    let mut command = c_compiler();
    command.arg("-g").arg(root().join(source)).arg("-o").arg(&output);
    match link {
        Link::Shared => command
            .arg("-L")
            .arg(&stage().lib)
            .arg("-lneurohttp")
            .arg(format!("-Wl,-rpath,{}", stage().lib.display())),
        Link::Static => command.arg(stage().lib.join("libneurohttp.a")).args(&stage().native_libs),
    };
    succeed(&mut command);
    output
}

/// Runs a command to its end; panics with what it printed when it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}
