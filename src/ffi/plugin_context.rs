//! A plugin in its server: what the functions of the host table that are for plugins alone do.
//! Nothing of this file but the type is in the header; the table documents the functions.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};
use std::ptr::null;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::hooks::{nh_text_edit, nh_text_hook};
use super::memory::nh_drop;
use super::middleware::{call_middleware, nh_middleware};
use super::request::nh_request;
use super::response::nh_response;
use super::route::{NH_ROUTE_BLOCKING, NH_ROUTE_CACHE, call_handler, nh_handler, pattern_text};
use super::status::{NH_OK, nh_status};
use super::stream::{nh_ready_fn, nh_stream, nh_stream_on_ready};
use crate::base::error::{Error, ErrorKind, Failure};
use crate::base::limits;
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::{guard, status, value};
use crate::boundary::handle::{self, Opaque};
use crate::boundary::{bytes, options};
use crate::exchange::{Exchange, Flow, Handler, Middleware};
use crate::pipeline::{self, HookPlace, TextEdit, TextHook};
use crate::plugin::Plugin;
use crate::plugin::loader::Object;
use crate::server::Server;

/// A plugin in a server, as the plugin sees it: a member of nh_plugin_host.
pub struct nh_plugin_context {
    _opaque: [u8; 0],
}

impl Opaque for nh_plugin_context {
    type Inner = Context;
    const TAG: u16 = 16;
    const NAME: &'static str = "plugin";
}

/// What a line of a plugin's log may have at most, in bytes.
const LOG_BYTES_MAX: usize = 8 * 1024;
/// Routes and middleware that one plugin may add.
const REGISTRATIONS_MAX: usize = 10_000;

/// What stands behind the handle.
pub struct Context {
    server: Weak<Server>,
    /// Set before its init.
    ready: OnceLock<Ready>,
    routes: Mutex<Vec<Route>>,
    hooks: Mutex<Vec<Arc<dyn TextHook>>>,
    registered: Mutex<Vec<Arc<dyn Release>>>,
}

struct Ready {
    plugin: Weak<Plugin>,
    /// Ends with a NUL.
    text: Vec<u8>,
    table: toml::Table,
}

struct Route {
    method: String,
    pattern: String,
    handler: Arc<dyn Handler>,
}

impl Context {
    pub(super) fn new(server: &Arc<Server>) -> Context {
        Context {
            server: Arc::downgrade(server),
            ready: OnceLock::new(),
            routes: Mutex::default(),
            hooks: Mutex::default(),
            registered: Mutex::default(),
        }
    }

    /// The plugin is known now, and its configuration.
    pub(super) fn set_ready(&self, plugin: &Arc<Plugin>, text: &str, table: toml::Table) {
        let text = text.bytes().filter(|&byte| byte != 0).chain([0]).collect();
        // Set once, by whoever loads the plugin.
        let _ = self.ready.set(Ready { plugin: Arc::downgrade(plugin), text, table });
    }

    fn parts(&self) -> Result<(Arc<Server>, Arc<Plugin>, &Ready), Error> {
        let state = |message| Error::new(ErrorKind::State, message);
        let ready = self.ready.get().ok_or_else(|| state("not before the plugin's init"))?;
        let plugin = ready.plugin.upgrade();
        let server = self.server.upgrade().ok_or_else(|| state("the server has ended"))?;
        let plugin = plugin.ok_or_else(|| state("the plugin has been unloaded"))?;
        Ok((server, plugin, ready))
    }

    fn configured(&self) -> Result<&Ready, Error> {
        let early = || Error::new(ErrorKind::State, "not before the plugin's init");
        self.ready.get().ok_or_else(early)
    }

    /// Takes its routes and hooks out of the server.
    pub(super) fn remove_routes(&self) {
        let routes = std::mem::take(&mut *self.routes.lock());
        let hooks = std::mem::take(&mut *self.hooks.lock());
        if let Some(server) = self.server.upgrade() {
            for hook in &hooks {
                server.remove_hook(hook);
            }
            for route in &routes {
                server.remove_route_of(&route.method, &route.pattern, &route.handler);
            }
        }
    }

    /// Frees every `user_data`. Nobody is inside the plugin any more.
    pub(super) fn release_all(&self) {
        let registered = std::mem::take(&mut *self.registered.lock());
        registered.iter().for_each(|entry| entry.release());
    }

    fn remember(&self, entry: Arc<dyn Release>) -> Result<(), Error> {
        let mut registered = self.registered.lock();
        if registered.len() >= REGISTRATIONS_MAX {
            registered.retain(|entry| !entry.is_released());
        }
        if registered.len() >= REGISTRATIONS_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                "too many routes and middlewares of a plugin",
            ));
        }
        registered.push(entry);
        Ok(())
    }
}

/// A registration whose `user_data` can be freed while old snapshots still hold its shell.
trait Release: Send + Sync {
    /// Frees the `user_data`, once; whoever comes second waits until that is done. Only when nobody is
    /// inside the callback and nobody will be.
    fn release(&self);

    /// Whether it has been freed.
    fn is_released(&self) -> bool;
}

/// Whether a callback's data is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    /// Somebody is freeing it now: the plugin's code runs.
    Freeing,
    Free,
}

/// A callback of a plugin and its data. It is read inside calls of the plugin only, and taken out
/// only when there are none any more: at the unload, or earlier with the last holder of its shell,
/// which may be a worker that lets an old snapshot go while the plugin is being unloaded.
struct Slot<F> {
    callback: UnsafeCell<Option<Callback<F>>>,
    stage: Mutex<Stage>,
    freed: Condvar,
}

// SAFETY: the cell is read by calls that the plugin's gate lets in, and written once, by whoever
// has taken the stage from Live to Freeing, after the last of them has left; function pointers and
// data are fit for any thread.
unsafe impl<F> Send for Slot<F> {}
// SAFETY: as above.
unsafe impl<F> Sync for Slot<F> {}

impl<F> Release for Slot<F> {
    fn release(&self) {
        let mut stage = self.stage.lock();
        match *stage {
            Stage::Live => *stage = Stage::Freeing,
            Stage::Free => return,
            Stage::Freeing => {
                let limit = Duration::from_millis(limits::PLUGIN_LEAVE_MS);
                self.freed.wait_while_for(&mut stage, |stage| *stage == Stage::Freeing, limit);
                return;
            }
        }
        drop(stage);
        // SAFETY: nobody is inside the callback, and this thread alone frees it.
        drop(unsafe { (*self.callback.get()).take() });
        *self.stage.lock() = Stage::Free;
        self.freed.notify_all();
    }

    fn is_released(&self) -> bool {
        *self.stage.lock() == Stage::Free
    }
}

/// What the server holds of a plugin's callback.
struct Registered<F> {
    slot: Arc<Slot<F>>,
    plugin: Arc<Plugin>,
}

impl<F> Registered<F> {
    fn new(callback: Callback<F>, plugin: Arc<Plugin>) -> Registered<F> {
        let slot = Slot {
            callback: UnsafeCell::new(Some(callback)),
            stage: Mutex::new(Stage::Live),
            freed: Condvar::new(),
        };
        Registered { slot: Arc::new(slot), plugin }
    }

    /// Runs `body` with the callback, as a call of the plugin. `None` when it is switched off or
    /// unloaded.
    fn call<R>(&self, body: impl FnOnce(&Callback<F>) -> R) -> Option<R> {
        self.plugin.call(|| {
            // SAFETY: the gate has let this call in, so the callback is not taken out meanwhile.
            unsafe { &*self.slot.callback.get() }.as_ref().map(body)
        })?
    }
}

impl<F> Drop for Registered<F> {
    fn drop(&mut self) {
        // Its calls borrow it: none is under way.
        self.slot.release();
    }
}

type HandlerFn =
    unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> nh_status;
type MiddlewareFn =
    unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> i32;

type HookFn = unsafe extern "C-unwind" fn(*mut nh_text_edit, *mut c_void) -> i32;

impl TextHook for Registered<HookFn> {
    fn look(&self, edit: &mut TextEdit) -> bool {
        let goes_on = self.call(|callback| {
            let edit = std::ptr::from_mut(edit).cast();
            // SAFETY: function and data were registered together; the text is good until this
            // returns, and nothing else uses it meanwhile.
            unsafe { callback.function()(edit, callback.user_data()) == 0 }
        });
        goes_on.unwrap_or(true)
    }
}

impl Handler for Registered<HandlerFn> {
    fn handle(&self, exchange: &mut Exchange) -> Result<(), String> {
        let done = self.call(|callback| call_handler(callback, exchange));
        done.unwrap_or_else(|| {
            // As if its route were not there.
            let missing = Failure::new(404, "nothing is here").code("not_found");
            pipeline::answer(exchange, &missing);
            Ok(())
        })
    }
}

impl Middleware for Registered<MiddlewareFn> {
    fn pass(&self, exchange: &mut Exchange) -> Flow {
        let flow = self
            .call(|callback| call_middleware(callback.function(), callback.user_data(), exchange));
        flow.unwrap_or(Flow::Next)
    }
}

pub(super) unsafe extern "C" fn plugin_log(
    plugin: *mut nh_plugin_context,
    level: i32,
    text: *const c_char,
    len: usize,
) {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (context, text) =
            unsafe { (handle::hold(plugin)?, bytes::payload(text.cast(), len, "the text")?) };
        let server = context.server.upgrade();
        let server = server.ok_or_else(|| Error::new(ErrorKind::State, "the server has ended"))?;
        let known = context.ready.get().and_then(|ready| ready.plugin.upgrade());
        let name = known.as_ref().map_or("", |plugin| plugin.name());
        let text = String::from_utf8_lossy(&text[..text.len().min(LOG_BYTES_MAX)]);
        server.with_log(|| match level {
            1 => tracing::error!("plugin {name}: {text}"),
            2 => tracing::warn!("plugin {name}: {text}"),
            3 => tracing::info!("plugin {name}: {text}"),
            4 => tracing::debug!("plugin {name}: {text}"),
            _ => tracing::trace!("plugin {name}: {text}"),
        });
        Ok(())
    });
}

pub(super) unsafe extern "C" fn plugin_config(
    plugin: *const nh_plugin_context,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for both pointers.
        let context = unsafe { handle::hold(plugin) }?;
        let text = &context.configured()?.text;
        // SAFETY: as above. The text lives as long as the context, which ends after `fini`.
        unsafe { bytes::write_len(len, text.len() - 1) };
        Ok(text.as_ptr().cast())
    })
}

pub(super) unsafe extern "C" fn plugin_config_get(
    plugin: *const nh_plugin_context,
    path: *const c_char,
    value: *mut *mut c_char,
    len: *mut usize,
) -> nh_status {
    status(|| {
        let out = handle::output(value, "place for the value")?;
        // SAFETY: the caller's promise for handle and text.
        let (context, path) =
            unsafe { (handle::hold(plugin)?, bytes::name_text(path, "the path")?) };
        let text = look_up(&context.configured()?.table, path)?;
        let copy = bytes::give(text.as_bytes())?;
        // SAFETY: the caller's places for the results.
        unsafe {
            out.write(copy);
            bytes::write_len(len, text.len());
        }
        Ok(())
    })
}

/// The value at a path as text.
fn look_up(table: &toml::Table, path: &str) -> Result<String, Error> {
    let missing = || Error::new(ErrorKind::NotFound, format!("`{path}` is not configured"));
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let mut value = table.get(first).ok_or_else(missing)?;
    for step in rest.into_iter().flat_map(|rest| rest.split('.')) {
        let next = match value {
            toml::Value::Table(table) => table.get(step),
            toml::Value::Array(list) => step.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        };
        value = next.ok_or_else(missing)?;
    }
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Table(_) | toml::Value::Array(_) => {
            let message = format!("`{path}` is a list or a table, expected the path of a value");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
        plain => Ok(plain.to_string()),
    }
}

pub(super) unsafe extern "C" fn plugin_route(
    plugin: *mut nh_plugin_context,
    method: *const c_char,
    pattern: *const c_char,
    flags: u32,
    handler: nh_handler,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    status(|| {
        let callback = Callback::new(handler, user_data)?;
        options::check_flags(flags, NH_ROUTE_BLOCKING | NH_ROUTE_CACHE)?;
        // SAFETY: the caller's promise for handle and texts.
        let (context, method, pattern) = unsafe {
            let context = handle::hold(plugin)?;
            (context, bytes::name_text(method, "the method")?, pattern_text(pattern)?)
        };
        let (server, plugin, _) = context.parts()?;
        let handler = Arc::new(Registered::<HandlerFn>::new(callback, plugin));
        context.remember(Arc::<Slot<HandlerFn>>::clone(&handler.slot))?;
        let handler: Arc<dyn Handler> = handler;
        let blocking = flags & NH_ROUTE_BLOCKING != 0;
        let is_cached = flags & NH_ROUTE_CACHE != 0;
        server.add_route(method, pattern, blocking, is_cached, Arc::clone(&handler))?;
        let (method, pattern) = (method.to_owned(), pattern.to_owned());
        context.routes.lock().push(Route { method, pattern, handler });
        Ok(())
    })
}

pub(super) unsafe extern "C" fn plugin_unroute(
    plugin: *mut nh_plugin_context,
    method: *const c_char,
    pattern: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and texts.
        let (context, method, pattern) = unsafe {
            let context = handle::hold(plugin)?;
            (context, bytes::name_text(method, "the method")?, pattern_text(pattern)?)
        };
        let (server, ..) = context.parts()?;
        let route = {
            let mut routes = context.routes.lock();
            let place =
                routes.iter().position(|route| route.method == method && route.pattern == pattern);
            place.map(|place| routes.swap_remove(place))
        };
        match route {
            Some(route) if server.remove_route_of(method, pattern, &route.handler) => Ok(()),
            _ => {
                let message = format!("the plugin has no route {method} {pattern}");
                Err(Error::new(ErrorKind::NotFound, message))
            }
        }
    })
}

pub(super) unsafe extern "C" fn plugin_before(
    plugin: *mut nh_plugin_context,
    middleware: nh_middleware,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe {
        add_middleware(
            plugin,
            middleware,
            UserData::new(user_data, drop),
            |server, plugin, stage| server.add_plugin_stage(plugin, stage, false),
        )
    }
}

pub(super) unsafe extern "C" fn plugin_after(
    plugin: *mut nh_plugin_context,
    middleware: nh_middleware,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe {
        add_middleware(
            plugin,
            middleware,
            UserData::new(user_data, drop),
            |server, plugin, stage| server.add_plugin_after(plugin, stage),
        )
    }
}

pub(super) unsafe extern "C" fn plugin_on_prompt(
    plugin: *mut nh_plugin_context,
    hook: nh_text_hook,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe { add_hook(plugin, HookPlace::Prompt, hook, UserData::new(user_data, drop)) }
}

pub(super) unsafe extern "C" fn plugin_on_delta(
    plugin: *mut nh_plugin_context,
    hook: nh_text_hook,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe { add_hook(plugin, HookPlace::Delta, hook, UserData::new(user_data, drop)) }
}

pub(super) unsafe extern "C" fn plugin_on_reply(
    plugin: *mut nh_plugin_context,
    hook: nh_text_hook,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe { add_hook(plugin, HookPlace::Reply, hook, UserData::new(user_data, drop)) }
}

/// # Safety
/// `plugin` is NULL or a handle.
unsafe fn add_hook(
    plugin: *mut nh_plugin_context,
    place: HookPlace,
    hook: nh_text_hook,
    user_data: UserData,
) -> nh_status {
    status(|| {
        let callback = Callback::new(hook, user_data)?;
        // SAFETY: the caller's promise.
        let context = unsafe { handle::hold(plugin) }?;
        let (server, plugin, _) = context.parts()?;
        let hook = Arc::new(Registered::<HookFn>::new(callback, plugin));
        context.remember(Arc::<Slot<HookFn>>::clone(&hook.slot))?;
        let hook: Arc<dyn TextHook> = hook;
        server.add_hook(place, Arc::clone(&hook))?;
        context.hooks.lock().push(hook);
        Ok(())
    })
}

/// # Safety
/// `plugin` is NULL or a handle.
unsafe fn add_middleware(
    plugin: *mut nh_plugin_context,
    middleware: nh_middleware,
    user_data: UserData,
    add: impl FnOnce(&Server, &Plugin, Arc<dyn Middleware>) -> Result<(), Error>,
) -> nh_status {
    status(|| {
        let callback = Callback::new(middleware, user_data)?;
        // SAFETY: the caller's promise.
        let context = unsafe { handle::hold(plugin) }?;
        let (server, plugin, _) = context.parts()?;
        let stage = Arc::new(Registered::<MiddlewareFn>::new(callback, Arc::clone(&plugin)));
        context.remember(Arc::<Slot<MiddlewareFn>>::clone(&stage.slot))?;
        add(&server, &plugin, stage)
    })
}

/// A stream's callback in a plugin, with the file it lies in: the stream may outlive the plugin.
struct Pinned {
    ready: unsafe extern "C-unwind" fn(*mut nh_stream, nh_status, *mut c_void),
    /// Freed before the file is let go.
    user_data: UserData,
    _file: Option<Object>,
}

/// nh_stream_on_ready of the host table.
pub(super) unsafe extern "C" fn pinned_on_ready(
    stream: *mut nh_stream,
    ready: nh_ready_fn,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    let Some(ready) = ready else {
        return status(|| Err(Error::new(ErrorKind::InvalidArgument, "the callback is NULL")));
    };
    let file = Object::containing(ready as *const c_void);
    let pinned = Box::into_raw(Box::new(Pinned { ready, user_data, _file: file }));
    // SAFETY: the box is freed by its destructor below, exactly once; the rest is the caller's.
    unsafe { nh_stream_on_ready(stream, Some(call_pinned), pinned.cast(), Some(free_pinned)) }
}

unsafe extern "C-unwind" fn call_pinned(
    stream: *mut nh_stream,
    outcome: nh_status,
    pinned: *mut c_void,
) {
    // SAFETY: the box of `pinned_on_ready`, which lives until `free_pinned`.
    let pinned = unsafe { &*pinned.cast::<Pinned>() };
    // SAFETY: function and data were registered together, and the file is held.
    unsafe { (pinned.ready)(stream, outcome, pinned.user_data.pointer()) };
}

unsafe extern "C-unwind" fn free_pinned(pinned: *mut c_void) {
    // SAFETY: the box of `pinned_on_ready`; this is called once, after the last call.
    guard((), || drop(unsafe { Box::from_raw(pinned.cast::<Pinned>()) }));
}

const _: () = assert!(NH_OK == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_configuration_are_found_by_their_path() {
        let table: toml::Table = "rate = 10\nname = \"a\\tb\"\nlist = [1, { x = true }]\n\
                                  [deep.er]\nvalue = 1.5\n"
            .parse()
            .unwrap();
        for (path, expected) in [
            ("rate", Ok("10")),
            ("name", Ok("a\tb")),
            ("list.0", Ok("1")),
            ("list.1.x", Ok("true")),
            ("deep.er.value", Ok("1.5")),
            ("list.2", Err(ErrorKind::NotFound)),
            ("list.x", Err(ErrorKind::NotFound)),
            ("rate.more", Err(ErrorKind::NotFound)),
            ("", Err(ErrorKind::NotFound)),
            ("list", Err(ErrorKind::InvalidArgument)),
            ("deep", Err(ErrorKind::InvalidArgument)),
        ] {
            let found = look_up(&table, path).map_err(|error| error.kind);
            assert_eq!(found.as_deref(), expected.as_deref(), "{path}");
        }
    }
}
