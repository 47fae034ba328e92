//! The `openai` and `anthropic` Python packages against the program: what their users do must work
//! unchanged, whatever provider stands behind.
//!
//! The packages are installed into a virtual environment under `target/`, once. Where packages
//! cannot be had the test says so and is skipped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use support::process::{Server, clean};
use support::stage::{root, scratch};

/// The interpreter of a virtual environment that has the packages, or why there is none.
fn python_with_sdk() -> Result<PathBuf, String> {
    // One installation for all tests, which run at once.
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON.get_or_init(install).clone()
}

fn install() -> Result<PathBuf, String> {
    let folder = scratch().join("sdk-venv");
    let python = folder.join("bin/python");
    let has_sdk = || {
        let mut command = Command::new(&python);
        command
            .args(["-c", "import anthropic, openai"])
            .output()
            .is_ok_and(|output| output.status.success())
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
        "anthropic",
    ]))?;
    if has_sdk() { Ok(python) } else { Err("the packages cannot be imported".to_owned()) }
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

/// What passes between the package and an upstream of OpenAI's own dialect, and each error's type.
#[test]
fn the_openai_sdk_works_through_the_relay() {
    let python = match python_with_sdk() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: the openai package cannot be had: {reason}");
            return;
        }
    };
    let mut script = clean(python);
    script.arg("-B").arg(root().join("tests/sdk/relay.py"));
    script.arg(&support::stage::stage().program).arg(scratch().join("sdk-relay.toml"));
    let output = Server::launch(&mut script).expect_exit(0);
    assert!(output.ends_with("all well"), "{output}");
}

/// A process that ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Wrong: a dialect or a codec that an SDK or a provider would not take. Every dialect in front of
/// every provider's format; the table is printed.
#[test]
fn every_dialect_works_over_every_provider() {
    let python = match python_with_sdk() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: the SDKs cannot be had: {reason}");
            return;
        }
    };
    let folder = root().join("tests/sdk");
    let mut upstreams = clean(&python);
    // -B: nothing is written beside the sources.
    upstreams.arg("-B").arg(folder.join("upstreams.py")).stdout(Stdio::piped());
    let mut upstreams = Killed(upstreams.spawn().expect("the upstreams start"));
    let mut config = String::new();
    let output = upstreams.0.stdout.take().expect("a pipe");
    for line in BufReader::new(output).lines() {
        let line = line.expect("text");
        if line == "# ready" {
            break;
        }
        config.push_str(&line);
        config.push('\n');
    }
    let file = scratch().join("matrix.toml");
    std::fs::write(&file, config).expect("the configuration is written");
    let file = file.to_str().expect("a path in UTF-8");
    let mut program = support::process::program();
    let server = Server::start(program.args(["serve", "-c", file, "--listen", "127.0.0.1:0"]));
    let mut matrix = clean(&python);
    matrix.arg("-B").arg(folder.join("matrix.py")).arg(format!("http://127.0.0.1:{}", server.port));
    let output = Server::launch(&mut matrix).expect_exit(0);
    println!("{output}");
    drop(upstreams);
    assert!(output.ends_with("all well"), "{output}");
    server.stop();
}
