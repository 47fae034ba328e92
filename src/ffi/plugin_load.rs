//! Loading plugins: finding the file, telling the contracts apart, and the new one's life.
//!
//! Nothing of this file is in the header.

use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::middleware::{call_middleware, nh_middleware};
use super::plugin::{NH_PLUGIN_ABI, NH_PLUGIN_BLOCKING, nh_plugin, nh_plugin_outcome};
use super::plugin_context::{Context, nh_plugin_context};
use super::plugin_host::nh_plugin_host;
use super::request::nh_request;
use super::response::nh_response;
use super::route::reason;
use super::server::nh_server;
use super::status::NH_OK;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::guard;
use crate::boundary::{handle, last_error, options};
use crate::config::Config;
use crate::exchange::{Exchange, Flow, Middleware, Observer, Outcome, Peer, Request};
use crate::plugin::loader::{self, Object};
use crate::plugin::{self, Contract, Kind, NEW_ENTRY, Plugin};
use crate::server::{Server, refused};

/// Longer names are refused, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// What is kept of a plugin's version and summary, in bytes.
const TEXT_BYTES_MAX: usize = 200;

type Entry = unsafe extern "C-unwind" fn(*const nh_plugin_host) -> *const nh_plugin;

/// Loads what `[plugins]` of the configuration says: the plugins of `load` in their order, each of
/// which must come; without any, every file of `dir`, of which those that are refused are logged.
///
/// A server that has loaded plugins must be ended with [`Server::shutdown`].
///
/// # Errors
/// As [`Server::open_plugins`].
pub fn load_configured(server: &Arc<Server>) -> Result<(), Error> {
    server.with_log(|| {
        let weak = Arc::downgrade(server);
        server.open_plugins(Box::new(move |path, text, config| {
            let Some(server) = weak.upgrade() else {
                return Err(Error::new(ErrorKind::Closed, "the server has ended"));
            };
            load_by(&server, path, text, config)
        }))?;
        for name in server.config().plugin.keys() {
            if server.plugins().find(name).is_none() {
                tracing::warn!(
                    "[plugin.{name}] is configured, but no plugin of that name is loaded"
                );
            }
        }
        Ok(())
    })
}

/// Loads one plugin; `config` is TOML text for it, `None`: what the server's configuration holds.
///
/// # Errors
/// `NotFound`, `Config`, `Plugin` with the reason, `Duplicate`, `Limit`.
pub(super) fn load(server: &Arc<Server>, path: &Path, config: Option<&str>) -> Result<(), Error> {
    load_by(server, path, config, &server.config()).map(drop)
}

/// The same by another configuration of the server; returns the plugin's name.
fn load_by(
    server: &Arc<Server>,
    path: &Path,
    text: Option<&str>,
    config: &Config,
) -> Result<String, Error> {
    let file = find(Path::new(&config.plugins.dir), path)?;
    let name = plugin::name_of(&file).map_err(refused)?;
    let about = |error: Error| {
        let message = format!("plugin {} refused: {}", file.display(), error.message);
        Error::new(error.kind, message)
    };
    let object = Object::open(&file).map_err(refused).map_err(about)?;
    match object.own_symbol(NEW_ENTRY) {
        // SAFETY: a function of this type by the contract.
        Some(entry) => load_new(server, name, object, (text, config), unsafe {
            std::mem::transmute::<*mut c_void, Entry>(entry)
        }),
        None => {
            if text.is_some_and(|text| !text.trim().is_empty()) {
                tracing::warn!("plugin {name}: the old contract knows no configuration");
            }
            check_new(server, &name, &object)?;
            server.load_old_plugin(name.clone(), object).map(|()| name)
        }
    }
    .map_err(about)
}

/// The file that a path or a bare name means.
fn find(directory: &Path, path: &Path) -> Result<PathBuf, Error> {
    let is_bare =
        path.components().count() == 1 && !path.as_os_str().as_encoded_bytes().contains(&b'/');
    let file = match is_bare {
        false => path.to_owned(),
        true => {
            let mut name = path.as_os_str().to_owned();
            if path.extension().is_none_or(|extension| extension != "so") {
                name.push(".so");
            }
            match directory.as_os_str().is_empty() {
                false => directory.join(name),
                true => installed_directory().unwrap_or_default().join(name),
            }
        }
    };
    if file.is_file() {
        return Ok(file);
    }
    let message = format!("there is no plugin {}", file.display());
    Err(Error::new(ErrorKind::NotFound, message))
}

/// Where `make install` puts plugins, seen from the library, or from a program that holds it: the
/// library may lie in `lib` or in a folder of its architecture below that.
fn installed_directory() -> Option<PathBuf> {
    let own = loader::file_of(installed_directory as *const () as usize)?.canonicalize().ok()?;
    let folder = own.parent()?;
    let above = folder.parent()?;
    let places = [
        folder.join("neurohttp/plugins"),
        above.join("neurohttp/plugins"),
        above.join("lib/neurohttp/plugins"),
    ];
    places.into_iter().find(|place| place.is_dir())
}

fn check_new(server: &Server, name: &str, object: &Object) -> Result<(), Error> {
    let free = server.plugins().check_new(name, Some(object.base()));
    free.map_err(|reason| {
        let is_known = server.plugins().find(name).is_some() || reason.contains("loaded");
        let kind = if is_known { ErrorKind::Duplicate } else { ErrorKind::Limit };
        Error::new(kind, reason)
    })
}

fn load_new(
    server: &Arc<Server>,
    name: String,
    object: Object,
    (config, tables): (Option<&str>, &Config),
    entry: Entry,
) -> Result<String, Error> {
    let contract = Arc::new(NewContract::begin(server));
    let host: *const nh_plugin_host = &*contract.table;
    // SAFETY: the plugin's function; the table lives as long as the contract. Nothing is registered.
    let descriptor = unsafe { entry(host) };
    if descriptor.is_null() {
        return Err(refused("its nh_plugin_entry returned NULL"));
    }
    // SAFETY: the plugin says how long its struct is, and keeps it until `fini` has returned.
    let passed = unsafe { options::read(descriptor) }.map_err(plain)?;
    passed.check().map_err(plain)?;
    let told = passed.options;
    if told.abi != NH_PLUGIN_ABI {
        let message = format!(
            "it was made for plugin contract {}, this server has {NH_PLUGIN_ABI}",
            told.abi
        );
        return Err(refused(message));
    }
    options::check_flags(told.flags, NH_PLUGIN_BLOCKING).map_err(plain)?;
    // SAFETY: texts of the struct are NULL or NUL-terminated.
    let (own_name, version, summary) =
        unsafe { (text(told.name), text(told.version), text(told.summary)) };
    let name = own_name.unwrap_or(name);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err(refused(format!(
            "its name {name:?} is not 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        )));
    }
    check_new(server, &name, &object)?;
    let config = config.or_else(|| tables.plugin.get(&name).map(String::as_str));
    let config = config.unwrap_or_default();
    let table = config.parse::<toml::Table>().map_err(|error| {
        Error::new(ErrorKind::Config, format!("its configuration is not TOML: {}", error.message()))
    })?;
    // Set once, here.
    let _ = contract.version.set(version.unwrap_or_default());
    let kind = Kind::New(Box::new(Shared(Arc::clone(&contract))));
    let plugin = Arc::new(Plugin::new(name, kind, object));
    // SAFETY: the handle was made above and ends with the contract.
    unsafe { handle::hold(contract.context) }?.set_ready(&plugin, config, table);
    let begun = begin(server, &plugin, &contract, told);
    if let Err(error) = begun {
        // Whatever its init has registered before it failed goes too.
        plugin.withdraw();
        return Err(error);
    }
    let summary = summary.map(|text| format!(": {text}")).unwrap_or_default();
    let version = contract.version.get().filter(|version| !version.is_empty());
    let version = version.map(|text| format!(" {text}")).unwrap_or_default();
    tracing::info!("plugin {}{version} loaded{summary}", plugin.name());
    Ok(plugin.name().to_owned())
}

/// Calls its init and puts what it brings into the server.
fn begin(
    server: &Arc<Server>,
    plugin: &Arc<Plugin>,
    contract: &Arc<NewContract>,
    told: nh_plugin,
) -> Result<(), Error> {
    let context = contract.context as usize;
    plugin.on_unload(Box::new(move || {
        // SAFETY: the handle ends with the contract, after this.
        if let Ok(context) = unsafe { handle::hold(context as *const nh_plugin_context) } {
            context.remove_routes();
        }
    }));
    let mut state: *mut c_void = std::ptr::null_mut();
    if let Some(init) = told.init {
        let failures = last_error::failures();
        let host: *const nh_plugin_host = &*contract.table;
        // SAFETY: the plugin's function; the table lives as long as the contract.
        let returned = plugin.enter(|| unsafe { init(host, &mut state) }).unwrap_or(-1);
        if returned != NH_OK {
            return Err(refused(format!("its init failed: {}", reason(returned, failures))));
        }
    }
    *contract.last.lock() = Some((State(state), told.fini));
    plugin.set_ready();
    server
        .plugins()
        .add(Arc::clone(plugin))
        .map_err(|reason| Error::new(ErrorKind::Duplicate, reason))?;
    let place = |function: nh_middleware| -> Option<Arc<dyn Middleware>> {
        let function = function?;
        Some(Arc::new(Stage { plugin: Arc::clone(plugin), function, state: State(state) }))
    };
    let entered = || -> Result<(), Error> {
        if let Some(stage) = place(told.before) {
            server.add_plugin_stage(plugin, stage, told.flags & NH_PLUGIN_BLOCKING != 0)?;
        }
        if let Some(stage) = place(told.after) {
            server.add_plugin_after(plugin, stage)?;
        }
        let events = Events { plugin: Arc::clone(plugin), state: State(state), told };
        if events.has_any() {
            server.add_plugin_observer(plugin, Arc::new(events))?;
        }
        Ok(())
    };
    entered().inspect_err(|_| {
        server.plugins().unload(plugin.name());
    })
}

/// What a faulty struct says, as a refusal.
fn plain(error: Error) -> Error {
    refused(error.message)
}

/// # Safety
/// `text` is NULL or NUL-terminated.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    let printable = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)])
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    Some(printable)
}

/// A plugin's `state`.
#[derive(Clone, Copy)]
struct State(*mut c_void);

// SAFETY: the contract says that the plugin's functions are called on any thread with it.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

type Fini = Option<unsafe extern "C-unwind" fn(*mut c_void)>;

/// What the new contract needs of a plugin beside its functions.
struct NewContract {
    context: *mut nh_plugin_context,
    server: *mut nh_server,
    table: Box<nh_plugin_host>,
    version: OnceLock<String>,
    last: Mutex<Option<(State, Fini)>>,
}

// SAFETY: handles and a table that only the contract ends; the calls on them are thread-safe.
unsafe impl Send for NewContract {}
// SAFETY: as above.
unsafe impl Sync for NewContract {}

impl NewContract {
    fn begin(server: &Arc<Server>) -> NewContract {
        let context = handle::give::<nh_plugin_context>(Context::new(server));
        let handle = handle::give::<nh_server>(Arc::clone(server));
        NewContract {
            context,
            server: handle,
            table: Box::new(nh_plugin_host::new(context, handle)),
            version: OnceLock::new(),
            last: Mutex::default(),
        }
    }
}

impl Drop for NewContract {
    fn drop(&mut self) {
        // SAFETY: made in `begin`; the plugin has no use for them any more. One may have ended before.
        unsafe {
            drop(handle::end(self.server));
            drop(handle::end(self.context));
        }
    }
}

/// The contract as its plugin holds it.
struct Shared(Arc<NewContract>);

impl Contract for Shared {
    fn version(&self) -> &str {
        self.0.version.get().map_or("", String::as_str)
    }

    fn end(&self) {
        // SAFETY: the handle lives as long as the contract.
        if let Ok(context) = unsafe { handle::hold(self.0.context) } {
            context.release_all();
        }
        let last = self.0.last.lock().take();
        if let Some((State(state), Some(fini))) = last {
            // SAFETY: the plugin's function with its own state; nobody is inside any more.
            guard((), || unsafe { fini(state) });
        }
    }
}

type MiddlewareFn =
    unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> i32;

/// `before` or `after` of a plugin in the pipeline.
struct Stage {
    plugin: Arc<Plugin>,
    function: MiddlewareFn,
    state: State,
}

impl Middleware for Stage {
    fn pass(&self, exchange: &mut Exchange) -> Flow {
        let pass = || call_middleware(self.function, self.state.0, exchange);
        self.plugin.call(pass).unwrap_or(Flow::Next)
    }
}

/// The `on_` functions of a plugin.
struct Events {
    plugin: Arc<Plugin>,
    state: State,
    told: nh_plugin,
}

// SAFETY: pointers to the plugin's functions and static texts, only read.
unsafe impl Send for Events {}
// SAFETY: as above.
unsafe impl Sync for Events {}

impl Events {
    fn has_any(&self) -> bool {
        let told = &self.told;
        told.on_start.is_some()
            || told.on_stop.is_some()
            || told.on_connect.is_some()
            || told.on_disconnect.is_some()
            || told.on_request.is_some()
            || told.on_response.is_some()
    }

    fn tell_peer(
        &self,
        function: Option<unsafe extern "C-unwind" fn(*const c_char, usize, *mut c_void)>,
        peer: Peer,
    ) {
        let Some(function) = function.filter(|_| self.plugin.is_enabled()) else { return };
        let mut text = peer.to_string().into_bytes();
        text.push(0);
        // SAFETY: the plugin's function with its own state; the text lives during the call.
        let call = || unsafe { function(text.as_ptr().cast(), text.len() - 1, self.state.0) };
        self.plugin.call(call);
    }

    fn tell(&self, function: Option<unsafe extern "C-unwind" fn(*mut c_void)>) {
        if let Some(function) = function {
            // SAFETY: the plugin's function with its own state.
            self.plugin.call(|| unsafe { function(self.state.0) });
        }
    }
}

impl Observer for Events {
    fn started(&self) {
        self.tell(self.told.on_start);
    }

    fn stopping(&self) {
        self.tell(self.told.on_stop);
    }

    fn connected(&self, peer: Peer) {
        self.tell_peer(self.told.on_connect, peer);
    }

    fn disconnected(&self, peer: Peer) {
        self.tell_peer(self.told.on_disconnect, peer);
    }

    fn requested(&self, request: &Request) {
        let Some(function) = self.told.on_request else { return };
        let request: *const Request = request;
        // SAFETY: the plugin's function with its own state; the request lives during the call.
        self.plugin.call(|| unsafe { function(request.cast(), self.state.0) });
    }

    fn answered(&self, request: Option<&Request>, outcome: &Outcome) {
        let Some(function) = self.told.on_response else { return };
        let request: *const Request = request.map_or(std::ptr::null(), std::ptr::from_ref);
        let told = nh_plugin_outcome {
            struct_size: size_of::<nh_plugin_outcome>(),
            status: i32::from(outcome.status),
            reserved: 0,
            body_bytes: outcome.body_bytes,
            elapsed_us: outcome.elapsed_us,
        };
        // SAFETY: the plugin's function with its own state; both live during the call.
        self.plugin.call(|| unsafe { function(request.cast(), &told, self.state.0) });
    }
}
