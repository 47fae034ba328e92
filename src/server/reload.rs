//! Another configuration while the server runs.
//!
//! It is read and checked whole, everything that can fail is done before anything changes (files
//! are opened, addresses bound, certificates read, plugins loaded), and then it becomes one new
//! snapshot, which workers take up at their next turn. Requests in flight finish under the old one.
//! Whatever goes wrong leaves the old one in force, and the reason is logged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::certificates::Certificates;
use super::core::{ClientTls, Core, DRAINING, NEW, STOPPED};
use super::listener::{self, Listener};
use super::telemetry::Destination;
use super::watch::{Signal, Stamps, files_named};
use super::{Server, log, tls};
use crate::base::error::{Error, ErrorKind};
use crate::base::limits;
use crate::config::{Changes, Config, FileStamp, Fresh, Source, check_plain};
use crate::pipeline::{self, App, Provider, Renewal};
use crate::plugin;
use crate::sys::thread::{self, ThreadId};

/// Loads a plugin from a path, or by its bare name from the folder that a configuration names, with
/// this text or what the configuration holds for it; returns its name.
pub type PluginDoor =
    Box<dyn Fn(&Path, Option<&str>, &Config) -> Result<String, Error> + Send + Sync>;

/// What a reload has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What is different now: `section.key`, `table.NAME`, `plugin.NAME`.
    pub changed: Vec<String>,
    /// Keys whose new value counts from the next start only.
    pub needs_restart: Vec<String>,
}

/// A plugin that the configuration has loaded.
#[derive(Clone)]
struct Configured {
    path: PathBuf,
    name: String,
    text: String,
}

/// A server's configuration, and how it changes.
pub(super) struct Live {
    config: Mutex<Arc<Config>>,
    /// What it was built with: what needs a restart is compared with this.
    at_start: Arc<Config>,
    /// Where it is read anew; `None`: it was handed over as it is.
    source: Mutex<Option<Source>>,
    changes: Mutex<Changes>,
    /// Held by whoever changes the configuration; only they touch what stands above.
    turn: Mutex<()>,
    whose_turn: Mutex<Option<ThreadId>>,
    has_builtins: bool,
    dispatch: tracing::Dispatch,
    door: OnceLock<PluginDoor>,
    plugins: Mutex<Vec<Configured>>,
    /// What the files that the configuration names were before they were last read.
    read_as: Mutex<Stamps>,
    /// Whoever watches the files.
    watcher: Mutex<Weak<Signal>>,
}

/// Everything that could fail, done.
struct Ready {
    certificates: Option<Certificates>,
    providers: Arc<[Arc<Provider>]>,
    tls: ClientTls,
    place: Option<log::NewPlace>,
    listeners: Option<Vec<Arc<Listener>>>,
    models_changed: bool,
    collector: Option<Destination>,
}

/// What becomes of plugins.
#[derive(Default)]
struct Plugins {
    /// Loaded already.
    loaded: Vec<String>,
    /// To be unloaded.
    leaving: Vec<String>,
    /// Those of the configuration from now on; `None`: as before.
    configured: Option<Vec<Configured>>,
}

/// What the files that a configuration names are like now.
fn stamps_of(config: &Config) -> Stamps {
    let stamped = |file: PathBuf| {
        let stamp = FileStamp::of(&file);
        (file, stamp)
    };
    files_named(config).map(stamped).collect()
}

/// One who changes the configuration.
struct Turn<'l>(&'l Live, #[expect(dead_code, reason = "held")] MutexGuard<'l, ()>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.whose_turn.lock() = None;
    }
}

impl Live {
    pub(super) fn new(
        config: Config,
        source: Option<Source>,
        has_builtins: bool,
        dispatch: tracing::Dispatch,
    ) -> Live {
        let config = Arc::new(config);
        let read_as = stamps_of(&config);
        Live {
            at_start: Arc::clone(&config),
            config: Mutex::new(config),
            source: Mutex::new(source),
            changes: Mutex::default(),
            turn: Mutex::default(),
            whose_turn: Mutex::default(),
            has_builtins,
            dispatch,
            door: OnceLock::new(),
            plugins: Mutex::default(),
            read_as: Mutex::new(read_as),
            watcher: Mutex::default(),
        }
    }

    /// Has a watcher told when other files may count.
    pub(super) fn set_watcher(&self, signal: &Arc<Signal>) {
        *self.watcher.lock() = Arc::downgrade(signal);
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock())
    }

    /// The files that are worth watching.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        self.source.lock().as_ref().map(Source::watched).unwrap_or_default()
    }

    /// What the files of the configuration and those that it names were before they were last read,
    /// so that whoever watches them misses no change in between.
    pub(super) fn read_as(&self) -> Stamps {
        let mut stamps = self.read_as.lock().clone();
        stamps.extend(self.source.lock().iter().flat_map(Source::stamps));
        stamps
    }

    /// The keys that are other than they were at the start.
    pub(super) fn differences_from_start(&self) -> Vec<String> {
        self.at_start.differences(&self.config())
    }

    /// What was changed at run time.
    pub(super) fn changes(&self) -> Changes {
        self.changes.lock().clone()
    }

    fn turn(&self) -> Result<Turn<'_>, Error> {
        let own = thread::current();
        if *self.whose_turn.lock() == Some(own) {
            // A function of a plugin that the change itself calls.
            let message = "a change of the configuration is under way on this thread";
            return Err(Error::new(ErrorKind::State, message));
        }
        let wait = Duration::from_millis(limits::RELOAD_TURN_MS);
        let Some(held) = self.turn.try_lock_for(wait) else {
            let message = "another change of the configuration takes too long";
            return Err(Error::new(ErrorKind::Timeout, message));
        };
        *self.whose_turn.lock() = Some(own);
        Ok(Turn(self, held))
    }
}

impl Core {
    /// Reads the configuration anew, with what `edit` changes of what was changed at run time, and
    /// takes it up. `who` is for the log.
    pub(super) fn reload(
        &self,
        who: &str,
        edit: impl FnOnce(&mut Changes),
    ) -> Result<Reloaded, Error> {
        let tell = || {
            let told = self.try_reload(edit);
            match &told {
                Ok(done) => tell_done(who, done),
                Err(error) => tracing::error!(
                    "the configuration was not taken up ({who}), the one before stays: {error}"
                ),
            }
            told
        };
        tracing::dispatcher::with_default(&self.live.dispatch, tell)
    }

    fn try_reload(&self, edit: impl FnOnce(&mut Changes)) -> Result<Reloaded, Error> {
        let live = &self.live;
        let turn = live.turn()?;
        if matches!(self.state(), DRAINING | STOPPED) {
            return Err(Error::new(ErrorKind::State, "the server is stopping"));
        }
        let mut changes = live.changes();
        edit(&mut changes);
        let fresh = self.read(&changes)?;
        let config = &fresh.config;
        if live.has_builtins {
            config.exposure_check()?;
        }
        // Before any of them is read. What is no plain file could be read for ever.
        let read_as = stamps_of(config);
        let authorities = config.provider.iter().map(|it| &it.ca_file);
        let authorities = authorities.chain([&config.telemetry.ca_file]).map(PathBuf::from);
        for file in files_named(config).chain(authorities) {
            check_plain(&file)?;
        }
        let before = live.config();
        let changed = before.differences(config);
        let ready = self.prepare(&before, config, &changed)?;
        let renewal = Renewal {
            config,
            before: &before,
            providers: Arc::clone(&ready.providers),
            models_changed: ready.models_changed,
        };
        // Made of a copy: what takes its time holds nobody up, and plugins are loaded only for what
        // will be.
        let mut renewed = App::clone(&self.app());
        let epoch = renewed.epoch;
        renewed.renew(&renewal).map_err(unfit)?;
        let plugins = self.load_plugins(config, &changed)?;
        let taken = self.change(|app| {
            // Somebody may have changed something meanwhile.
            if app.epoch != epoch + 1 {
                return app.renew(&renewal);
            }
            app.follow(&renewed);
            Ok(())
        });
        // Here, where no lock is held: it may hold the last of something of the host.
        drop(renewed);
        if let Err(message) = taken {
            self.unload_all(&plugins.loaded);
            return Err(unfit(message));
        }
        let has_given_sockets = self.commit(config, ready);
        self.unload_all(&plugins.leaving);
        if let Some(configured) = plugins.configured {
            *live.plugins.lock() = configured;
        }
        for note in config.notes.iter().filter(|note| !before.notes.contains(note)) {
            tracing::warn!("{note}");
        }
        let mut needs_restart = Config::needing_restart(&live.at_start.differences(config));
        let listen = "server.listen".to_owned();
        if has_given_sockets && changed.contains(&listen) {
            needs_restart.push(listen);
        }
        if let Some(source) = &mut *live.source.lock() {
            source.accept(&fresh);
        }
        *live.changes.lock() = changes;
        *live.read_as.lock() = read_as;
        *live.config.lock() = Arc::new(fresh.config);
        if let Some(watcher) = live.watcher.lock().upgrade() {
            watcher.renewed();
        }
        drop(turn);
        Ok(Reloaded { changed, needs_restart })
    }

    fn read(&self, changes: &Changes) -> Result<Fresh, Error> {
        match &*self.live.source.lock() {
            Some(source) => Ok(source.read(changes)?),
            None => {
                let message = "the configuration was handed over as it is and cannot be read anew";
                Err(Error::new(ErrorKind::State, message))
            }
        }
    }

    /// Does everything that can fail.
    fn prepare(
        &self,
        before: &Config,
        config: &Config,
        changed: &[String],
    ) -> Result<Ready, Error> {
        let certificates = Certificates::load(&config.tls).map_err(unfit)?;
        let app = self.app();
        let providers = pipeline::renewed_providers(config, &app.providers).map_err(unfit)?;
        let is_new = |it: &&Arc<Provider>| !app.providers.iter().any(|old| old.id == it.id);
        let fresh = providers.iter().filter(is_new);
        let tls = client_tls(fresh)?;
        if config.legacy {
            log::make_folder(&config.log);
        }
        let place = log::open_place(&before.log, &config.log)?;
        let listeners = match self.state() {
            NEW => None,
            _ => listener::renewed(config, &self.listeners(), &self.leaving_listeners())?,
        };
        let models_changed =
            changed.iter().any(|key| key.starts_with("model.") || key.starts_with("provider."));
        let collector = Destination::new(&config.telemetry).map_err(unfit)?;
        Ok(Ready { certificates, providers, tls, place, listeners, models_changed, collector })
    }

    /// Nothing fails any more. True when the sockets are not the configuration's to change.
    fn commit(&self, config: &Config, ready: Ready) -> bool {
        self.add_tls(ready.tls);
        self.set_certificates(ready.certificates);
        self.take_settings(config);
        if !self.app().settings.tuned.weights {
            self.lift_weights();
        }
        self.app().cache.resize(config, super::now_s());
        self.telemetry.aim(ready.collector);
        log::renew(&self.live.dispatch, &config.log, ready.place);
        let has_given_sockets = ready.listeners.is_none() && self.state() != NEW;
        if let Some(listeners) = ready.listeners {
            let known = self.listeners();
            for listener in listeners.iter().filter(|it| !known.iter().any(|old| old.id == it.id)) {
                tracing::info!("listening on {listener}");
            }
            for listener in known.iter().filter(|it| !listeners.iter().any(|new| new.id == it.id)) {
                tracing::info!("listening on {listener} no more");
            }
            self.set_listeners(listeners);
            // Workers look when they take up a snapshot.
            self.change(|_| ());
        }
        has_given_sockets
    }

    // ---- plugins ----

    /// Loads one plugin; returns its name.
    pub(super) fn load_plugin(&self, path: &Path, text: Option<&str>) -> Result<String, Error> {
        match self.live.door.get() {
            Some(door) => tracing::dispatcher::with_default(&self.live.dispatch, || {
                door(path, text, &self.live.config())
            }),
            None => Err(Error::new(ErrorKind::State, "this server loads no plugins")),
        }
    }

    fn unload_all(&self, names: &[String]) {
        for name in names {
            self.plugins.unload(name);
        }
    }

    /// Loads the plugins that a configuration names and the one before did not, and anew those whose
    /// text is another.
    fn load_plugins(&self, config: &Config, changed: &[String]) -> Result<Plugins, Error> {
        let is_touched = |key: &String| key.starts_with("plugins.") || key.starts_with("plugin.");
        let Some(door) = self.live.door.get().filter(|_| changed.iter().any(is_touched)) else {
            return Ok(Plugins::default());
        };
        let known = self.live.plugins.lock().clone();
        let must_come = !config.plugins.load.is_empty();
        let mut now = Vec::new();
        let mut loaded = Vec::new();
        let refused = |loaded: &[String], error| {
            self.unload_all(loaded);
            Err(error)
        };
        for path in plugin_paths(config)? {
            let text_of = |name: &str| config.plugin.get(name).cloned().unwrap_or_default();
            if let Some(old) = known.iter().find(|old| old.path == path) {
                let text = text_of(&old.name);
                if text != old.text
                    && self.plugins.unload(&old.name)
                    && let Err(error) = door(&path, None, config)
                {
                    // It may go on as it was.
                    if let Err(again) = door(&path, None, &self.live.config()) {
                        tracing::error!("{again}");
                    }
                    return refused(&loaded, error);
                }
                now.push(Configured { text, ..old.clone() });
                continue;
            }
            match door(&path, None, config) {
                Ok(name) => {
                    loaded.push(name.clone());
                    now.push(Configured { text: text_of(&name), path, name });
                }
                Err(error) if must_come => return refused(&loaded, error),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let is_left = |old: &&Configured| !now.iter().any(|kept| kept.name == old.name);
        let leaving = known.iter().filter(is_left).map(|old| old.name.clone()).collect();
        Ok(Plugins { loaded, leaving, configured: Some(now) })
    }
}

/// The plugins that a configuration names, in their order.
fn plugin_paths(config: &Config) -> Result<Vec<PathBuf>, Error> {
    let plugins = &config.plugins;
    if !plugins.load.is_empty() || plugins.dir.is_empty() {
        return Ok(plugins.load.iter().map(PathBuf::from).collect());
    }
    plugin::files_of(Path::new(&plugins.dir)).map_err(|error| {
        Error::new(ErrorKind::Plugin, format!("plugins.dir {}: {error}", plugins.dir))
    })
}

/// How to speak TLS with those of the providers that want it.
pub(super) fn client_tls<'p>(
    providers: impl Iterator<Item = &'p Arc<Provider>>,
) -> Result<ClientTls, Error> {
    let one = |provider: &Arc<Provider>| {
        let config = tls::client_config(provider).map_err(|message| {
            Error::new(ErrorKind::Config, format!("provider {}: {message}", provider.name))
        })?;
        Ok((provider.id, (Arc::downgrade(provider), config)))
    };
    providers.filter(|provider| provider.base.is_tls).map(one).collect()
}

fn unfit(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn tell_done(who: &str, done: &Reloaded) {
    let changed = match done.changed.is_empty() {
        true => "nothing is different".to_owned(),
        false => format!("changed: {}", done.changed.join(", ")),
    };
    tracing::info!("the configuration was read anew ({who}); {changed}");
    if !done.needs_restart.is_empty() {
        tracing::warn!("taken up at the next start only: {}", done.needs_restart.join(", "));
    }
}

impl Server {
    /// Reads the configuration anew, checks it whole and takes it up; requests in flight finish under
    /// the one before. What was set at run time is kept. `who` asks for it, for the log.
    ///
    /// # Errors
    /// `Config`, `Io`, `AddressInUse`, `Plugin`: nothing has changed; `State`: the configuration was
    /// handed over as it is, or the server is stopping; `Timeout`: another change takes too long.
    pub fn reload(&self, who: &str) -> Result<Reloaded, Error> {
        self.core.reload(who, |_| ())
    }

    /// Sets one key, as `--set` does, over everything else; a reload keeps it. The whole
    /// configuration is read anew for it.
    ///
    /// # Errors
    /// As [`Server::reload`].
    pub fn set(&self, who: &str, key: &str, value: &str) -> Result<Reloaded, Error> {
        self.core.reload(who, |changes| changes.set(key, value))
    }

    /// Says how plugins are loaded, and loads those that the configuration names: those of
    /// `plugins.load` in their order, each of which must come; without any, every file of
    /// `plugins.dir`, of which those that are refused are logged.
    ///
    /// # Errors
    /// Of the first plugin that must come and does not.
    pub fn open_plugins(&self, door: PluginDoor) -> Result<(), Error> {
        let config = self.config();
        let must_come = !config.plugins.load.is_empty();
        let mut known = Vec::new();
        for path in plugin_paths(&config)? {
            match door(&path, None, &config) {
                Ok(name) => {
                    let text = config.plugin.get(&name).cloned().unwrap_or_default();
                    known.push(Configured { path, name, text });
                }
                Err(error) if must_come => return Err(error),
                Err(error) => tracing::error!("{error}"),
            }
        }
        *self.core.live.plugins.lock() = known;
        // Set once, before the server is anybody else's.
        let _ = self.core.live.door.set(door);
        Ok(())
    }
}
