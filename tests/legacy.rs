//! The old C surface from outside: headers, layouts, symbols, hosts and plugins, compiled by the C
//! compiler and run against the libraries.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::cc::succeed;
use support::stage::{root, scratch, stage};

const HEADERS: [&str; 14] = [
    "plugin.h",
    "server.h",
    "router.h",
    "parser.h",
    "config.h",
    "cache.h",
    "firewall.h",
    "optimizer.h",
    "stream.h",
    "utils.h",
    "asm_utils.h",
    "ai/prompt_router.h",
    "ai/stats.h",
    "ai/tokenizer.h",
];

/// What hosts of the original were compiled with, and our warnings as errors.
const OLD_FLAGS: [&str; 7] = [
    "-std=c11",
    "-D_POSIX_C_SOURCE=200809L",
    "-Wall",
    "-Wextra",
    "-Wstrict-prototypes",
    "-Werror",
    "-g",
];

fn compiler() -> Command {
    let mut command = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    command.args(OLD_FLAGS).args(include_paths());
    if let Ok(flags) = std::env::var("NH_CFLAGS") {
        command.args(flags.split_whitespace());
    }
    command
}

fn include_paths() -> [String; 2] {
    let folder = root().join("include/legacy");
    [format!("-I{}", folder.display()), format!("-I{}", folder.join("ai").display())]
}

/// A folder of one test, empty.
fn folder(name: &str) -> PathBuf {
    let folder = scratch().join("legacy").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// How a host is linked.
#[derive(Clone, Copy, Debug)]
enum Link {
    Shared,
    /// Shared, with the host's own symbols in the global scope.
    Rdynamic,
    Static,
    /// Shared, not position-independent.
    NoPie,
}

/// Builds a host of tests/legacy.
fn host(name: &str, link: Link) -> PathBuf {
    host_in(&format!("{name}-{link:?}"), name, link)
}

/// The same in a folder of this name.
fn host_in(place: &str, name: &str, link: Link) -> PathBuf {
    let output = folder(place).join(name);
    let mut command = compiler();
    // The tests' own sources also use usleep and strdup.
    command.arg("-D_DEFAULT_SOURCE").arg(root().join(format!("tests/legacy/{name}.c")));
    command.arg("-o").arg(&output);
    match link {
        Link::Static => command
            .args(["-pthread", "-rdynamic"])
            .arg(stage().lib.join("libneurohttp.a"))
            .args(&stage().native_libs),
        _ => command
            .arg("-pthread")
            .arg(format!("-L{}", stage().lib.display()))
            .arg("-lneurohttp")
            .arg(format!("-Wl,-rpath,{}", stage().lib.display())),
    };
    match link {
        Link::Rdynamic => {
            command.arg("-rdynamic");
        }
        Link::NoPie => {
            command.args(["-no-pie", "-fno-pie"]);
        }
        Link::Shared | Link::Static => {}
    }
    succeed(&mut command);
    output
}

/// Runs a host with its folder as the argument.
fn run(program: &Path, arguments: &[&Path]) {
    let mut command = match std::env::var("NH_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split_whitespace();
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(program);
            command
        }
        Err(_) => Command::new(program),
    };
    command.args(arguments).current_dir(program.parent().unwrap());
    succeed(&mut command);
}

fn build_and_run(name: &str, link: Link) {
    let program = host(name, link);
    run(&program, &[program.parent().unwrap()]);
}

/// Old hosts include any header first, twice, and by both of its names.
#[test]
fn headers_stand_alone_and_together_in_c_and_cpp() {
    let folder = folder("headers");
    let mut together = String::new();
    for header in HEADERS {
        let mut source = format!("#include \"{header}\"\n#include \"{header}\"\n");
        if let Some(short) = header.strip_prefix("ai/") {
            let _ = writeln!(source, "#include \"{short}\"");
        }
        together.push_str(&source);
        compile_both(&folder, &header.replace('/', "-"), &source);
    }
    compile_both(&folder, "together", &together);
}

fn compile_both(folder: &Path, name: &str, source: &str) {
    let source = format!("{source}\nint main(void) {{ return 0; }}\n");
    let c = folder.join(format!("{name}.c"));
    let cpp = folder.join(format!("{name}.cpp"));
    std::fs::write(&c, &source).unwrap();
    std::fs::write(&cpp, &source).unwrap();
    succeed(compiler().args(["-fsyntax-only", "-Wpedantic"]).arg(&c));
    let cxx = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"];
    succeed(Command::new(cxx).args(flags).args(include_paths()).arg(&cpp));
}

/// A field that moves breaks every compiled host.
#[test]
fn headers_match_the_layout_table() {
    let table = std::fs::read_to_string(root().join("tests/abi/layout.txt")).unwrap();
    let mut source = String::from("#include <stddef.h>\n");
    for header in HEADERS {
        let _ = writeln!(source, "#include \"{header}\"");
    }
    let mut rows = 0;
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, name, _, first, _, second] = words[..] else {
            panic!("a row of six words: {line}")
        };
        let check = match name.split_once('.') {
            Some((structure, field)) => format!(
                "offsetof({structure}, {field}) == {first} && sizeof((({structure} *)0)->{field}) == {second}"
            ),
            None => format!("sizeof({name}) == {first} && _Alignof({name}) == {second}"),
        };
        let _ = writeln!(source, "_Static_assert({check}, \"{name}\");");
        rows += 1;
    }
    assert!(rows > 150, "{rows} rows");
    source.push_str("int main(void) { return 0; }\n");
    let file = folder("layout").join("layout.c");
    std::fs::write(&file, source).unwrap();
    succeed(compiler().arg("-fsyntax-only").arg(&file));
}

/// The names of `tests/abi/symbols.txt`: one a line, with the release that added it.
fn golden_symbols() -> BTreeSet<String> {
    let list = std::fs::read_to_string(root().join("tests/abi/symbols.txt")).unwrap();
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// What leaves the shared library is a promise: a name more or less is told here.
#[test]
fn the_shared_library_exports_the_listed_names_only() {
    let output = succeed(
        Command::new("nm")
            .args(["-D", "--defined-only", "--format=posix"])
            .arg(stage().lib.join("libneurohttp.so")),
    );
    let exported: BTreeSet<String> = output
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let old: BTreeSet<String> =
        exported.iter().filter(|name| !name.starts_with("nh_")).cloned().collect();
    let golden = golden_symbols();
    let missing: Vec<_> = golden.difference(&exported).collect();
    let unlisted: Vec<_> = old.difference(&golden).collect();
    assert!(missing.is_empty(), "no longer exported: {missing:?}");
    assert!(unlisted.is_empty(), "exported but not in tests/abi/symbols.txt: {unlisted:?}");
    let size = succeed(
        Command::new("nm")
            .args(["-D", "--defined-only", "--print-size"])
            .arg(stage().lib.join("libneurohttp.so")),
    );
    let features = size.lines().find(|line| line.ends_with(" cpu_features")).unwrap();
    assert!(features.contains(" 0000000000000003 "), "cpu_features has three bytes: {features}");
}

/// Every prototype of the headers has its function, and every listed name its prototype.
#[test]
fn headers_and_symbols_agree() {
    let folder = folder("prototypes");
    let mut source = String::new();
    for header in HEADERS {
        let _ = writeln!(source, "#include \"{header}\"");
    }
    let (file, list) = (folder.join("all.c"), folder.join("prototypes"));
    std::fs::write(&file, source).unwrap();
    succeed(compiler().args(["-fsyntax-only", "-aux-info"]).arg(&list).arg(&file));
    let text = std::fs::read_to_string(&list).unwrap();
    let mut declared: BTreeSet<String> = text
        .lines()
        .filter(|line| line.contains("include/legacy"))
        .filter_map(|line| {
            let declaration = line.split_once("*/")?.1;
            let name = declaration.split_once(" (")?.0;
            Some(name.rsplit([' ', '*']).next()?.to_owned())
        })
        .collect();
    assert_eq!(declared.len(), 189, "functions in the headers");
    declared.insert("cpu_features".to_owned());
    let old: BTreeSet<String> =
        golden_symbols().into_iter().filter(|name| !name.starts_with("nh_")).collect();
    assert_eq!(declared, old);
}

#[test]
fn utilities_do_what_the_header_says() {
    build_and_run("utils", Link::Shared);
}

#[test]
fn subsystems_do_what_their_headers_say() {
    build_and_run("subsystems", Link::Shared);
}

#[test]
fn streams_send_chunks_and_never_a_signal() {
    build_and_run("stream", Link::Shared);
}

#[test]
fn misuse_is_an_error_value() {
    build_and_run("nulls", Link::Shared);
}

#[test]
fn prompts_reach_a_model() {
    build_and_run("prompts", Link::Shared);
}

#[test]
fn threads_may_call_anything() {
    build_and_run("threads", Link::Shared);
}

#[test]
fn an_old_host_serves() {
    build_and_run("server", Link::Shared);
}

#[test]
fn an_old_host_serves_when_linked_statically() {
    build_and_run("server", Link::Static);
}

/// A host's own functions of our names stay its own, however it is linked.
#[test]
fn a_host_may_define_our_names() {
    build_and_run("clash", Link::Shared);
    build_and_run("clash", Link::Rdynamic);
}

#[test]
fn the_feature_bytes_reach_a_fixed_address_host() {
    build_and_run("features", Link::NoPie);
    build_and_run("features", Link::Shared);
}

/// Builds the plugins of tests/legacy/plugins into a folder beside the host.
fn old_plugins(program: &Path, link: Link) -> PathBuf {
    let plugins = program.parent().unwrap().join("loaded");
    std::fs::create_dir_all(&plugins).unwrap();
    for (source, name) in [
        ("first", "first.so"),
        ("second", "second.with.dots.so"),
        ("third", "third.so"),
        ("lacks", "lacks.so"),
        ("fails", "fails.so"),
    ] {
        let mut command = compiler();
        command.args(["-shared", "-fPIC", "-D_DEFAULT_SOURCE"]);
        command.arg(root().join(format!("tests/legacy/plugins/{source}.c")));
        command.arg("-o").arg(plugins.join(name));
        // One that is linked with the library finds the manager's functions where it lacks its own.
        if source == "lacks" && !matches!(link, Link::Static) {
            command.arg("-Wl,--no-as-needed").arg(format!("-L{}", stage().lib.display()));
            command.arg("-lneurohttp").arg(format!("-Wl,-rpath,{}", stage().lib.display()));
        }
        succeed(&mut command);
    }
    plugins
}

/// Plugins that call their own functions, lack one, fail, or leave while requests run.
#[test]
fn plugins_run_under_every_kind_of_host() {
    for link in [Link::Shared, Link::Rdynamic, Link::Static] {
        let program = host("plugins", link);
        let plugins = old_plugins(&program, link);
        run(&program, &[&plugins]);
    }
}

/// A read of what is gone, or memory that nobody frees, on either side of the boundary.
#[test]
fn valgrind_finds_no_error_and_no_leak_in_old_hosts() {
    let is_there = Command::new("valgrind").arg("--version").output().is_ok();
    // Without optimization it takes too long for every run.
    if !is_there
        || std::env::var_os("NH_STAGE").is_none()
        || std::env::var_os("NH_CFLAGS").is_some()
    {
        eprintln!("skipped: needs valgrind, an optimized build and no sanitizer");
        return;
    }
    for name in ["subsystems", "stream", "server", "plugins"] {
        let program = host_in(&format!("valgrind-{name}"), name, Link::Shared);
        let argument = match name {
            "plugins" => old_plugins(&program, Link::Shared),
            _ => program.parent().unwrap().to_owned(),
        };
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9", "--leak-check=full"]);
        command.arg("--errors-for-leak-kinds=definite,indirect");
        command.arg(format!("--suppressions={}", root().join("tests/valgrind.supp").display()));
        succeed(command.arg(&program).arg(argument).current_dir(program.parent().unwrap()));
    }
}

/// The shipped plugins in an old host: OpenAI's routes over its prompt router, limits, rows.
#[test]
fn shipped_plugins_serve_an_old_host() {
    for link in [Link::Shared, Link::Static] {
        let program = host("proxy", link);
        let plugins = program.parent().unwrap().join("loaded");
        std::fs::create_dir_all(&plugins).unwrap();
        for name in ["limiter", "logstats", "openai_proxy"] {
            let mut command = compiler();
            command.args(["-shared", "-fPIC", "-pthread", "-I"]).arg(root().join("include"));
            command.arg(root().join(format!("plugins/{name}.c")));
            succeed(command.arg("-o").arg(plugins.join(format!("{name}.so"))));
        }
        run(&program, &[&plugins]);
    }
}
