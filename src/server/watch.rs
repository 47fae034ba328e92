//! Reloading by itself when a file of the configuration changes.
//!
//! Folders are watched, not files: editors write a new file and rename it over the old one, and
//! orchestrators move a link. Whatever happens in such a folder, the question is the same: do the
//! names lead to other files, or to files of another size or date, than when they were read? Changes
//! come in bursts, so it waits for a quiet moment, and for whoever still writes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use super::core::{Core, DRAINING, STOPPED};
use super::{Server, io_error};
use crate::base::error::Error;
use crate::base::limits;
use crate::config::{Config, FileStamp};
use crate::sys::clock;
use crate::sys::epoll::{self, Epoll};
use crate::sys::inotify::{Change, Inotify};
use crate::sys::wake::Wake;

/// Files, and what they were at some moment; none: not there.
pub(super) type Stamps = BTreeMap<PathBuf, Option<FileStamp>>;

/// The files that a configuration names and that are read whenever it is taken up.
pub(super) fn files_named(config: &Config) -> impl Iterator<Item = PathBuf> {
    let tls = config.tls.iter().flat_map(|table| [&table.cert, &table.key, &table.client_ca]);
    let names = tls.chain(&config.firewall.rules);
    names.filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// A thread that watches; it ends when this is dropped.
pub struct Watcher {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread that watches is told.
pub(super) struct Signal {
    wake: Wake,
    is_over: AtomicBool,
}

impl Signal {
    /// Another configuration is in force: it may name other files.
    pub(super) fn renewed(&self) {
        self.wake.wake();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.signal.is_over.store(true, Ordering::Release);
        self.signal.wake.wake();
        if let Some(thread) = self.thread.take() {
            // It catches nothing and holds nothing that a panic could leave behind.
            drop(thread.join());
        }
    }
}

impl Server {
    /// Reloads by itself when the files that the configuration was read from change, or those that
    /// it names for TLS and for rules of the firewall, until the watcher is dropped.
    ///
    /// # Errors
    /// `Io` when the system gives no descriptors.
    pub fn watch(&self) -> Result<Watcher, Error> {
        let wake = Wake::new().map_err(io_error)?;
        let signal = Arc::new(Signal { wake, is_over: AtomicBool::new(false) });
        let inotify = Inotify::new().map_err(io_error)?;
        let epoll = Epoll::new().map_err(io_error)?;
        epoll.add(inotify.as_raw_fd(), epoll::IN, 0).map_err(io_error)?;
        epoll.add(signal.wake.as_raw_fd(), epoll::IN, SIGNAL).map_err(io_error)?;
        let mut watch = Watch {
            core: Arc::clone(&self.core),
            signal: Arc::clone(&signal),
            inotify,
            epoll,
            seen: Stamps::new(),
            writing: BTreeMap::new(),
            due: None,
        };
        self.core.live.set_watcher(&signal);
        // Before this returns, so that nothing that happens after it is missed; nor what has
        // happened since they were read.
        if watch.look_on() {
            watch.wait_for_quiet(clock::monotonic_ms());
        }
        let dispatch = self.dispatch.clone();
        let body = move || tracing::dispatcher::with_default(&dispatch, || watch.run());
        let thread = Builder::new().name("neurohttp-watch".to_owned()).spawn(body);
        Ok(Watcher { signal, thread: Some(thread.map_err(io_error)?) })
    }
}

/// The epoll mark of the signal.
const SIGNAL: u64 = 1;

/// When to look, in milliseconds: after a quiet moment, at the latest after a while.
#[derive(Clone, Copy)]
struct Due {
    quiet_ms: u64,
    latest_ms: u64,
}

struct Watch {
    core: Arc<Core>,
    signal: Arc<Signal>,
    inotify: Inotify,
    epoll: Epoll,
    /// The files, and what they were when they were last looked at.
    seen: Stamps,
    /// Names that somebody writes, and until when that is believed.
    writing: BTreeMap<Vec<u8>, u64>,
    due: Option<Due>,
}

impl Watch {
    fn run(&mut self) {
        let mut events = vec![epoll::Event { events: 0, u64: 0 }; 2];
        loop {
            let now_ms = clock::monotonic_ms();
            let wait = self.next_ms().map(|at_ms| at_ms.saturating_sub(now_ms));
            let told = self.epoll.wait(&mut events, wait).iter().any(|it| it.u64 == SIGNAL);
            let is_over = self.signal.is_over.load(Ordering::Acquire);
            if is_over || matches!(self.core.state(), DRAINING | STOPPED) {
                return;
            }
            let now_ms = clock::monotonic_ms();
            if told {
                self.signal.wake.clear();
                if self.look_on() {
                    self.wait_for_quiet(now_ms);
                }
            }
            match self.inotify.read() {
                Ok(told) if told.is_empty() => {}
                Ok(told) => {
                    for event in told {
                        self.note(event.change, event.name, now_ms);
                    }
                }
                Err(error) => {
                    tracing::error!("the configuration is watched no more: {error}");
                    return;
                }
            }
            if self.next_ms().is_some_and(|at_ms| at_ms <= now_ms) {
                self.due = None;
                self.writing.clear();
                if self.look() {
                    // Its outcome is logged where it is done.
                    drop(self.core.reload("a file has changed", |_| ()));
                    // Other files may count now, and the known ones may have changed meanwhile.
                    if self.look_on() {
                        self.wait_for_quiet(now_ms);
                    }
                }
            }
        }
    }

    fn note(&mut self, change: Change, name: Vec<u8>, now_ms: u64) {
        match change {
            Change::Written if self.is_ours(&name) => {
                self.writing.insert(name, now_ms + limits::WATCH_WRITER_MS);
            }
            Change::Closed | Change::Replaced => drop(self.writing.remove(&name)),
            _ => {}
        }
        self.wait_for_quiet(now_ms);
    }

    fn wait_for_quiet(&mut self, now_ms: u64) {
        let latest_ms = self.due.map_or(now_ms + limits::WATCH_LATEST_MS, |due| due.latest_ms);
        self.due = Some(Due { quiet_ms: now_ms + limits::WATCH_QUIET_MS, latest_ms });
    }

    /// When to look next.
    fn next_ms(&self) -> Option<u64> {
        let due = self.due?;
        let quiet_ms = due.quiet_ms.min(due.latest_ms);
        Some(self.writing.values().copied().max().map_or(quiet_ms, |end_ms| end_ms.max(quiet_ms)))
    }

    fn is_ours(&self, name: &[u8]) -> bool {
        let is_it = |path: &Path| path.file_name().is_some_and(|own| own.as_bytes() == name);
        self.seen.keys().any(|path| is_it(path) || path.canonicalize().is_ok_and(|it| is_it(&it)))
    }

    /// Looks at all files, and watches the folders in which they are and to which their names lead.
    /// True when one is other than it was.
    fn look(&mut self) -> bool {
        let before = std::mem::take(&mut self.seen);
        self.look_beside(&Stamps::new());
        before.iter().any(|(file, stamp)| self.seen.get(file).is_some_and(|now| now != stamp))
    }

    /// The same, but what was known of a file stays, and of one that is new what it was before it
    /// was read: the next look finds that it has changed.
    fn look_on(&mut self) -> bool {
        let mut known = self.core.live.read_as();
        known.append(&mut self.seen);
        self.look_beside(&known)
    }

    fn look_beside(&mut self, known: &Stamps) -> bool {
        let mut files: BTreeSet<PathBuf> = self.core.live.watched().into_iter().collect();
        files.extend(files_named(&self.core.live.config()));
        let mut is_changed = false;
        let mut now = Stamps::new();
        for file in files {
            self.watch_folders(&file);
            let stamp = FileStamp::of(&file);
            let known = known.get(&file).copied();
            is_changed |= known.is_some_and(|known| known != stamp);
            now.insert(file, known.unwrap_or(stamp));
        }
        self.seen = now;
        is_changed
    }

    fn watch_folders(&self, file: &Path) {
        let folder_of = |file: &Path| {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).to_owned()
        };
        let mut folders = BTreeSet::from([folder_of(file)]);
        // Each link on the way stands in a folder of its own.
        let mut at = file.to_owned();
        for _ in 0..limits::WATCH_LINKS_MAX {
            let Ok(target) = std::fs::read_link(&at) else { break };
            at = folder_of(&at).join(target);
            folders.insert(folder_of(&at));
        }
        if let Ok(real) = file.canonicalize() {
            folders.insert(folder_of(&real));
        }
        for folder in folders {
            if let Err(error) = self.inotify.watch(&folder) {
                tracing::warn!("changes in {} are not seen: {error}", folder.display());
                // One that is not there may come: the nearest that is there tells.
                let mut above = folder.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty());
                above.any(|folder| self.inotify.watch(folder).is_ok());
            }
        }
    }
}
