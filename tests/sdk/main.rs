//! The `openai` Python package against the program: what its users do must work unchanged.
//!
//! The package is installed into a virtual environment under `target/`, once. Where packages
//! cannot be had the test says so and is skipped.

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Command;

use support::process::{Server, clean};
use support::stage::{root, scratch};

/// The interpreter of a virtual environment that has the package, or why there is none.
fn python_with_sdk() -> Result<PathBuf, String> {
    let folder = scratch().join("sdk-venv");
    let python = folder.join("bin/python");
    let has_sdk = || {
        let mut command = Command::new(&python);
        command.args(["-c", "import openai"]).output().is_ok_and(|output| output.status.success())
    };
    if has_sdk() {
        return Ok(python);
    }
    finish(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    finish(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "openai",
    ]))?;
    if has_sdk() { Ok(python) } else { Err("the package cannot be imported".to_owned()) }
}

fn finish(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", text.trim())) }
}

#[test]
fn the_openai_sdk_works_unchanged() {
    let python = match python_with_sdk() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: the openai package cannot be had: {reason}");
            return;
        }
    };
    let server = Server::gateway(&["auth.keys=[\"right-key\"]"]);
    let mut script = clean(python);
    script
        .arg(root().join("tests/sdk/openai_sdk.py"))
        .arg(format!("http://127.0.0.1:{}/v1", server.port))
        .arg("right-key");
    let output = Server::launch(&mut script).expect_exit(0);
    assert!(output.ends_with("all well"), "{output}");
    server.stop();
}
