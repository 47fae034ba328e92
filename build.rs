//! Assembles asm/x86_64/*.asm with nasm and sets the soname of the shared library.
//!
//! Sets `cfg(nh_asm)` when the kernels in assembly are part of the build. They are left out, with one
//! warning, where nasm is missing or too old, on other targets than x86-64 Linux, with
//! `NEUROHTTP_NO_ASM=1` in the environment, and with `--cfg nh_no_asm` in the compiler's flags.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=asm");
    for name in ["NEUROHTTP_NO_ASM", "NASM", "AR"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    // The number is NH_ABI_VERSION; it grows when a C program would have to be compiled again.
    if env_is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libneurohttp.so.1");
        // A host's function of the same name as one of ours must not be called from inside.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
    }
    match assemble() {
        Ok(out) => {
            println!("cargo:rustc-link-search=native={}", out.display());
            println!("cargo:rustc-link-lib=static=neurohttp_asm");
            println!("cargo:rustc-cfg=nh_asm");
        }
        Err(reason) => {
            println!("cargo:warning=building without assembly, on the Rust kernels: {reason}");
        }
    }
}

/// Assembles every kernel and archives the objects; returns the folder of `libneurohttp_asm.a`.
fn assemble() -> Result<PathBuf, String> {
    if !env_is("CARGO_CFG_TARGET_ARCH", "x86_64") || !env_is("CARGO_CFG_TARGET_OS", "linux") {
        return Err("the kernels are written for x86-64 Linux".into());
    }
    if env::var_os("CARGO_CFG_NH_NO_ASM").is_some() {
        return Err("the compiler's flags set nh_no_asm".into());
    }
    if env::var_os("NEUROHTTP_NO_ASM").is_some_and(|value| !value.is_empty() && value != "0") {
        return Err("NEUROHTTP_NO_ASM is set".into());
    }
    let nasm = env::var("NASM").unwrap_or_else(|_| "nasm".into());
    run(Command::new(&nasm).arg("-v")).map_err(|error| format!("nasm is not usable ({error})"))?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let archive = out.join("libneurohttp_asm.a");
    // `ar` would keep members of an earlier run whose source is gone.
    if archive.exists() {
        std::fs::remove_file(&archive)
            .map_err(|error| format!("{}: {error}", archive.display()))?;
    }
    let mut ar = Command::new(env::var("AR").unwrap_or_else(|_| "ar".into()));
    ar.arg("crs").arg(&archive);
    for source in sources(Path::new("asm/x86_64"))? {
        let object = out.join(source.file_stem().unwrap_or_default()).with_extension("o");
        let mut command = Command::new(&nasm);
        command.args(["-f", "elf64", "-g", "-F", "dwarf", "-Wall", "-Werror"]);
        command.args(["-I", "asm/", "-I", "asm/x86_64/"]);
        run(command.arg("-o").arg(&object).arg(&source)).map_err(|error| {
            // A kernel that does not assemble is a mistake in the source, unless the tool is old.
            format!("{}: {error}", source.display())
        })?;
        ar.arg(object);
    }
    run(&mut ar).map_err(|error| format!("ar: {error}"))?;
    Ok(out)
}

/// The assembly files of a folder, in a stable order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "asm"))
        .collect();
    files.sort();
    if files.is_empty() {
        Err(format!("{}: no assembly files", folder.display()))
    } else {
        Ok(files)
    }
}

/// Runs a command; the error is its first line of complaint.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.lines().next().unwrap_or("failed without a message").to_owned())
}

fn env_is(name: &str, value: &str) -> bool {
    env::var(name).is_ok_and(|found| found == value)
}
