//! Plugins: loaded, called in order, unloaded while requests run.
//!
//! A [`Registry`] holds the plugins of one owner in load order. No lock is held while code of a plugin
//! runs: a call works on a snapshot of the list and counts itself in and out, and a plugin is ended when
//! the last call has left it. A plugin may therefore call the registry from inside any of its functions.
//!
//! Two contracts: the old one of plugin.h is known here; of the new one (`nh_plugin_entry`) only what
//! both share, its structs are the C API's and stand in `ffi`.
//!
//! This is not a sandbox: a plugin is code of the process and is trusted like the host.

pub mod abi;
mod loaded;
pub mod loader;
pub mod old;

use abi::{HttpRequest, RouteResponse};
use loader::Object;
use parking_lot::Mutex;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::limits::PLUGINS_MAX;

pub use loaded::{Contract, Kind, OldFunctions, Plugin, Undo};

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
        let files = match files_of(directory) {
            Ok(files) => files,
            Err(error) => {
                log(&format!("no plugins from {}: {error}", directory.display()));
                return;
            }
        };
        for file in files {
            if let Err(reason) = self.load(&file) {
                log(&format!("plugin {} refused: {reason}", file.display()));
            }
        }
    }

    /// Loads one file by the old contract.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn load(&self, file: &Path) -> Result<(), String> {
        let name = name_of(file)?;
        self.check_new(&name, None)?;
        let plugin = Arc::new(self.open_old(name, Object::open(file)?)?);
        self.start_old(&plugin)?;
        self.add(plugin)
    }

    /// A plugin of the old contract, not yet initialised.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn open_old(&self, name: String, object: Object) -> Result<Plugin, String> {
        self.check_new(&name, Some(object.base()))?;
        let functions = OldFunctions::of(&object).map_err(|missing| {
            match object.own_symbol(NEW_ENTRY).is_some() {
                true => format!(
                    "{missing}; it is a plugin of the new contract, which nh_plugin_load and \
                     [plugins] of the configuration load"
                ),
                false => missing,
            }
        })?;
        Ok(Plugin::new(name, Kind::Old(functions), object))
    }

    /// Calls the init of an old plugin.
    ///
    /// # Errors
    /// What it returned.
    pub fn start_old(&self, plugin: &Arc<Plugin>) -> Result<(), String> {
        match plugin.call_own_init() {
            0 => {
                plugin.set_ready();
                Ok(())
            }
            code => Err(format!("its plugin_init returned {code}")),
        }
    }

    /// Puts a plugin that is ready at the end of the list.
    ///
    /// # Errors
    /// Another of its name or file came while its init ran.
    pub fn add(&self, plugin: Arc<Plugin>) -> Result<(), String> {
        let mut plugins = self.plugins.lock();
        check_new(&plugins, plugin.name(), Some(plugin.base()))?;
        plugins.push(plugin);
        Ok(())
    }

    /// Whether there is room for a plugin of this name and file.
    ///
    /// # Errors
    /// Why not.
    pub fn check_new(&self, name: &str, base: Option<usize>) -> Result<(), String> {
        check_new(&self.plugins.lock(), name, base)
    }

    /// The plugin of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.lock().iter().find(|plugin| plugin.name() == name).cloned()
    }

    /// Ends a plugin and closes its file. When a call is inside that cannot be waited for, the last of
    /// them does so on its way out. `false`: unknown.
    pub fn unload(&self, name: &str) -> bool {
        self.remove(name).map(|plugin| plugin.retire()).is_some()
    }

    /// The same, but tells whether it has ended: `None` for an unknown name.
    pub fn unload_and_tell(&self, name: &str) -> Option<bool> {
        self.remove(name).map(|plugin| plugin.retire())
    }

    fn remove(&self, name: &str) -> Option<Arc<Plugin>> {
        let mut plugins = self.plugins.lock();
        let place = plugins.iter().position(|plugin| plugin.name() == name)?;
        Some(plugins.remove(place))
    }

    /// Ends all plugins, the last loaded first.
    pub fn clear(&self) {
        loop {
            let Some(plugin) = self.plugins.lock().pop() else { return };
            plugin.retire();
        }
    }

    /// Switches a plugin on or off. `false`: unknown.
    pub fn set_enabled(&self, name: &str, enabled: bool) -> bool {
        self.find(name).map(|plugin| plugin.set_enabled(enabled)).is_some()
    }

    /// The plugins in load order.
    pub fn list(&self) -> Vec<Arc<Plugin>> {
        self.plugins.lock().clone()
    }

    /// Calls every enabled plugin, all of them even after one has refused; the last result that is not 0.
    pub fn process_all(&self, request: *mut HttpRequest, response: *mut RouteResponse) -> c_int {
        let mut last = 0;
        for plugin in &self.list() {
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
        for plugin in &self.list() {
            match judge(plugin, request, response, headers) {
                Verdict::Next => {}
                decided => return decided,
            }
        }
        Verdict::Next
    }

    /// The plugin whose file an address lies in, loaded or being loaded on this thread.
    pub fn owner_of(&self, address: *const c_void) -> Option<Arc<Plugin>> {
        let base = loader::base_of(address)?;
        let find = || self.plugins.lock().iter().find(|plugin| plugin.base() == base).cloned();
        Plugin::current_with_base(base).or_else(find)
    }
}

/// One plugin of the old contract looks at a request. Headers of one that does not decide go into
/// `headers`.
pub fn judge(
    plugin: &Arc<Plugin>,
    request: *mut HttpRequest,
    response: &mut old::OldResponse,
    headers: &mut Vec<Vec<u8>>,
) -> Verdict {
    let code = plugin.process(request, response.as_mut_ptr());
    if response.has_data() || code != 0 && response.status_code() != 0 {
        return Verdict::Answered;
    }
    if code != 0 {
        return Verdict::Refused;
    }
    headers.append(&mut response.take_headers());
    Verdict::Next
}

fn check_new(plugins: &[Arc<Plugin>], name: &str, base: Option<usize>) -> Result<(), String> {
    if plugins.len() >= PLUGINS_MAX {
        return Err(format!("there are {PLUGINS_MAX} plugins already"));
    }
    if plugins.iter().any(|plugin| plugin.name() == name) {
        return Err(format!("a plugin named {name} is loaded"));
    }
    match plugins.iter().find(|plugin| Some(plugin.base()) == base) {
        Some(same) => Err(format!("it is loaded as {}", same.name())),
        None => Ok(()),
    }
}

/// The entry of the new contract.
pub const NEW_ENTRY: &std::ffi::CStr = c"nh_plugin_entry";

/// What a file's plugin is called: its name without directory and without its last extension.
///
/// # Errors
/// It has none.
pub fn name_of(file: &Path) -> Result<String, String> {
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty()).ok_or_else(|| "it has no name".to_owned())
}

/// The `*.so` files of a directory in order of their names. A directory or a socket of such a name is
/// no plugin; a link to a file is.
///
/// # Errors
/// The directory cannot be read.
pub fn files_of(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "so"))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}
