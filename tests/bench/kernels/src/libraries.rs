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
        // SAFETY: reads exactly the slice.
        Some(move |data: &[u8]| unsafe { call(0, data.as_ptr(), data.len() as u64) })
    }

    pub fn crc32c(&self) -> Option<impl Fn(&[u8]) -> u32 + use<'_>> {
        // SAFETY: the signature is that of isa-l/crc.h.
        let call: Symbol<CrcIscsi> = unsafe { self.library.get(b"crc32_iscsi\0") }.ok()?;
        // SAFETY: reads exactly the slice, which is shorter than 2 GiB.
        Some(move |data: &[u8]| unsafe { !call(data.as_ptr(), data.len() as i32, !0) })
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
