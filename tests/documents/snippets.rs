//! What the documents show: commands run, configurations pass the check, C compiles without a warning,
//! JSON parses.
//!
//! A block may name a file behind its language: it is there when commands of the page run.
//!
//! By a block's language: `sh` runs, all blocks of a page in one folder and in their order, with
//! `neurohttp` in the path; `console` only names commands that a test cannot run (systemctl, docker),
//! and is looked through; `toml` goes through `neurohttp check`, `toml rules` through the firewall;
//! `c` is compiled, as a file when it includes something, else as statements; `json` is parsed;
//! `text` is anything else.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use neurohttp::config::Config;
use neurohttp::server::{Server as Engine, Setup};

use crate::links::pages;
use crate::support::cc::c_compiler;
use crate::support::process::clean;
use crate::support::stage::{root, scratch, stage};

/// A fenced block.
pub struct Block {
    /// `page:line`.
    pub place: String,
    /// What stands behind the fence, without the file's name.
    pub language: String,
    /// The name of a file that later blocks of the page use.
    pub file: Option<String>,
    pub text: String,
}

/// The fenced blocks of a page.
pub fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        match &mut open {
            None if bare.starts_with("```") => {
                let place = format!("{name}:{}", index + 1);
                let info = bare.trim_start_matches('`');
                let (language, file) = match info.rsplit_once(' ') {
                    Some((language, file)) if file.contains('.') => {
                        (language, Some(file.to_owned()))
                    }
                    _ => (info, None),
                };
                let block =
                    Block { place, language: language.to_owned(), file, text: String::new() };
                open = Some((block, line.len() - bare.len()));
            }
            Some(_) if bare == "```" => blocks.push(open.take().unwrap().0),
            Some((block, indent)) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{name}: a block is not closed");
    blocks
}

fn all(language: &str) -> Vec<Block> {
    let blocks = pages().into_iter().flat_map(|page| blocks(&page));
    blocks.filter(|block| block.language == language).collect()
}

fn fresh(name: &str) -> PathBuf {
    let folder = scratch().join("documents").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command; its words when it fails or warns.
fn complaint(command: &mut Command) -> Option<String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let failed = !output.status.success();
    failed.then(|| format!("{}{said}", String::from_utf8_lossy(&output.stdout)))
}

fn check(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_block_has_a_language_that_is_tested() {
    let known = ["sh", "console", "toml", "toml rules", "c", "json", "text"];
    for page in pages() {
        for block in blocks(&page) {
            let language = block.language.as_str();
            assert!(known.contains(&language), "{}: `{language}` is none", block.place);
        }
    }
}

#[test]
fn json_parses() {
    for block in all("json") {
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&block.text) {
            panic!("{}: {error}", block.place);
        }
    }
}

#[test]
fn configurations_pass_the_check() {
    let folder = fresh("toml");
    let mut complaints = Vec::new();
    for (index, block) in all("toml").into_iter().enumerate() {
        let file = folder.join(format!("{index}.toml"));
        fs::write(&file, &block.text).unwrap();
        let mut command = clean(&stage().program);
        command.args(["check", "-c"]).arg(&file);
        for rest in block.text.split("\"env:").skip(1) {
            command.env(rest.split('"').next().unwrap(), format!("value-{}", rest.len()));
        }
        complaints.extend(complaint(&mut command).map(|said| format!("{}: {said}", block.place)));
    }
    check(complaints);
}

#[test]
fn rules_are_taken() {
    for block in all("toml rules") {
        let engine = Engine::new(Config::default(), Setup::default()).unwrap();
        if let Err(error) = engine.firewall_add_rules(&block.text) {
            panic!("{}: {error}", block.place);
        }
    }
}

/// What statements may refer to.
const AROUND: &str = "\
#include <neurohttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
nh_status handler(nh_request *request, nh_response *response, void *user_data);
void fragment(nh_server *server, nh_client *client, nh_request *request, nh_response *response,
              nh_generation *generation, nh_generate_fn generate, void *user_data);
void fragment(nh_server *server, nh_client *client, nh_request *request, nh_response *response,
              nh_generation *generation, nh_generate_fn generate, void *user_data) {
    (void)server, (void)client, (void)request, (void)response, (void)generation, (void)generate;
    (void)user_data;
";

#[test]
fn c_compiles_without_a_warning() {
    let folder = fresh("c");
    let mut complaints = Vec::new();
    for (index, block) in all("c").into_iter().enumerate() {
        let file = folder.join(format!("{index}.c"));
        let text = match block.text.contains("#include") {
            true => block.text,
            false => format!("{AROUND}{}}}\n", block.text),
        };
        fs::write(&file, text).unwrap();
        let mut command = c_compiler();
        let said = complaint(command.arg("-fsyntax-only").arg(&file));
        complaints.extend(said.map(|said| format!("{}: {said}", block.place)));
    }
    check(complaints);
}

/// Starts the program in the background when it is to serve, and waits until it does. All of them
/// end with the script.
const PRELUDE: &str = r#"
set -e
export HOME="$PWD" LC_ALL=C
serving=
trap 'for pid in $serving; do kill $pid 2>/dev/null || :; wait $pid 2>/dev/null || :; done' EXIT
neurohttp() {
    case "${1:-serve}" in
    serve | -*)
        case " $* " in
        *" --help "* | *" --version "*) "$PROGRAM" "$@"; return ;;
        esac
        rm -f .said; mkfifo .said
        "$PROGRAM" "$@" >.said 2>.log &
        serving="$serving $!"
        exec 9<.said
        read -r line <&9 || { cat .log; exit 1; } ;;
    *) "$PROGRAM" "$@" ;;
    esac
}
curl() { command curl -sS --fail-with-body --max-time 20 "$@"; }
"#;

/// What no test can do here: it is looked through only.
const NOT_RUN: [&str; 12] = [
    "systemctl",
    "journalctl",
    "docker",
    "podman",
    "apt",
    "apt-get",
    "dpkg",
    "make",
    "git",
    "sudo",
    "install",
    "man",
];

#[test]
fn commands_run() {
    let mut complaints = Vec::new();
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        let (shell, others): (Vec<_>, Vec<_>) =
            blocks(&page).into_iter().partition(|block| block.language == "sh");
        if shell.is_empty() {
            continue;
        }
        let mut script = PRELUDE.to_owned();
        let text: String = shell.iter().map(|block| format!("{}\n", block.text)).collect();
        // A page that asks before it has started a server of its own asks one with the defaults.
        let asks = text.find("127.0.0.1:8080").unwrap_or(usize::MAX);
        if asks < text.find("neurohttp serve").unwrap_or(usize::MAX) {
            script.push_str("neurohttp serve --listen 127.0.0.1:8080\n");
        }
        for block in &shell {
            script.push_str(&format!("echo '# {}'\n{}\n", block.place, block.text));
        }
        for port in ["8080", "8443", "9090"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let free = listener.local_addr().unwrap().port();
            script = script.replace(&format!(":{port}"), &format!(":{free}"));
        }
        let folder = fresh(&name.replace('/', "-"));
        // Programs that lie beside a page are there too.
        for entry in fs::read_dir(page.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "c") {
                fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
        for block in others {
            if let Some(file) = block.file {
                fs::write(folder.join(file), block.text).unwrap();
            }
        }
        let mut command = clean("sh");
        command.arg("-c").arg(&script).current_dir(&folder);
        command.env("PROGRAM", &stage().program).env("REPOSITORY", root());
        // What pkg-config would say of an installed library.
        let lib = stage().lib.display().to_string();
        let flags = folder.join("pkgconfig");
        fs::create_dir_all(&flags).unwrap();
        for package in ["neurohttp", "neurohttp-legacy"] {
            let include = root().join("include");
            let cflags = match package {
                "neurohttp" => format!("-I{}", include.display()),
                _ => format!("-I{0}/legacy -I{0}/legacy/ai", include.display()),
            };
            let text = format!(
                "Name: {package}\nDescription: x\nVersion: 1.0.0\nLibs: -L{lib} -lneurohttp -Wl,-rpath,{lib}\nCflags: {cflags}\n"
            );
            fs::write(flags.join(format!("{package}.pc")), text).unwrap();
        }
        command.env("PKG_CONFIG_PATH", &flags);
        complaints.extend(complaint(&mut command).map(|said| format!("{name}: {said}")));
    }
    check(complaints);
}

/// The targets of the Makefile.
fn targets() -> BTreeSet<String> {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let names = makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name));
    names.filter(|name| !name.contains([' ', '\t', '$'])).map(str::to_owned).collect()
}

/// What would break: a page that tells to type what is not there.
#[test]
fn commands_that_are_not_run_name_what_is_there() {
    let targets = targets();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
        let console = blocks(&page).into_iter().filter(|block| block.language == "console");
        let console: Vec<String> = console.map(|block| block.text).collect();
        for line in indented.chain(console.iter().flat_map(|text| text.lines())) {
            let line = line.trim_start_matches(['$', '#', ' ']).trim_start_matches("sudo ");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("make") => {
                    let target = words.find(|word| !word.contains('=')).unwrap_or("help");
                    assert!(targets.contains(target), "{}: {line}", page.display());
                }
                Some("systemctl" | "journalctl") => {
                    let units: Vec<_> = words.filter(|word| word.contains("neurohttp")).collect();
                    for unit in units {
                        let unit = unit.trim_end_matches(".service").trim_end_matches(".socket");
                        assert_eq!(unit, "neurohttp", "{}: {line}", page.display());
                    }
                }
                _ => {}
            }
        }
        for line in console.iter().flat_map(|text| text.lines()) {
            let Some(line) = line.strip_prefix(['$', '#']) else { continue };
            let word = line.split_whitespace().find(|word| *word != "sudo").unwrap();
            assert!(NOT_RUN.contains(&word), "{}: `{word}` could be run", page.display());
        }
    }
}

/// What would break: an error that an operator looks up in vain.
#[test]
fn every_code_is_explained() {
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let table =
        page.split_once("## Errors by their code").unwrap().1.split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let told: BTreeSet<&str> = rows
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|code| !code.is_empty())
        .collect();
    let mut given = BTreeSet::new();
    let mut open = vec![root().join("src")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for rest in text.split(".code(\"").skip(1) {
                given.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    let given: BTreeSet<&str> = given.iter().map(String::as_str).collect();
    let missing: Vec<_> = given.difference(&told).collect();
    let surplus: Vec<_> = told.difference(&given).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, too many {surplus:?}");
}
