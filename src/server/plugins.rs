//! Plugins of a server: their places in the snapshot, and those of the old contract.
//!
//! A plugin of the new contract is loaded by the door that knows its structs (`ffi`), through what
//! stands here.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::core::{Core, RUNNING};
use super::{Server, push_middleware};
use crate::base::error::{Error, ErrorKind, Failure};
use crate::base::limits;
use crate::exchange::{Exchange, Flow, Handler, Middleware, Observer};
use crate::pipeline::{self, PluginStage};
use crate::plugin::loader::Object;
use crate::plugin::old::{OldRequest, OldResponse};
use crate::plugin::{self, Plugin, Registry, Verdict};

/// A refusal of a plugin, with the reason for whoever loads it.
pub fn refused(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, reason.into())
}

impl Server {
    /// The plugins of this server.
    pub fn plugins(&self) -> &Registry {
        &self.core.plugins
    }

    /// Loads an old plugin whose file is open: `plugin_process` is called for every request, behind
    /// the middleware before, on the blocking pool.
    ///
    /// # Errors
    /// `Plugin` with the reason why it is refused.
    pub fn load_old_plugin(&self, name: String, object: Object) -> Result<(), Error> {
        let plugin = Arc::new(self.plugins().open_old(name, object).map_err(refused)?);
        self.plugins().start_old(&plugin).map_err(refused)?;
        self.plugins().add(Arc::clone(&plugin)).map_err(refused)?;
        let stage: Arc<dyn Middleware> = Arc::new(OldStage { plugin: Arc::clone(&plugin) });
        self.add_plugin_stage(&plugin, stage, true)
    }

    /// Adds a plugin's place before the handlers; it goes when the plugin is unloaded.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_plugin_stage(
        &self,
        plugin: &Plugin,
        stage: Arc<dyn Middleware>,
        blocks: bool,
    ) -> Result<(), Error> {
        self.core.change(|app| {
            if app.plugins.len() >= limits::MIDDLEWARES_MAX {
                return Err(Error::new(ErrorKind::Limit, "too many middlewares of plugins"));
            }
            app.plugins.push(PluginStage { stage: Arc::clone(&stage), blocks });
            Ok(())
        })?;
        self.undo_with(plugin, move |core| {
            core.change(|app| app.plugins.retain(|known| !Arc::ptr_eq(&known.stage, &stage)));
        });
        Ok(())
    }

    /// Adds a plugin's look at answers; it goes when the plugin is unloaded.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_plugin_after(
        &self,
        plugin: &Plugin,
        after: Arc<dyn Middleware>,
    ) -> Result<(), Error> {
        self.core.change(|app| push_middleware(&mut app.plugins_after, &after))?;
        self.undo_with(plugin, move |core| {
            core.change(|app| app.plugins_after.retain(|known| !Arc::ptr_eq(known, &after)));
        });
        Ok(())
    }

    /// Adds a plugin's observer, which learns of a start that has been; it goes when the plugin is
    /// unloaded.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_plugin_observer(
        &self,
        plugin: &Plugin,
        observer: Arc<dyn Observer>,
    ) -> Result<(), Error> {
        self.add_observer(Arc::clone(&observer))?;
        if self.core.state() == RUNNING {
            observer.started();
        }
        self.undo_with(plugin, move |core| {
            core.change(|app| app.observers.retain(|known| !Arc::ptr_eq(known, &observer)));
        });
        Ok(())
    }

    /// Removes a route as long as it is this handler's. Whether it was.
    pub fn remove_route_of(&self, method: &str, pattern: &str, handler: &Arc<dyn Handler>) -> bool {
        self.core.change(|app| match app.routes.remove(method, pattern) {
            Some(route) if Arc::ptr_eq(&route.handler, handler) => true,
            Some(other) => {
                // It was there a moment ago, so it fits.
                let _ = app.routes.insert(method, pattern, other);
                false
            }
            None => false,
        })
    }

    fn undo_with(&self, plugin: &Plugin, undo: impl FnOnce(&Core) + Send + 'static) {
        let core: Weak<Core> = Arc::downgrade(&self.core);
        plugin.on_unload(Box::new(move || {
            if let Some(core) = core.upgrade() {
                undo(&core);
            }
        }));
    }

    /// Where plugins of this server are looked for by their bare name.
    pub fn plugin_directory(&self) -> PathBuf {
        PathBuf::from(&self.config().plugins.dir)
    }
}

/// An old plugin in the pipeline.
struct OldStage {
    plugin: Arc<Plugin>,
}

impl Middleware for OldStage {
    fn pass(&self, exchange: &mut Exchange) -> Flow {
        if !self.plugin.is_enabled() {
            return Flow::Next;
        }
        let Some(mut request) = OldRequest::new(&exchange.request) else {
            return Flow::Fail("no memory for the request".to_owned());
        };
        let (mut response, mut lines) = (OldResponse::new(), Vec::new());
        let verdict = plugin::judge(&self.plugin, request.as_mut_ptr(), &mut response, &mut lines);
        plugin::old::add_lines(&mut exchange.added, &lines);
        match verdict {
            Verdict::Next => Flow::Next,
            Verdict::Answered => {
                response.answer().fill(exchange);
                Flow::Answered
            }
            Verdict::Refused => {
                let refused = Failure::new(403, "a plugin has refused the request");
                pipeline::answer(exchange, &refused.code("plugin_refused"));
                Flow::Answered
            }
        }
    }
}
