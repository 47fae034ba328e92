//! The C programs of `tests/c/` against both libraries, and the header on its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::cc::{Link, build, c_compiler, succeed};
use support::process::Server;
use support::stage::{root, scratch, stage};
use support::{for_each_link, process};

/// Runs one program with both links; it checks itself and returns 0.
fn run(name: &str) {
    for_each_link(|link| {
        let mut command = process::clean(build(&format!("tests/c/{name}.c"), link));
        Server::launch(&mut command).expect_exit(0);
    });
}

macro_rules! programs {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_program_is_run() {
            let listed = BTreeSet::from([$(stringify!($name).to_owned()),*]);
            assert_eq!(listed, sources("c"));
        }
    };
}

programs! {
    attached cache client deferred firewall header hooks kernels life middleware model null options reload
    request response routes signals stream threads two_servers
}

/// The names of the files in `tests/c` with this ending.
fn sources(ending: &str) -> BTreeSet<String> {
    fs::read_dir(root().join("tests/c"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(&format!(".{ending}"))?.to_owned()))
        .collect()
}

#[test]
fn the_header_compiles_alone_as_c11_and_as_cxx17() {
    let header = root().join("include/neurohttp.h");
    succeed(c_compiler().args(["-fsyntax-only", "-x", "c"]).arg(&header));
    let Some(program) = build_cxx("header") else { return };
    Server::launch(&mut process::clean(program)).expect_exit(0);
}

/// Builds a C++17 program of `tests/c`; `None` without a compiler.
fn build_cxx(name: &str) -> Option<PathBuf> {
    let cxx = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    if Command::new(&cxx).arg("--version").output().is_err() {
        eprintln!("skipped: no C++ compiler");
        return None;
    }
    let program = scratch().join(format!("{name}-cxx"));
    let lib = &stage().lib;
    succeed(
        Command::new(&cxx)
            .args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
            .arg(root().join("include"))
            .arg(root().join(format!("tests/c/{name}.cpp")))
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(lib)
            .arg("-lneurohttp")
            .arg(format!("-Wl,-rpath,{}", lib.display())),
    );
    Some(program)
}

#[test]
fn an_exception_that_leaves_a_callback_ends_the_process() {
    // Taken for a return it would answer a request that nobody has finished.
    let Some(program) = build_cxx("exception") else { return };
    let status = Server::launch(&mut process::clean(program)).wait(Duration::from_secs(30));
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
}

#[test]
fn every_macro_and_every_function_of_the_header_is_used_by_a_program() {
    // A macro nobody expands and a function nobody calls with NULL are where headers rot.
    let header = fs::read_to_string(root().join("include/neurohttp.h")).unwrap();
    let programs: String = sources("c")
        .iter()
        .map(|name| fs::read_to_string(root().join(format!("tests/c/{name}.c"))).unwrap())
        .collect();
    let used = words(&programs);
    let macros = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter_map(|line| line.split([' ', '(']).next())
        .filter(|name| name.starts_with("NH_") || name.starts_with("NEUROHTTP_"));
    let unused: Vec<&str> =
        macros.chain(functions(&header)).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "no program in tests/c uses {unused:?}");
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

/// The functions that a header declares: a name that starts a parameter list, outside comments.
fn functions(header: &str) -> impl Iterator<Item = &str> {
    header
        .lines()
        .filter(|line| !line.trim_start().starts_with(['*', '/']))
        .filter_map(|line| line.split_once('(').map(|(before, _)| before))
        .filter_map(|before| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("nh_"))
}

#[test]
fn the_libraries_offer_what_the_header_declares_and_hide_the_rest() {
    let header = fs::read_to_string(root().join("include/neurohttp.h")).unwrap();
    let declared: BTreeSet<String> = functions(&header).map(str::to_owned).collect();
    let shared = defined(&["-D"], "libneurohttp.so");
    let ours: BTreeSet<String> =
        shared.iter().filter(|name| name.starts_with("nh_")).cloned().collect();
    assert_eq!(declared, ours);
    let rust: Vec<&String> = shared.iter().filter(|name| name.starts_with("_")).collect();
    assert!(rust.is_empty(), "{rust:?}");
    if std::env::var_os("NH_STAGE").is_some() {
        // The archive is narrowed when it is staged.
        assert_eq!(defined(&["-g"], "libneurohttp.a"), shared);
    }
}

/// The names that a library defines for others.
fn defined(flags: &[&str], library: &str) -> BTreeSet<String> {
    let list = succeed(
        Command::new("nm").arg("--defined-only").args(flags).arg(stage().lib.join(library)),
    );
    list.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
}

#[test]
fn the_shared_library_is_loaded_by_its_soname() {
    let dynamic =
        succeed(Command::new("readelf").arg("-d").arg(stage().lib.join("libneurohttp.so")));
    assert!(dynamic.contains("Library soname: [libneurohttp.so.1]"), "{dynamic}");
    let program = build("tests/c/kernels.c", Link::Shared);
    let needed = succeed(Command::new("readelf").arg("-d").arg(program));
    assert!(needed.contains("[libneurohttp.so.1]"), "{needed}");
}

/// One object in assembly without its note would make the stack of every program executable.
#[test]
fn the_stack_stays_not_executable() {
    let segments =
        succeed(Command::new("readelf").arg("-lW").arg(stage().lib.join("libneurohttp.so")));
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("a GNU_STACK line");
    assert!(stack.contains(" RW ") && !stack.contains("RWE"), "{stack}");
}

/// `perf` and debuggers stop at a function without unwind information. Each kernel begins an entry of it;
/// tests/kernels calls them all, so none can be missing from the library unseen.
#[test]
fn kernels_can_be_unwound() {
    let library = stage().lib.join("libneurohttp.so");
    let names = succeed(Command::new("nm").arg(&library));
    let frames = succeed(Command::new("readelf").arg("--debug-dump=frames").arg(&library));
    let mut kernels = 0;
    for line in names.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some("t"), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let is_kernel = ["_sse42", "_avx2", "_avx512"].iter().any(|level| name.ends_with(level));
        if name.starts_with("nh_") && is_kernel {
            assert!(frames.contains(&format!("pc={address}..")), "{name} at {address}");
            kernels += 1;
        }
    }
    assert_eq!(kernels > 0, cfg!(nh_asm), "{kernels} kernels in the library");
}
