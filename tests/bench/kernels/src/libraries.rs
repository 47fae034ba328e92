//! C libraries, opened at run time when the system has them.

use libloading::{Library, Symbol};

/// Intel ISA-L.
pub struct IsaL {
    library: Library,
}

type CrcGzip = unsafe extern "C" fn(u32, *const u8, u64) -> u32;
type CrcIscsi = unsafe extern "C" fn(*const u8, i32, u32) -> u32;

impl IsaL {
    pub fn open() -> Option<IsaL> {
        Some(IsaL { library: open("libisal.so.2")? })
    }

    pub fn crc32(&self) -> Option<impl Fn(&[u8]) -> u32 + use<'_>> {
        // SAFETY: the signature is that of isa-l/crc.h.
        let call: Symbol<CrcGzip> = unsafe { self.library.get(b"crc32_gzip_refl\0") }.ok()?;
        Some(move |data: &[u8]| {
            // SAFETY: reads exactly the slice.
            let crc = unsafe { call(0, data.as_ptr(), data.len() as u64) };
            clear_upper_halves();
            crc
        })
    }

    pub fn crc32c(&self) -> Option<impl Fn(&[u8]) -> u32 + use<'_>> {
        // SAFETY: the signature is that of isa-l/crc.h.
        let call: Symbol<CrcIscsi> = unsafe { self.library.get(b"crc32_iscsi\0") }.ok()?;
        Some(move |data: &[u8]| {
            // SAFETY: reads exactly the slice, which is shorter than 2 GiB.
            let crc = unsafe { !call(data.as_ptr(), data.len() as i32, !0) };
            clear_upper_halves();
            crc
        })
    }
}

/// What ISA-L leaves to its callers. Without it, each change between old and new vector instructions costs
/// some hundred cycles from then on: those of ISA-L's next call, and those of who comes after it.
fn clear_upper_halves() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the CPU has AVX; no caller keeps anything in the upper halves.
        unsafe { std::arch::asm!("vzeroupper", options(nomem, nostack, preserves_flags)) };
    }
}

/// libdeflate.
pub struct Deflate {
    library: Library,
}

type DeflateCrc = unsafe extern "C" fn(u32, *const u8, usize) -> u32;

impl Deflate {
    pub fn open() -> Option<Deflate> {
        Some(Deflate { library: open("libdeflate.so.0")? })
    }

    pub fn crc32(&self) -> Option<impl Fn(&[u8]) -> u32 + use<'_>> {
        // SAFETY: the signature is that of libdeflate.h.
        let call: Symbol<DeflateCrc> = unsafe { self.library.get(b"libdeflate_crc32\0") }.ok()?;
        // SAFETY: reads exactly the slice.
        Some(move |data: &[u8]| unsafe { call(0, data.as_ptr(), data.len()) })
    }
}

fn open(name: &str) -> Option<Library> {
    // SAFETY: these libraries have no initializer with requirements.
    let library = unsafe { Library::new(name) };
    if library.is_err() {
        eprintln!("{name} is not installed: its rows are left out");
    }
    library.ok()
}

/// simdjson, through a few lines of C++ compiled at run time when its header and a compiler are there.
pub struct SimdJson {
    library: Library,
    _folder: Scratch,
}

const SHIM: &str = r#"
#include <memory>
#include <simdjson.h>
using namespace simdjson;
struct ctx { dom::parser dom; ondemand::parser od; std::unique_ptr<internal::dom_parser_implementation> raw; };
extern "C" {
void *sj_new(size_t cap) {
    auto *c = new ctx;
    (void)c->dom.allocate(cap);
    (void)get_active_implementation()->create_dom_parser_implementation(cap, DEFAULT_MAX_DEPTH, c->raw);
    return c;
}
size_t sj_stage1(void *p, const uint8_t *b, size_t n) {
    auto *c = static_cast<ctx *>(p);
    return c->raw->stage1(b, n, stage1_mode::regular) ? 0 : c->raw->n_structural_indexes;
}
size_t sj_user(void *p, const uint8_t *b, size_t n) {
    auto *c = static_cast<ctx *>(p);
    ondemand::document d; std::string_view s;
    if (c->od.iterate(reinterpret_cast<const char *>(b), n, n + SIMDJSON_PADDING).get(d)) return 0;
    return d["user"].get_string().get(s) ? 0 : s.size();
}
size_t sj_utf8(void *, const uint8_t *b, size_t n) { return validate_utf8(reinterpret_cast<const char *>(b), n); }
}
"#;

type New = unsafe extern "C" fn(usize) -> *mut std::ffi::c_void;
type OnText = unsafe extern "C" fn(*mut std::ffi::c_void, *const u8, usize) -> usize;

/// Bytes that must be readable behind a text given to simdjson.
pub const SIMDJSON_PADDING: usize = 256;

impl SimdJson {
    pub fn open() -> Option<SimdJson> {
        let folder = Scratch::new()?;
        let (source, object) = (folder.0.join("shim.cpp"), folder.0.join("shim.so"));
        std::fs::write(&source, SHIM).ok()?;
        let built = std::process::Command::new("c++")
            .args(["-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-o"])
            .arg(&object)
            .arg(&source)
            .arg("-lsimdjson")
            .output();
        if !built.is_ok_and(|output| output.status.success()) {
            eprintln!("simdjson is not installed: its rows are left out");
            return None;
        }
        // SAFETY: the shim was compiled just now and has no initializer with requirements.
        let library = unsafe { Library::new(&object) }.ok()?;
        Some(SimdJson { library, _folder: folder })
    }

    /// A function of the shim with a context for texts up to `capacity` bytes, which leaks.
    pub fn function(
        &self,
        name: &str,
        capacity: usize,
    ) -> Option<impl Fn(&[u8]) -> usize + use<'_>> {
        // SAFETY: the signatures are those of the shim above.
        let (new, call) = unsafe {
            let new: Symbol<New> = self.library.get(b"sj_new\0").ok()?;
            (new, self.library.get::<OnText>(format!("{name}\0").as_bytes()).ok()?)
        };
        // SAFETY: any capacity is allowed.
        let context = unsafe { new(capacity) };
        // SAFETY: the caller's text has SIMDJSON_PADDING readable bytes behind `length`: see callers.
        Some(move |padded: &[u8]| unsafe {
            call(context, padded.as_ptr(), padded.len() - SIMDJSON_PADDING)
        })
    }
}

/// A folder that is removed again.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Option<Scratch> {
        let path = std::env::temp_dir().join(format!("kernel-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).ok()?;
        Some(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
