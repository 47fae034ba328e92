//! The README's promises: its C program compiles and answers, its commands print what it says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use support::cc::{STRICT, succeed};
use support::process::{Server, clean, program};
use support::stage::{root, scratch, stage};

/// The text of each fenced block in this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    readme
        .split(&format!("```{language}"))
        .skip(1)
        .map(|rest| rest.split_once('\n').unwrap().1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn its_commands_work_against_the_program() {
    let server = Server::start(program().env("NEUROHTTP_SERVER__LISTEN", "127.0.0.1:0"));
    let here = format!("127.0.0.1:{}", server.port);
    let shell = blocks("sh");
    let commands = shell.iter().find(|block| block.contains("curl")).unwrap();
    let outputs: Vec<String> = commands
        .lines()
        .map(|line| line.replace("127.0.0.1:8080", &here))
        .map(|line| succeed(clean("sh").arg("-c").arg(line.replace("curl", "curl -sS"))))
        .collect();
    assert!(outputs[0].starts_with(r#"{"response":"Hello","#), "{outputs:?}");
    assert!(outputs[1].matches("data: {").count() > 3, "{outputs:?}");
    assert!(outputs[1].ends_with("data: [DONE]\n\n"), "{outputs:?}");
    server.stop();
}

#[test]
fn its_c_program_answers() {
    let source = scratch().join("readme.c");
    let program = scratch().join("readme-c");
    fs::write(&source, &blocks("c")[0]).unwrap();
    let lib = &stage().lib;
    succeed(
        Command::new("cc")
            .args(STRICT)
            .arg("-I")
            .arg(root().join("include"))
            .args([&source, std::path::Path::new("-o"), &program].map(|part| part.as_os_str()))
            .arg("-L")
            .arg(lib)
            .arg("-lneurohttp")
            .arg(format!("-Wl,-rpath,{}", lib.display())),
    );
    let server =
        Server::start_by_log(clean(program).env("NEUROHTTP_SERVER__LISTEN", "127.0.0.1:0"));
    let answer = server.connect().get("/hello/you").answer();
    assert_eq!((answer.status, answer.text()), (200, "you"));
    // It runs until it is ended from outside; dropping it does that.
    drop(server);
}

#[test]
fn the_places_it_names_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("## Where things are").nth(1).unwrap();
    for name in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = name.split('`').next().unwrap();
        assert!(root().join(name).exists(), "{name} is not there");
    }
}
