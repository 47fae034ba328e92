//! Where the libraries and the program under test are: what `make build` staged when `NH_STAGE`
//! names it, else what cargo has just built for this very test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The artifacts under test.
pub struct Stage {
    /// Holds `libneurohttp.so`, the name it is loaded by, and `libneurohttp.a`.
    pub lib: PathBuf,
    /// The server program.
    pub program: PathBuf,
    /// What a static link needs beside the archive.
    pub native_libs: Vec<String>,
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for what tests write, inside cargo's target folder.
pub fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The artifacts, found once.
pub fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| match std::env::var_os("NH_STAGE") {
        Some(folder) => staged(Path::new(&folder)),
        None => just_built(),
    })
}

fn staged(folder: &Path) -> Stage {
    let lib = folder.join("lib");
    assert!(lib.join("libneurohttp.so").exists(), "nothing is staged in {}", folder.display());
    let list = fs::read_to_string(lib.join("native-static-libs")).unwrap();
    let native_libs = list.split_whitespace().map(str::to_owned).collect();
    Stage { lib, program: folder.join("bin/neurohttp"), native_libs }
}

/// Cargo leaves the libraries in `deps`, beside the running test, under their plain names; the
/// shared one is loaded by its soname, so links stand for both in a folder of their own.
fn just_built() -> Stage {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let lib = scratch().join("lib");
    fs::create_dir_all(&lib).unwrap();
    for (link, file) in [
        ("libneurohttp.so", "libneurohttp.so"),
        ("libneurohttp.so.1", "libneurohttp.so"),
        ("libneurohttp.a", "libneurohttp.a"),
    ] {
        let target = deps.join(file);
        assert!(target.exists(), "{} was not built", target.display());
        // Another test process may be doing the same.
        let _ = symlink(target, lib.join(link));
        assert!(lib.join(link).exists());
    }
    let native_libs = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];
    Stage {
        lib,
        program: PathBuf::from(env!("CARGO_BIN_EXE_neurohttp")),
        native_libs: native_libs.map(str::to_owned).to_vec(),
    }
}
