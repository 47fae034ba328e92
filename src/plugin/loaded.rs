//! One plugin in memory: who is inside it, how often and how long it was called, how it ends.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::abi::{HttpRequest, RouteResponse};
use super::loader::Object;
use crate::base::limits::PLUGIN_LEAVE_MS;

type Init = unsafe extern "C" fn(*const c_void) -> c_int;
type Process = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type Cleanup = unsafe extern "C" fn();

/// The three functions of the old contract.
#[derive(Clone, Copy)]
pub struct OldFunctions {
    init: Init,
    process: Process,
    cleanup: Cleanup,
}

impl OldFunctions {
    /// The three functions, each from the plugin's own file.
    ///
    /// # Errors
    /// Which of them it lacks.
    pub fn of(object: &Object) -> Result<OldFunctions, String> {
        let find = |name: &std::ffi::CStr| {
            let missing = || format!("it does not define {} itself", name.to_string_lossy());
            object.own_symbol(name).ok_or_else(missing)
        };
        let (init, process, cleanup) =
            (find(c"plugin_init")?, find(c"plugin_process")?, find(c"plugin_cleanup")?);
        // SAFETY: functions of these types by the contract. `plugin_init` may be declared with no
        // parameter or with one pointer that it ignores; both can be called with one (System V ABI).
        unsafe {
            Ok(OldFunctions {
                init: std::mem::transmute::<*mut c_void, Init>(init),
                process: std::mem::transmute::<*mut c_void, Process>(process),
                cleanup: std::mem::transmute::<*mut c_void, Cleanup>(cleanup),
            })
        }
    }
}

/// A plugin of the new contract, as the door that knows the contract's structs sees it.
pub trait Contract: Send + Sync {
    /// What it says of its version; empty: nothing.
    fn version(&self) -> &str;
    /// Nobody is inside any more and nobody will be: gives back what it has registered and calls its
    /// last function. Called once.
    fn end(&self);
}

/// Which contract a plugin keeps.
pub enum Kind {
    /// plugin_init, plugin_process, plugin_cleanup.
    Old(OldFunctions),
    /// nh_plugin_entry.
    New(Box<dyn Contract>),
}

/// Undoes what was done for a plugin where it was loaded.
pub type Undo = Box<dyn FnOnce() + Send>;

/// Set in the gate once nobody may enter any more; the rest counts who is inside.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// One plugin in memory.
pub struct Plugin {
    name: String,
    enabled: AtomicBool,
    calls: AtomicU64,
    busy_ns: AtomicU64,
    gate: AtomicUsize,
    waiting: Mutex<()>,
    left: Condvar,
    ended: AtomicBool,
    undo: Mutex<Vec<Undo>>,
    kind: Kind,
    /// Last: the functions above must not outlive it.
    object: Object,
}

thread_local! {
    /// Plugins whose code this thread is in, the innermost last.
    static CURRENT: RefCell<Vec<Arc<Plugin>>> = const { RefCell::new(Vec::new()) };
}

impl Plugin {
    /// A plugin that is not ready yet: until [`Plugin::set_ready`] there is nothing to end.
    pub fn new(name: String, kind: Kind, object: Object) -> Plugin {
        Plugin {
            name,
            enabled: AtomicBool::new(true),
            calls: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            gate: AtomicUsize::new(0),
            waiting: Mutex::new(()),
            left: Condvar::new(),
            ended: AtomicBool::new(true),
            undo: Mutex::default(),
            kind,
            object,
        }
    }

    /// Its init has succeeded: from now on its last function is owed to it.
    pub fn set_ready(&self) {
        self.ended.store(false, Ordering::Release);
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often its code was called since it was loaded, its init not counted.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Time spent in those calls, in microseconds.
    pub fn busy_us(&self) -> u64 {
        self.busy_ns.load(Ordering::Relaxed) / 1000
    }

    /// Whether it is called for requests.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Switches it on or off.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Where its file lies in memory.
    pub fn base(&self) -> usize {
        self.object.base()
    }

    /// What `/stats` says of it.
    pub fn stats(&self) -> serde_json::Value {
        let (contract, version) = match &self.kind {
            Kind::Old(_) => ("old", ""),
            Kind::New(contract) => ("new", contract.version()),
        };
        serde_json::json!({
            "name": self.name,
            "contract": contract,
            "version": version,
            "enabled": self.is_enabled(),
            "calls": self.calls(),
            "busy_us": self.busy_us(),
        })
    }

    /// What is to be undone when it is unloaded, before its last function runs.
    pub fn on_unload(&self, undo: Undo) {
        let mut list = self.undo.lock();
        // Unloaded meanwhile: its list was worked off, so this is undone at once.
        if self.gate.load(Ordering::Acquire) & CLOSED != 0 {
            drop(list);
            undo();
        } else {
            list.push(undo);
        }
    }

    /// Undoes what was done for it and lets nobody in any more.
    pub fn withdraw(&self) {
        let undo = {
            let mut list = self.undo.lock();
            // AcqRel: later entries see it, and what earlier calls did is seen here.
            self.gate.fetch_or(CLOSED, Ordering::AcqRel);
            std::mem::take(&mut *list)
        };
        undo.into_iter().for_each(|undo| undo());
    }

    /// Whether this thread is in its code.
    pub fn is_current(self: &Arc<Plugin>) -> bool {
        CURRENT.with_borrow(|stack| stack.iter().any(|plugin| Arc::ptr_eq(plugin, self)))
    }

    /// The plugin with this file whose code this thread is in.
    pub(super) fn current_with_base(base: usize) -> Option<Arc<Plugin>> {
        CURRENT
            .with_borrow(|stack| stack.iter().rev().find(|plugin| plugin.base() == base).cloned())
    }

    /// Runs `body` as a call of this plugin; not when it is being unloaded.
    pub fn enter<R>(self: &Arc<Plugin>, body: impl FnOnce() -> R) -> Option<R> {
        struct Inside<'a>(&'a Plugin);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|stack| stack.pop());
                self.0.leave();
            }
        }
        // Acquire pairs with the closing: who enters an open gate has not been unloaded.
        let before = self.gate.fetch_add(1, Ordering::Acquire);
        // A call made from inside goes on; the unload waits for it.
        if before & CLOSED != 0 && !self.is_current() {
            self.leave();
            return None;
        }
        CURRENT.with_borrow_mut(|stack| stack.push(Arc::clone(self)));
        let _inside = Inside(self);
        Some(body())
    }

    /// The same for a request or an event: counted and timed, and not when it is switched off.
    pub fn call<R>(self: &Arc<Plugin>, body: impl FnOnce() -> R) -> Option<R> {
        if !self.is_enabled() {
            return None;
        }
        let begun = Instant::now();
        let result = self.enter(body)?;
        // Relaxed: figures to look at, each on its own.
        self.calls.fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.busy_ns.fetch_add(ns, Ordering::Relaxed);
        Some(result)
    }

    fn leave(&self) {
        // Release: what was done inside is done before the plugin ends.
        if self.gate.fetch_sub(1, Ordering::Release) & CLOSED != 0 {
            drop(self.waiting.lock());
            self.left.notify_all();
        }
    }

    /// One request through `plugin_process`; 0 when it has been unloaded, as if it had not been
    /// there.
    pub fn process(
        self: &Arc<Plugin>,
        request: *mut HttpRequest,
        response: *mut RouteResponse,
    ) -> c_int {
        let Kind::Old(functions) = &self.kind else { return 0 };
        let process = functions.process;
        // SAFETY: the object is open as long as `self` lives; the pointers are good during the call.
        self.call(|| unsafe { process(request.cast(), response.cast()) }).unwrap_or(0)
    }

    /// Calls its own `plugin_init`; −1 for a plugin of the new kind and one that is unloaded.
    pub fn call_own_init(self: &Arc<Plugin>) -> c_int {
        let Kind::Old(functions) = &self.kind else { return -1 };
        let init = functions.init;
        // SAFETY: the object is open as long as `self` lives; it takes no argument, or ignores one.
        self.enter(|| unsafe { init(std::ptr::null()) }).unwrap_or(-1)
    }

    /// Calls its own `plugin_cleanup`, for a plugin whose call went astray to the manager's.
    pub fn call_own_cleanup(self: &Arc<Plugin>) {
        let Kind::Old(functions) = &self.kind else { return };
        let cleanup = functions.cleanup;
        // SAFETY: as above.
        self.enter(|| unsafe { cleanup() });
    }

    /// Takes it out of service: what was done for it is undone, nobody enters any more, and when the
    /// last call has left, its last function runs. `false` when that takes too long, or when this thread
    /// is inside itself and would wait for its own return: then it happens when the last holder lets go.
    pub(super) fn retire(self: &Arc<Plugin>) -> bool {
        self.withdraw();
        if self.is_current() {
            return false;
        }
        let deadline = Instant::now() + Duration::from_millis(PLUGIN_LEAVE_MS);
        let mut waiting = self.waiting.lock();
        while self.gate.load(Ordering::Acquire) != CLOSED {
            if self.left.wait_until(&mut waiting, deadline).timed_out() {
                return false;
            }
        }
        drop(waiting);
        self.end();
        true
    }

    /// Calls its last function, once.
    fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        match &self.kind {
            Kind::Old(functions) => {
                let cleanup = functions.cleanup;
                // SAFETY: the object is open as long as `self` lives; nobody is inside any more.
                unsafe { cleanup() };
            }
            Kind::New(contract) => contract.end(),
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // The last holder may have been a call that was inside when the plugin was unloaded.
        self.end();
    }
}
