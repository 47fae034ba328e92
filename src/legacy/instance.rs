//! The one global state of the old interface: its functions take no handle, so it lives here and
//! nowhere else. Each part has a lock of its own; no two are held at a time unless a function says so,
//! and none is held while code of the host runs.

use super::ai::prompt_router::Models;
use super::ai::stats::StatsFile;
use super::firewall::Policy;
use super::routes::Routes;
use super::site::Site;
use super::utils::logging::Log;
use crate::cache::Cache;
use crate::optimizer::Optimizer;
use crate::plugin::Registry;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize};

/// Everything the old functions share.
pub struct Instance {
    /// cache.h, between init and cleanup.
    pub cache: Mutex<Option<Cache>>,
    /// firewall.h, between init and cleanup.
    pub firewall: Mutex<Option<Policy>>,
    /// Requests that the firewall was asked about, those of old servers included.
    pub checked: AtomicU64,
    /// optimizer.h, between init and cleanup.
    pub optimizer: Mutex<Option<Optimizer>>,
    /// Settings of the optimizer that are only told about.
    pub optimizer_display: OptimizerDisplay,
    /// ai/prompt_router.h.
    pub models: Mutex<Models>,
    /// ai/stats.h, between init and cleanup.
    pub stats: Mutex<Option<StatsFile>>,
    /// Where log lines go.
    pub log: Mutex<Log>,
    /// Memory blocks of string pools, by the pool's address.
    pub pools: Mutex<BTreeMap<usize, super::utils::pool::Blocks>>,
    /// Arrays and dictionaries have no lock of their own.
    pub containers: Mutex<()>,
    /// router.h.
    pub routes: RwLock<Routes>,
    /// Old servers between init and cleanup, by the address of the host's struct.
    pub servers: Mutex<BTreeMap<usize, Arc<Site>>>,
    /// plugin.h, between init and cleanup.
    pub plugins: Mutex<Option<Arc<Registry>>>,
    /// Answers sent by old servers, and those with a status from 500 up.
    pub answers: AtomicU64,
    /// See `answers`.
    pub failures: AtomicU64,
    /// Prompts that old servers are waiting for.
    pub chats: AtomicUsize,
}

/// What optimizer_set_live_display and optimizer_set_prediction_logging chose.
pub struct OptimizerDisplay {
    /// Non-zero: each sample is printed.
    pub live: AtomicI32,
    /// Samples between two logged trends; 0: none.
    pub trend_every: AtomicI32,
    /// The bits of the smallest change worth a line, in ms a sample.
    pub trend_least: AtomicU64,
    /// Samples since the start.
    pub samples: AtomicI32,
}

/// The instance.
pub static INSTANCE: Instance = Instance {
    cache: Mutex::new(None),
    firewall: Mutex::new(None),
    checked: AtomicU64::new(0),
    optimizer: Mutex::new(None),
    optimizer_display: OptimizerDisplay {
        live: AtomicI32::new(0),
        trend_every: AtomicI32::new(0),
        trend_least: AtomicU64::new(0),
        samples: AtomicI32::new(0),
    },
    models: Mutex::new(Models::new()),
    stats: Mutex::new(None),
    log: Mutex::new(Log::new()),
    pools: Mutex::new(BTreeMap::new()),
    containers: Mutex::new(()),
    routes: RwLock::new(Routes::new()),
    servers: Mutex::new(BTreeMap::new()),
    plugins: Mutex::new(None),
    answers: AtomicU64::new(0),
    failures: AtomicU64::new(0),
    chats: AtomicUsize::new(0),
};
