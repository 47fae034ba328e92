//! Where a running server's configuration comes from, so that it can be read anew, with what was
//! changed while it ran laid over it.
//!
//! A file may be read at any moment, also while somebody writes it. What was written with care (a
//! new file renamed over the old one, or a link moved) is always whole. For the rest: a file that
//! changes while it is read is read again; one that has become empty, or has lost the line end at its
//! end, is taken for half-written and refused; so is what is no plain file, which could make the
//! reader wait.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::assignment::apply_set;
use super::draft::Draft;
use super::load::{self, Sources};
use super::{Config, ConfigError, RESTART_KEYS, files};

/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 3;

/// What was changed at run time.
#[derive(Clone, Default)]
pub struct Changes {
    /// Assignments as of `--set`, in their order.
    pub sets: Vec<(String, String)>,
    /// Tables that were taken out, as `model.NAME` or `key.NAME`.
    pub removed: BTreeSet<String>,
}

impl Changes {
    /// Sets a key, in place of what was set of it before.
    pub fn set(&mut self, key: &str, value: &str) {
        self.sets.retain(|(known, _)| known != key);
        self.sets.push((key.to_owned(), value.to_owned()));
    }

    /// Forgets what was set of a key; whether anything was.
    pub fn unset(&mut self, key: &str) -> bool {
        let before = self.sets.len();
        self.sets.retain(|(known, _)| known != key);
        self.sets.len() < before
    }

    /// Takes a table out, with all that was set of it. One that comes back later is whole again.
    pub fn remove(&mut self, table: &str) {
        self.forget(table);
        self.removed.insert(table.to_owned());
    }

    /// Forgets all that was set of a table, also that it was taken out.
    pub fn forget(&mut self, table: &str) {
        let is_of_table = |key: &str| {
            let rest = key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|key| !key.contains('.'))
        };
        self.sets.retain(|(key, _)| !is_of_table(key));
        self.removed.remove(table);
    }

    /// Lays them over what the other layers have left.
    pub(super) fn apply(&self, draft: &mut Draft) -> Result<(), ConfigError> {
        let is_out = |part: &str, name: &str| self.removed.contains(&format!("{part}.{name}"));
        draft.config.model.retain(|model| !is_out("model", &model.name));
        draft.config.key.retain(|key| !is_out("key", &key.name));
        draft.renumber();
        self.sets.iter().try_for_each(|(key, value)| apply_set(draft, key, value))
    }
}

/// The layers below what is changed at run time.
#[derive(Clone)]
enum Layers {
    Sources { sources: Sources<'static>, text: Option<String> },
    LegacyStart { folder: PathBuf, environment: Vec<(String, String)> },
}

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Origin(Layers);

impl Origin {
    /// From these sources. Their text is copied.
    pub fn sources(sources: &Sources<'_>) -> Origin {
        let text = sources.text.map(str::to_owned);
        let sources = Sources {
            file: sources.file.clone(),
            search: sources.search,
            text: None,
            environment: sources.environment.clone(),
            env_names_only: sources.env_names_only,
            sets: sources.sets.clone(),
            listen: sources.listen.clone(),
        };
        Origin(Layers::Sources { sources, text })
    }

    /// From the old files below a folder, see [`super::load_legacy_start`].
    pub fn legacy_start(folder: &Path, environment: &[(String, String)]) -> Origin {
        let (folder, environment) = (folder.to_owned(), environment.to_owned());
        Origin(Layers::LegacyStart { folder, environment })
    }

    /// Reads it for the first time.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(self) -> Result<(Config, Source), ConfigError> {
        let config = self.read(&Changes::default())?;
        let seen = config.files.iter().map(|path| look_first(path)).collect::<Result<_, _>>()?;
        let mut source = Source { origin: self, seen };
        if let (Layers::Sources { sources, .. }, Some(file)) =
            (&mut source.origin.0, config.files.first())
        {
            // What was found by a search is what counts from now on: that it is away for a moment
            // must not lead to another file, or to none.
            sources.file = Some(file.clone());
        }
        Ok((config, source))
    }

    fn read(&self, changes: &Changes) -> Result<Config, ConfigError> {
        match &self.0 {
            Layers::Sources { sources, text } => {
                load::load_with(&Sources { text: text.as_deref(), ..sources.clone() }, changes)
            }
            Layers::LegacyStart { folder, environment } => {
                load::load_legacy_start_with(folder, environment, changes)
            }
        }
    }
}

/// A file as it was when it was read.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    stamp: files::Stamp,
    is_blank: bool,
    ends_line: bool,
}

/// What is no plain file was read once and cannot be read again; [`Source::read`] says so.
fn look_first(path: &Path) -> Result<Seen, ConfigError> {
    match files::check_plain(path) {
        Ok(()) => look_one(path),
        Err(_) => Ok(Seen {
            path: path.to_owned(),
            stamp: files::Stamp::default(),
            is_blank: true,
            ends_line: false,
        }),
    }
}

fn look_one(path: &Path) -> Result<Seen, ConfigError> {
    let (stamp, bytes) = files::look(path)?;
    Ok(Seen {
        path: path.to_owned(),
        stamp,
        is_blank: bytes.trim_ascii().is_empty(),
        ends_line: bytes.ends_with(b"\n"),
    })
}

fn look(paths: &[PathBuf]) -> Result<Vec<Seen>, ConfigError> {
    paths.iter().map(|path| look_one(path)).collect()
}

/// An origin that was read, and what its files were like then.
pub struct Source {
    origin: Origin,
    seen: Vec<Seen>,
}

/// A configuration that was read anew. [`Source::accept`] it when it is taken up.
pub struct Fresh {
    /// The configuration.
    pub config: Config,
    seen: Vec<Seen>,
}

impl Source {
    /// Reads it anew, with the changes laid over it.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing has changed then.
    pub fn read(&self, changes: &Changes) -> Result<Fresh, ConfigError> {
        let mut last = None;
        for _ in 0..READS_MAX {
            // Plain files only, before anything opens them.
            for path in self.watched() {
                files::check_plain(&path)?;
            }
            let before = look(&self.present())?;
            let config = self.origin.read(changes)?;
            let seen = look(&config.files)?;
            let is_still = seen.iter().all(|it| !self.knows(it) || before.contains(it));
            if !is_still {
                last = seen.first().map(|seen| seen.path.clone());
                continue;
            }
            self.check_whole(&seen)?;
            return Ok(Fresh { config, seen });
        }
        let path = last.unwrap_or_default();
        Err(ConfigError::new(path.display().to_string(), "changes while it is read"))
    }

    /// The configuration is in force.
    pub fn accept(&mut self, fresh: &Fresh) {
        self.seen.clone_from(&fresh.seen);
    }

    /// The files that were read last; they are worth watching.
    pub fn files(&self) -> Vec<PathBuf> {
        self.seen.iter().map(|seen| seen.path.clone()).collect()
    }

    /// What those worth watching were like before they were read; `None`: not there.
    pub fn stamps(&self) -> Vec<(PathBuf, Option<files::Stamp>)> {
        let stamp = |path: PathBuf| match self.seen.iter().find(|seen| seen.path == path) {
            // Read once, and never again.
            Some(seen) if seen.stamp == files::Stamp::default() => None,
            Some(seen) => Some((path, Some(seen.stamp))),
            None => Some((path, None)),
        };
        self.watched().into_iter().filter_map(stamp).collect()
    }

    /// The same and the overlay that may come.
    pub fn watched(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        if let Layers::Sources { sources, .. } = &self.origin.0
            && let Some(overlay) = load::overlay_wanted(sources)
            && !files.contains(&overlay)
        {
            files.push(overlay);
        }
        files
    }

    fn knows(&self, seen: &Seen) -> bool {
        self.seen.iter().any(|known| known.path == seen.path)
    }

    /// Overlays may have gone.
    fn present(&self) -> Vec<PathBuf> {
        self.files().into_iter().filter(|path| path.exists()).collect()
    }

    fn check_whole(&self, seen: &[Seen]) -> Result<(), ConfigError> {
        for now in seen {
            let Some(before) = self.seen.iter().find(|before| before.path == now.path) else {
                continue;
            };
            let why = if now.is_blank && !before.is_blank {
                "is empty now"
            } else if !now.ends_line && before.ends_line {
                "ends within a line now"
            } else {
                continue;
            };
            return Err(ConfigError::new(
                now.path.display().to_string(),
                format!("{why} and is taken for half-written, expected a whole configuration"),
            ));
        }
        Ok(())
    }
}

impl Config {
    /// The keys that another configuration has otherwise, as `section.key`, `table.NAME` or
    /// `plugin.NAME`.
    pub fn differences(&self, other: &Config) -> Vec<String> {
        let (mut mine, mut theirs) = (self.clone(), other.clone());
        let mut keys = super::parts::differences(&mut mine, &mut theirs);
        for (name, text) in &self.plugin {
            if other.plugin.get(name) != Some(text) {
                keys.push(format!("plugin.{name}"));
            }
        }
        let added = other.plugin.keys().filter(|name| !self.plugin.contains_key(*name));
        keys.extend(added.map(|name| format!("plugin.{name}")));
        keys
    }

    /// Those of `keys` that are taken up at the next start only.
    pub fn needing_restart(keys: &[String]) -> Vec<String> {
        keys.iter().filter(|key| RESTART_KEYS.contains(&key.as_str())).cloned().collect()
    }
}
