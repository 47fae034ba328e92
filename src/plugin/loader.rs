//! Opening a plugin's file: flags, and where each symbol really comes from.
//!
//! A plugin's symbol is looked up with `dlsym`, which also searches what the plugin is linked with. Were
//! it linked with this library and lacked `plugin_init`, it would get the library's own function of that
//! name; so every address must lie in the plugin's own file.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open shared object.
#[derive(Debug)]
pub struct Object {
    handle: *mut c_void,
    base: usize,
}

// SAFETY: a dlopen handle belongs to the process; libc locks what it needs.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

/// The head of libc's `struct link_map` (link.h).
#[repr(C)]
struct LinkMap {
    l_addr: usize,
    l_name: *const c_char,
    l_ld: *const c_void,
}

impl Object {
    /// Opens a file. A name without a slash goes through the dynamic loader's search path.
    ///
    /// # Errors
    /// What the dynamic loader says.
    pub fn open(path: &Path) -> Result<Object, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "the name holds a NUL")?;
        let mut flags = libc::RTLD_LAZY | libc::RTLD_LOCAL;
        if may_bind_deep() {
            flags |= libc::RTLD_DEEPBIND;
        }
        // SAFETY: a NUL-terminated name. The file's constructors run: loading a plugin means trusting it.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        if handle.is_null() {
            return Err(last_error());
        }
        let mut object = Object { handle, base: 0 };
        object.base = object.own_base().ok_or("where it lies is unknown")?;
        Ok(object)
    }

    /// Holds the file that an address lies in, so that it stays in memory.
    pub fn containing(address: *const c_void) -> Option<Object> {
        let base = base_of(address)?;
        let name =
            CString::new(file_of(address as usize)?.into_os_string().into_encoded_bytes()).ok()?;
        // SAFETY: a NUL-terminated name. Nothing is loaded and no constructor runs: the file is there.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Object { handle, base })
    }

    /// Where the object lies in memory; tells objects apart.
    pub fn base(&self) -> usize {
        self.base
    }

    /// The address of a symbol that the object itself defines.
    pub fn own_symbol(&self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: an open handle and a NUL-terminated name.
        let address = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        (!address.is_null() && base_of(address) == Some(self.base)).then_some(address)
    }

    fn own_base(&self) -> Option<usize> {
        let mut map: *const LinkMap = std::ptr::null();
        // SAFETY: RTLD_DI_LINKMAP writes one pointer, to a link_map that lives while the handle is open.
        unsafe {
            let asked = libc::dlinfo(self.handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast());
            if asked != 0 || map.is_null() {
                return None;
            }
            base_of((*map).l_ld)
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once; whoever held a function of it has let go.
        unsafe { libc::dlclose(self.handle) };
    }
}

fn last_error() -> String {
    // SAFETY: dlerror gives NULL or a text that this thread's next dl call may change.
    unsafe {
        let error = libc::dlerror();
        if error.is_null() {
            return String::from("it cannot be loaded");
        }
        CStr::from_ptr(error).to_string_lossy().into_owned()
    }
}

/// Where the object that an address lies in begins.
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "dladdr compares the address and reads nothing there"
)]
pub fn base_of(address: *const c_void) -> Option<usize> {
    // SAFETY: all zero is a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr only compares the address, whatever it is.
    let found: c_int = unsafe { libc::dladdr(address, &mut info) };
    (found != 0 && !info.dli_fbase.is_null()).then_some(info.dli_fbase as usize)
}

/// The file that an address lies in, as it was loaded.
pub fn file_of(address: usize) -> Option<PathBuf> {
    // SAFETY: all zero is a valid Dl_info; dladdr takes any address and gives a NUL-terminated name.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address as *const c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        let name = CStr::from_ptr(info.dli_fname).to_bytes();
        // Of a program the loader knows only the word that it was called by, a path or not.
        match name.contains(&b'/') {
            true => Some(PathBuf::from(std::ffi::OsStr::from_bytes(name))),
            false => std::env::current_exe().ok(),
        }
    }
}

fn global(name: &CStr) -> *mut c_void {
    // SAFETY: a NUL-terminated name in the global scope.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Deep binding lets a plugin's calls find its own symbols first, so its `plugin_cleanup` is never ours.
/// But it also binds `malloc` past a host's own allocator, and AddressSanitizer refuses it.
fn may_bind_deep() -> bool {
    let sanitizers = [c"__asan_init", c"__tsan_init", c"__msan_init", c"__hwasan_init"];
    if sanitizers.iter().any(|name| !global(name).is_null()) {
        return false;
    }
    let (malloc, libc_itself) =
        (base_of(global(c"malloc")), base_of(global(c"gnu_get_libc_version")));
    malloc.is_some() && malloc == libc_itself
}
