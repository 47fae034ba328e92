//! The header `include/neurohttp.h`: fresh, complete, clean as C11 and C++17.
//!
//! What would break: a C program that was compiled against a header that is not the library's, or
//! that does not compile at all. `NEUROHTTP_WRITE_HEADER=1` (`make header`) rewrites the file.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The sources, in the order of the header.
const SOURCES: [&str; 24] = [
    "version",
    "status",
    "memory",
    "log",
    "server",
    "attach",
    "route",
    "middleware",
    "request",
    "response",
    "deferred",
    "stream",
    "client",
    "reply",
    "model",
    "firewall",
    "cache",
    "generate",
    "hooks",
    "tokens",
    "kernel",
    "plugin_context",
    "plugin_host",
    "plugin",
];

/// Flags under which the header must be silent.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn source(name: &str) -> PathBuf {
    root().join("src/ffi").join(name).with_extension("rs")
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(source(name));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    polish(&String::from_utf8(header).unwrap())
}

/// What the generator has no option for: types without their `struct`, numbers that keep their
/// sign in any expression, flags that are unsigned.
fn polish(header: &str) -> String {
    let mut unsigned = BTreeSet::new();
    for name in SOURCES {
        let text = std::fs::read_to_string(source(name)).unwrap();
        let constants = text.lines().filter_map(|line| line.strip_prefix("pub const "));
        let names = constants.filter_map(|rest| rest.split_once(": u32 = "));
        unsigned.extend(names.map(|(name, _)| name.to_owned()));
    }
    let mut out = String::new();
    for line in header.lines() {
        let defined = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '));
        match defined {
            Some((name, number)) if number.starts_with('-') => {
                out.push_str(&format!("#define {name} ({number})"));
            }
            Some((name, number)) if unsigned.contains(name) => {
                out.push_str(&format!("#define {name} {number}u"));
            }
            _ if line.starts_with("typedef struct") => out.push_str(line),
            _ => out.push_str(&line.replace("struct nh_", "nh_")),
        }
        out.push('\n');
    }
    out
}

fn committed() -> String {
    std::fs::read_to_string(root().join("include/neurohttp.h")).unwrap_or_default()
}

/// The declarations of functions: comments, preprocessor and types left out, blanks made one.
fn declarations(header: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = header;
    while let Some((code, comment)) = rest.split_once("/*") {
        text.push_str(code);
        rest = comment.split_once("*/").unwrap().1;
    }
    text.push_str(rest);
    let code: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut code = code.join(" ").replace("extern \"C\" {", ";");
    // The members of a struct may be functions too; they are part of its type.
    while let Some(start) = code.find("typedef struct nh_").filter(|_| code.contains('{')) {
        let body = code[start..].find(';').unwrap() + start;
        match code[start..body].find('{') {
            Some(open) => {
                let end = code[start..].find('}').unwrap() + start;
                code.replace_range(start + open..=end, "");
            }
            None => code.replace_range(start..body, ""),
        }
    }
    let statements = code.split(';').map(|part| part.split_whitespace().collect::<Vec<_>>());
    statements
        .map(|words| words.join(" "))
        .filter(|statement| statement.contains('(') && !statement.starts_with("typedef"))
        .collect()
}

/// A declaration with the names of its parameters left out.
fn prototype(declaration: &str) -> String {
    let (head, parameters) = declaration.split_once('(').unwrap();
    let parameters = parameters.trim_end_matches(')').split(", ").map(|parameter| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let kind = parameter.trim_end_matches(is_name).trim_end();
        if kind.is_empty() { parameter.to_owned() } else { kind.to_owned() }
    });
    format!("{head}({})", parameters.collect::<Vec<_>>().join(", "))
}

/// Compiles a source and fails with the compiler's words when it complains.
fn compile(compiler: &str, arguments: &[&str], code: &str, extension: &str) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = dir.join(format!("header-{}-{count}.{extension}", std::process::id()));
    std::fs::write(&file, code).unwrap();
    let output = Command::new(compiler)
        .args(arguments)
        .args(STRICT)
        .arg("-fsyntax-only")
        .arg("-I")
        .arg(root().join("include"))
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("{compiler} does not start: {error}"));
    std::fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{compiler} {arguments:?}:\n{said}");
}

fn compiler(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}

#[test]
fn the_committed_header_is_fresh() {
    let fresh = generate();
    if std::env::var_os("NEUROHTTP_WRITE_HEADER").is_some() {
        std::fs::write(root().join("include/neurohttp.h"), &fresh).unwrap();
    }
    assert!(committed() == fresh, "include/neurohttp.h is not what src/ffi says: make header");
}

/// The agreed functions and the release of each.
fn agreed() -> BTreeMap<String, String> {
    let list = std::fs::read_to_string(root().join("tests/abi/nh_symbols.txt")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(release, prototype)| (prototype.to_owned(), release.to_owned()))
        .collect()
}

#[test]
fn every_function_has_the_agreed_prototype() {
    let header = generate();
    let found: BTreeSet<_> = declarations(&header).iter().map(|text| prototype(text)).collect();
    let agreed: BTreeSet<_> = agreed().into_keys().collect();
    let missing: Vec<_> = agreed.difference(&found).collect();
    let surplus: Vec<_> = found.difference(&agreed).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}, new {surplus:#?}");
}

#[test]
fn every_function_is_documented_with_its_release() {
    let (header, agreed) = (generate(), agreed());
    for declaration in declarations(&header) {
        let name = declaration.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap();
        let before = header.rsplit_once(&format!("{name}(")).unwrap().0;
        let comment = before.rsplit("/**").next().unwrap();
        let comment = comment.split("*/").next().unwrap();
        let since = format!("Since {}.", agreed[&prototype(&declaration)]);
        assert!(comment.contains(&since), "{name} does not say {since:?}");
    }
}

#[test]
fn the_header_compiles_alone_and_twice() {
    let twice =
        "#include \"neurohttp.h\"\n#include \"neurohttp.h\"\nint main(void) { return 0; }\n";
    let strict_c = ["-std=c11", "-Wstrict-prototypes"];
    compile(&compiler("CC", "cc"), &strict_c, twice, "c");
    compile(&compiler("CXX", "c++"), &["-std=c++17"], twice, "cpp");
}

#[test]
fn layout_and_macros_are_what_programs_were_compiled_with() {
    for name in ["nh_layout.c", "nh_macros.c"] {
        let code = std::fs::read_to_string(root().join("tests/abi").join(name)).unwrap();
        compile(&compiler("CC", "cc"), &["-std=c11", "-Wstrict-prototypes"], &code, "c");
        compile(&compiler("CXX", "c++"), &["-std=c++17"], &code, "cpp");
    }
    let checked = std::fs::read_to_string(root().join("tests/abi/nh_macros.c")).unwrap();
    let header = committed();
    let defined = header.lines().filter_map(|line| line.strip_prefix("#define NH_"));
    for name in defined.filter_map(|rest| rest.split_once(' ')).map(|(name, _)| name) {
        let check = format!("CHECK(NH_{name}, ");
        assert!(checked.contains(&check), "tests/abi/nh_macros.c does not check NH_{name}");
    }
}

#[test]
fn the_server_on_the_opening_page_compiles() {
    let header = committed();
    let example = header.split("A COMPLETE SERVER").nth(1).unwrap().split(" * It listens").next();
    let lines: Vec<_> =
        example.unwrap().lines().filter_map(|l| l.strip_prefix(" *     ")).collect();
    assert_eq!(lines.len(), 13, "{lines:#?}");
    compile(&compiler("CC", "cc"), &["-std=c11"], &(lines.join("\n") + "\n"), "c");
    compile(&compiler("CXX", "c++"), &["-std=c++17"], &(lines.join("\n") + "\n"), "cpp");
}
