//! Plugins: loaded, called in order, unloaded while requests run.
//!
//! A [`Registry`] holds the plugins of one owner in load order. No lock is held while code of a plugin
//! runs: a call works on a snapshot of the list and counts itself in and out, and a plugin is ended when
//! the last call has left it. A plugin may therefore call the registry from inside any of its functions.
//!
//! This is not a sandbox: a plugin is code of the process and is trusted like the host.

pub mod abi;
pub mod loader;
pub mod old;

use abi::{HttpRequest, RouteResponse};
use loader::Object;
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Plugins of one registry.
const PLUGINS_MAX: usize = 256;
/// How long an unload waits for calls that are inside.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);

type Init = unsafe extern "C" fn(*const c_void) -> c_int;
type Process = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type Cleanup = unsafe extern "C" fn();

/// The three functions of the old contract.
#[derive(Clone, Copy)]
struct OldFunctions {
    init: Init,
    process: Process,
    cleanup: Cleanup,
}

/// Who is inside a plugin, and whether anybody may still enter.
#[derive(Default)]
struct Gate {
    inside: usize,
    closed: bool,
}

/// One plugin in memory.
pub struct Plugin {
    name: String,
    enabled: AtomicBool,
    functions: OldFunctions,
    calls: AtomicU64,
    busy_us: AtomicU64,
    gate: Mutex<Gate>,
    left: Condvar,
    ended: AtomicBool,
    /// Last: the functions above must not outlive it.
    object: Object,
}

impl Plugin {
    /// File name without directory and without its last extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often it was called for a request.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Time spent in those calls, in microseconds.
    pub fn busy_us(&self) -> u64 {
        self.busy_us.load(Ordering::Relaxed)
    }

    /// Whether it is called for requests.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Runs `body` as a call of this plugin; not when it is being unloaded.
    fn enter<R>(self: &Arc<Plugin>, body: impl FnOnce() -> R) -> Option<R> {
        struct Inside<'a>(&'a Plugin);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|stack| stack.pop());
                self.0.gate.lock().inside -= 1;
                self.0.left.notify_all();
            }
        }
        {
            let mut gate = self.gate.lock();
            // A call made from inside goes on; the unload waits for it.
            if gate.closed && !self.is_current() {
                return None;
            }
            gate.inside += 1;
        }
        CURRENT.with_borrow_mut(|stack| stack.push(Arc::clone(self)));
        let _inside = Inside(self);
        Some(body())
    }

    /// Whether this thread is in its code.
    fn is_current(self: &Arc<Plugin>) -> bool {
        CURRENT.with_borrow(|stack| stack.iter().any(|plugin| Arc::ptr_eq(plugin, self)))
    }

    /// One request through `plugin_process`.
    fn process(
        self: &Arc<Plugin>,
        request: *mut HttpRequest,
        response: *mut RouteResponse,
    ) -> c_int {
        let begun = Instant::now();
        let process = self.functions.process;
        // SAFETY: the object is open as long as `self` lives; the pointers are good during the call.
        let result = self.enter(|| unsafe { process(request.cast(), response.cast()) });
        // Unloaded since the list was taken: as if it had not been there.
        let Some(result) = result else { return 0 };
        // Relaxed: figures to look at, each on its own.
        self.calls.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.busy_us.fetch_add(us, Ordering::Relaxed);
        result
    }

    /// Lets nobody in any more and waits until no call is inside; `false` when that takes too long or
    /// this thread is inside itself and would wait for its own return.
    fn wait_until_left(self: &Arc<Plugin>) -> bool {
        let own = self.is_current();
        let mut gate = self.gate.lock();
        gate.closed = true;
        if own {
            return false;
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while gate.inside > 0 {
            if self.left.wait_until(&mut gate, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    /// Calls its cleanup, once.
    fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            let cleanup = self.functions.cleanup;
            // SAFETY: the object is open as long as `self` lives; nobody is inside any more.
            unsafe { cleanup() };
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // The last holder may have been a call that was inside when the plugin was unloaded.
        self.end();
    }
}

thread_local! {
    /// Plugins whose code this thread is in, the innermost last.
    static CURRENT: RefCell<Vec<Arc<Plugin>>> = const { RefCell::new(Vec::new()) };
}

/// What the plugins said to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Next,
    /// The response is filled.
    Answered,
    /// Refused without an answer of its own.
    Refused,
}

/// Plugins in load order.
#[derive(Default)]
pub struct Registry {
    plugins: Mutex<Vec<Arc<Plugin>>>,
}

impl Registry {
    /// Loads every `*.so` of a directory in order of file name. What is refused is logged.
    pub fn load_directory(&self, directory: &Path, log: &dyn Fn(&str)) {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                log(&format!("no plugins from {}: {error}", directory.display()));
                return;
            }
        };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "so"))
            .collect();
        files.sort();
        for file in files {
            // A directory or a socket of that name is no plugin; a link to a file is.
            if !file.is_file() {
                continue;
            }
            if let Err(reason) = self.load(&file) {
                log(&format!("plugin {} refused: {reason}", file.display()));
            }
        }
    }

    /// Loads one file.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn load(&self, file: &Path) -> Result<(), String> {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.filter(|name| !name.is_empty()).ok_or("it has no name")?;
        self.check_new(&name, None)?;
        let object = Object::open(file)?;
        self.check_new(&name, Some(object.base()))?;
        let plugin = Arc::new(Plugin {
            name,
            enabled: AtomicBool::new(true),
            functions: old_functions(&object)?,
            calls: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            gate: Mutex::default(),
            left: Condvar::new(),
            // Until its init has succeeded there is nothing to clean up.
            ended: AtomicBool::new(true),
            object,
        });
        let init = plugin.functions.init;
        // SAFETY: the object is open; it takes no argument, or ignores one.
        let code = plugin.enter(|| unsafe { init(std::ptr::null()) }).unwrap_or(-1);
        if code != 0 {
            return Err(format!("its plugin_init returned {code}"));
        }
        plugin.ended.store(false, Ordering::Release);
        // Its init may have taken a while, or loaded something itself.
        self.check_new(&plugin.name, Some(plugin.object.base()))?;
        self.plugins.lock().push(plugin);
        Ok(())
    }

    fn check_new(&self, name: &str, base: Option<usize>) -> Result<(), String> {
        let plugins = self.plugins.lock();
        if plugins.len() >= PLUGINS_MAX {
            return Err(format!("there are {PLUGINS_MAX} plugins already"));
        }
        if plugins.iter().any(|plugin| plugin.name == name) {
            return Err(format!("a plugin named {name} is loaded"));
        }
        match plugins.iter().find(|plugin| Some(plugin.object.base()) == base) {
            Some(same) => Err(format!("it is loaded as {}", same.name)),
            None => Ok(()),
        }
    }

    /// Ends a plugin and closes its file. When a call is inside that cannot be waited for, the last of
    /// them does so on its way out. `false`: unknown.
    pub fn unload(&self, name: &str) -> bool {
        let removed = {
            let mut plugins = self.plugins.lock();
            let place = plugins.iter().position(|plugin| plugin.name == name);
            place.map(|place| plugins.remove(place))
        };
        match removed {
            Some(plugin) => {
                if plugin.wait_until_left() {
                    plugin.end();
                }
                true
            }
            None => false,
        }
    }

    /// Ends all plugins, the last loaded first.
    pub fn clear(&self) {
        loop {
            let Some(plugin) = self.plugins.lock().pop() else { return };
            if plugin.wait_until_left() {
                plugin.end();
            }
        }
    }

    /// Switches a plugin on or off. `false`: unknown.
    pub fn set_enabled(&self, name: &str, enabled: bool) -> bool {
        let plugins = self.plugins.lock();
        let plugin = plugins.iter().find(|plugin| plugin.name == name);
        plugin.map(|plugin| plugin.enabled.store(enabled, Ordering::Relaxed)).is_some()
    }

    /// The plugins in load order.
    pub fn list(&self) -> Vec<Arc<Plugin>> {
        self.plugins.lock().clone()
    }

    /// Calls every enabled plugin, all of them even after one has refused; the last result that is not 0.
    pub fn process_all(&self, request: *mut HttpRequest, response: *mut RouteResponse) -> c_int {
        let mut last = 0;
        for plugin in self.list().iter().filter(|plugin| plugin.is_enabled()) {
            match plugin.process(request, response) {
                0 => {}
                code => last = code,
            }
        }
        last
    }

    /// Calls the enabled plugins until one decides. Headers of those that do not go into `headers`.
    pub fn judge(
        &self,
        request: *mut HttpRequest,
        response: &mut old::OldResponse,
        headers: &mut Vec<Vec<u8>>,
    ) -> Verdict {
        for plugin in self.list().iter().filter(|plugin| plugin.is_enabled()) {
            let code = plugin.process(request, response.as_mut_ptr());
            if response.has_data() || code != 0 && response.status_code() != 0 {
                return Verdict::Answered;
            }
            if code != 0 {
                return Verdict::Refused;
            }
            headers.append(&mut response.take_headers());
        }
        Verdict::Next
    }

    /// The plugin whose file an address lies in, loaded or being loaded on this thread.
    pub fn owner_of(&self, address: *const c_void) -> Option<Arc<Plugin>> {
        let base = loader::base_of(address)?;
        let is_owner = |plugin: &&Arc<Plugin>| plugin.object.base() == base;
        let current = CURRENT.with_borrow(|stack| stack.iter().rev().find(is_owner).cloned());
        current.or_else(|| self.plugins.lock().iter().find(is_owner).cloned())
    }
}

impl Plugin {
    /// Calls its own `plugin_init`, for a plugin whose call went astray to the manager's.
    pub fn call_own_init(self: &Arc<Plugin>) -> c_int {
        let init = self.functions.init;
        // SAFETY: the object is open as long as `self` lives.
        self.enter(|| unsafe { init(std::ptr::null()) }).unwrap_or(-1)
    }

    /// Calls its own `plugin_cleanup`, for the same reason.
    pub fn call_own_cleanup(self: &Arc<Plugin>) {
        let cleanup = self.functions.cleanup;
        // SAFETY: as above.
        self.enter(|| unsafe { cleanup() });
    }
}

/// The three functions, each from the plugin's own file.
fn old_functions(object: &Object) -> Result<OldFunctions, String> {
    let find = |name: &std::ffi::CStr| {
        let missing = || format!("it does not define {} itself", name.to_string_lossy());
        object.own_symbol(name).ok_or_else(missing)
    };
    let (init, process, cleanup) =
        (find(c"plugin_init")?, find(c"plugin_process")?, find(c"plugin_cleanup")?);
    // SAFETY: functions of these types by the contract. `plugin_init` may be declared with no parameter
    // or with one pointer that it ignores; both can be called with one (System V ABI).
    unsafe {
        Ok(OldFunctions {
            init: std::mem::transmute::<*mut c_void, Init>(init),
            process: std::mem::transmute::<*mut c_void, Process>(process),
            cleanup: std::mem::transmute::<*mut c_void, Cleanup>(cleanup),
        })
    }
}
