//! `make install` and `make uninstall`: what is put where, a program linked through pkg-config
//! from there, and nothing left at the end.
//!
//! It installs what `make build` has staged, so it runs as a part of `make test` only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::cc::{STRICT, succeed};
use support::process::{Server, clean};
use support::stage::{root, scratch};

/// A fresh folder for one test.
fn fresh(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn make(arguments: &[String]) -> String {
    // The flags of a make around us speak of its own jobs.
    let mut command = Command::new("make");
    command.args(["-C", root().to_str().unwrap()]).args(arguments);
    succeed(command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"))
}

fn staged() -> bool {
    let staged = std::env::var_os("NH_STAGE").is_some();
    if !staged {
        eprintln!("skipped: needs what `make build` stages; `make test` runs it");
    }
    staged
}

/// Files and links below a folder, by their path inside it.
fn entries(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path();
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Documents that are read where they are installed must not send their reader to the sources.
fn links_lead_somewhere(folder: &Path, installed: &BTreeSet<String>) {
    for name in installed.iter().filter_map(|name| name.strip_prefix("share/doc/neurohttp/")) {
        let Ok(text) = fs::read_to_string(folder.join(name)) else { continue };
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1).filter(|_| name.ends_with(".md")) {
            let link = link.split([')', '#']).next().unwrap();
            let is_there = folder.join(name).parent().unwrap().join(link).exists();
            assert!(is_there || link.starts_with("http"), "{name}: {link}");
        }
    }
}

/// The flags that pkg-config gives for a package that is installed under `prefix`.
fn pkg_config(prefix: &Path, package: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg(package);
    let output = succeed(command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
    output.split_whitespace().map(str::to_owned).collect()
}

/// The flags for the archive, where the shared library stands beside it.
fn archive_flags(prefix: &Path, package: &str) -> Vec<String> {
    let flags = pkg_config(prefix, package, &["--cflags", "--libs", "--static"]);
    flags.into_iter().map(|flag| flag.replace("-lneurohttp", "-l:libneurohttp.a")).collect()
}

/// Compiles hello.c as a user would and lets it answer.
fn check_program(prefix: &Path, flags: &[String], name: &str) {
    let program = prefix.join(name);
    succeed(
        Command::new("cc")
            .args(STRICT)
            .arg(root().join("c_examples/hello.c"))
            .arg("-o")
            .arg(&program)
            .args(flags),
    );
    let mut command = clean(&program);
    command.env("LD_LIBRARY_PATH", prefix.join("lib")).arg("0");
    let server = Server::start(&mut command);
    let answer = server.connect().get("/hello/you").answer();
    assert_eq!(answer.text(), "Hello, you!\n");
    server.stop();
}

#[test]
fn installs_links_and_uninstalls() {
    if !staged() {
        return;
    }
    let prefix = fresh("install-prefix");
    let arguments = [format!("PREFIX={}", prefix.display())];
    make(&[&["install".to_owned()], &arguments[..]].concat());
    let version = env!("CARGO_PKG_VERSION");
    let installed = entries(&prefix);
    for wanted in [
        "bin/neurohttp",
        "bin/aionic",
        "include/neurohttp.h",
        "lib/libneurohttp.a",
        "lib/libneurohttp.so",
        "lib/libneurohttp.so.1",
        &format!("lib/libneurohttp.so.{version}"),
        "lib/pkgconfig/neurohttp.pc",
        "lib/pkgconfig/neurohttp-legacy.pc",
        "lib/cmake/neurohttp/neurohttpConfig.cmake",
        "lib/cmake/neurohttp/neurohttpConfigVersion.cmake",
        "lib/neurohttp/plugins/limiter.so",
        "lib/neurohttp/plugins/logstats.so",
        "lib/neurohttp/plugins/openai_proxy.so",
        "include/neurohttp/legacy/server.h",
        "include/neurohttp/legacy/ai/prompt_router.h",
        "etc/neurohttp/neurohttp.toml",
        "etc/neurohttp/aionic.conf",
        "lib/systemd/system/neurohttp.service",
        "lib/systemd/system/neurohttp.socket",
        "share/man/man1/neurohttp.1",
        "share/man/man5/neurohttp.toml.5",
        "share/man/man3/libneurohttp.3",
        "share/doc/neurohttp/README.md",
        "share/doc/neurohttp/index.md",
        "share/doc/neurohttp/fronts/nginx.conf",
        "share/doc/neurohttp/examples/hello.c",
        "share/doc/neurohttp/migration.md",
        "share/doc/neurohttp/plugins.md",
    ] {
        assert!(installed.contains(wanted), "{wanted} is not among {installed:?}");
    }
    links_lead_somewhere(&prefix.join("share/doc/neurohttp"), &installed);
    assert!(fs::symlink_metadata(prefix.join("lib/libneurohttp.so.1")).unwrap().is_symlink());
    let program = clean(prefix.join("bin/neurohttp")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&program.stdout).trim(), format!("neurohttp {version}"));

    assert_eq!(pkg_config(&prefix, "neurohttp", &["--modversion"]), [version]);
    check_program(&prefix, &pkg_config(&prefix, "neurohttp", &["--cflags", "--libs"]), "shared");
    check_program(&prefix, &archive_flags(&prefix, "neurohttp"), "static");
    let needed = succeed(Command::new("readelf").arg("-d").arg(prefix.join("static")));
    assert!(!needed.contains("libneurohttp"), "{needed}");

    for program in ["shared", "static"] {
        fs::remove_file(prefix.join(program)).unwrap();
    }
    make(&[&["uninstall".to_owned()], &arguments[..]].concat());
    assert_eq!(entries(&prefix), BTreeSet::new());
}

/// What would break: distributions whose libraries lie in a folder of their architecture.
#[test]
fn libraries_may_lie_elsewhere() {
    if !staged() {
        return;
    }
    let prefix = fresh("install-libdir");
    let lib = prefix.join("lib/some-arch");
    let place = [format!("PREFIX={}", prefix.display()), format!("LIBDIR={}", lib.display())];
    make(&[&["install".to_owned()], &place[..]].concat());
    assert!(lib.join("libneurohttp.so.1").exists() && !prefix.join("lib/libneurohttp.so").exists());
    let pc = fs::read_to_string(lib.join("pkgconfig/neurohttp.pc")).unwrap();
    assert!(pc.contains("libdir=${prefix}/lib/some-arch\n"), "{pc}");
    let cmake = fs::read_to_string(lib.join("cmake/neurohttp/neurohttpConfig.cmake")).unwrap();
    assert!(cmake.contains("CMAKE_CURRENT_LIST_DIR}/../../../..\""), "{cmake}");

    let program = prefix.join("load");
    let mut flags = Command::new("pkg-config");
    flags.args(["--cflags", "--libs", "neurohttp"]).env("PKG_CONFIG_PATH", lib.join("pkgconfig"));
    let flags = succeed(&mut flags);
    succeed(
        Command::new("cc")
            .arg(load_source(&prefix))
            .arg("-o")
            .arg(&program)
            .args(flags.split_whitespace()),
    );
    succeed(clean(&program).env("LD_LIBRARY_PATH", &lib));
    for file in ["load", "load.c"] {
        fs::remove_file(prefix.join(file)).unwrap();
    }
    make(&[&["uninstall".to_owned()], &place[..]].concat());
    assert_eq!(entries(&prefix), BTreeSet::new());
}

#[test]
fn a_destdir_is_a_stage_and_leaves_no_trace_in_the_files() {
    if !staged() {
        return;
    }
    let stage = fresh("install-destdir");
    let arguments = ["PREFIX=/usr".to_owned(), format!("DESTDIR={}", stage.display())];
    make(&[&["install".to_owned()], &arguments[..]].concat());
    assert!(stage.join("usr/bin/neurohttp").exists());
    let pc = fs::read_to_string(stage.join("usr/lib/pkgconfig/neurohttp.pc")).unwrap();
    assert!(pc.contains("prefix=/usr\n") && !pc.contains("install-destdir"), "{pc}");

    // What belongs to others stays, and so does a configuration that was edited.
    fs::write(stage.join("usr/lib/other.so"), "other").unwrap();
    let mut left = BTreeSet::from(["usr/lib/other.so".to_owned()]);
    let sample = stage.join("etc/neurohttp/neurohttp.toml");
    fs::write(&sample, "[server]\nworkers = 3\n").unwrap();
    make(&[&["install".to_owned()], &arguments[..]].concat());
    assert_eq!(fs::read_to_string(&sample).unwrap(), "[server]\nworkers = 3\n");
    left.insert("etc/neurohttp/neurohttp.toml".to_owned());
    make(&[&["uninstall".to_owned()], &arguments[..]].concat());
    assert_eq!(entries(&stage), left);
}

/// Installs into a fresh prefix.
fn install(name: &str) -> PathBuf {
    let prefix = fresh(name);
    make(&["install".to_owned(), format!("PREFIX={}", prefix.display())]);
    prefix
}

/// What hosts of the original were compiled with.
const OLD_FLAGS: [&str; 5] =
    ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE", "-Wall", "-Werror"];

/// What would break: a host of the original that needs more than another include path and link line.
#[test]
fn old_hosts_build_and_run_against_what_is_installed() {
    if !staged() {
        return;
    }
    let prefix = install("install-old");
    let shared = pkg_config(&prefix, "neurohttp-legacy", &["--cflags", "--libs"]);
    let archive = archive_flags(&prefix, "neurohttp-legacy");
    let plugins = prefix.join("old-plugins");
    fs::create_dir_all(&plugins).unwrap();
    for (source, name) in [
        ("first", "first"),
        ("second", "second.with.dots"),
        ("third", "third"),
        ("lacks", "lacks"),
        ("fails", "fails"),
    ] {
        let mut command = Command::new("cc");
        command.args(OLD_FLAGS).args(["-shared", "-fPIC"]);
        command.args(pkg_config(&prefix, "neurohttp-legacy", &["--cflags"]));
        command.arg(root().join(format!("tests/legacy/plugins/{source}.c")));
        succeed(command.arg("-o").arg(plugins.join(format!("{name}.so"))));
    }
    // Every subsystem; a server with routes, middleware and plugins; one with clashing names.
    for (host, flags, extra) in [
        ("subsystems", &shared, &[][..]),
        ("utils", &archive, &[]),
        ("stream", &archive, &[]),
        ("prompts", &shared, &[]),
        ("server", &shared, &[]),
        ("server", &archive, &[]),
        ("plugins", &shared, &[]),
        ("plugins", &shared, &["-rdynamic"]),
        ("plugins", &archive, &["-rdynamic"]),
        ("clash", &shared, &["-rdynamic"]),
        ("clash", &archive, &[]),
        ("features", &shared, &["-no-pie", "-fno-pie"]),
    ] {
        let program = prefix.join("host");
        let mut command = Command::new("cc");
        command.args(OLD_FLAGS).args(extra);
        command.arg(root().join(format!("tests/legacy/{host}.c"))).arg("-o").arg(&program);
        succeed(command.args(flags).arg("-pthread"));
        let folder = if host == "plugins" { plugins.clone() } else { fresh("install-old-run") };
        let mut command = clean(&program);
        command.env("LD_LIBRARY_PATH", prefix.join("lib")).current_dir(fresh("install-old-cwd"));
        eprintln!("{host} {extra:?}");
        Server::launch(command.arg(folder)).expect_exit(0);
    }
}

/// A program that loads a plugin by its name.
fn load_source(folder: &Path) -> PathBuf {
    let source = folder.join("load.c");
    fs::write(
        &source,
        "#include <neurohttp.h>\n#include <stdio.h>\nint main(void) {\n    nh_server *server;\n\
         if (nh_server_new(NULL, &server) != NH_OK) return 1;\n\
         if (nh_plugin_load(server, \"limiter\", NULL) != NH_OK) { puts(nh_last_error_message()); return 1; }\n\
         nh_server_free(server);\n    return 0;\n}\n",
    )
    .unwrap();
    source
}

/// What would break: plugins that are not found by their names where they were installed.
#[test]
fn shipped_plugins_are_found_beside_the_program_and_the_library() {
    if !staged() {
        return;
    }
    let prefix = install("install-plugins");
    let mut command = clean(prefix.join("bin/neurohttp"));
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--set",
        "plugins.load=limiter",
        "--set",
        "plugin.limiter.requests=1",
    ]);
    let server = Server::start(command.args(["--set", "plugin.limiter.seconds=3600"]));
    let statuses: Vec<u16> =
        (0..3).map(|_| server.connect().get("/health").answer().status).collect();
    assert_eq!(statuses, [200, 429, 429]);
    server.stop();

    // Called by its name alone, as from a shell.
    let mut command = clean("sh");
    command.args(["-c", "exec neurohttp --listen 127.0.0.1:0 --set plugins.load=limiter"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", prefix.join("bin").display()));
    Server::start(&mut command).stop();

    let program = prefix.join("load");
    succeed(Command::new("cc").arg(load_source(&prefix)).arg("-o").arg(&program).args(pkg_config(
        &prefix,
        "neurohttp",
        &["--cflags", "--libs"],
    )));
    succeed(clean(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
}

#[test]
fn cmake_finds_the_libraries() {
    if !staged() {
        return;
    }
    if Command::new("cmake").arg("--version").output().is_err() {
        eprintln!("skipped: no cmake");
        return;
    }
    let prefix = install("install-cmake");
    let project = fresh("install-cmake-project");
    let text = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(hosts C)\nfind_package(neurohttp 1.0 REQUIRED)\n\
         set(CMAKE_C_STANDARD 11)\nadd_definitions(-D_DEFAULT_SOURCE)\n\
         add_executable(new {0}/c_examples/hello.c)\ntarget_link_libraries(new neurohttp::neurohttp)\n\
         add_executable(new_static {0}/c_examples/hello.c)\ntarget_link_libraries(new_static neurohttp::static)\n\
         add_executable(old {0}/tests/legacy/utils.c)\ntarget_link_libraries(old neurohttp::legacy)\n\
         add_executable(old_static {0}/tests/legacy/utils.c)\ntarget_link_libraries(old_static neurohttp::legacy_static)\n",
        root().display()
    );
    fs::write(project.join("CMakeLists.txt"), text).unwrap();
    let build = project.join("build");
    let prefix_path = format!("-DCMAKE_PREFIX_PATH={}", prefix.display());
    succeed(Command::new("cmake").arg("-S").arg(&project).arg("-B").arg(&build).arg(prefix_path));
    succeed(Command::new("cmake").arg("--build").arg(&build));
    for program in ["old", "old_static"] {
        let run = fresh("install-cmake-run");
        succeed(clean(build.join(program)).arg(&run).current_dir(&run));
    }
    for program in ["new", "new_static"] {
        let server = Server::start(clean(build.join(program)).arg("0"));
        assert_eq!(server.connect().get("/hello/cmake").answer().text(), "Hello, cmake!\n");
        server.stop();
    }
    // Another ABI is not what was asked for.
    let wrong = project.join("wrong");
    fs::create_dir_all(&wrong).unwrap();
    fs::write(
        wrong.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.13)\nproject(x C)\nfind_package(neurohttp 2.0 REQUIRED)\n",
    )
    .unwrap();
    let output = Command::new("cmake")
        .arg("-S")
        .arg(&wrong)
        .arg("-B")
        .arg(wrong.join("build"))
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()))
        .output()
        .unwrap();
    assert!(!output.status.success());
}
