//! What the firewall counts, and its export.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::recent::Recent;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One of the counters.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// All of them, in the order of their export.
            pub const ALL: &'static [Counter] = &[$(Counter::$name,)*];

            /// Its name in JSON and CSV.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$name => $text,)* }
            }
        }
    };
}

counters! {
    /// Connections refused by the deny list.
    ConnectionsDenied = "connections_denied",
    /// Requests refused by the deny list, behind a proxy.
    Denied = "denied",
    /// Requests of blocked clients.
    BlockedClients = "blocked_clients",
    /// Requests beyond a rate.
    RateLimited = "rate_limited",
    /// Wrong keys.
    KeyFailures = "key_failures",
    /// Blocks that the firewall has set by itself.
    AutomaticBlocks = "automatic_blocks",
    /// Those of them for wrong keys.
    BruteForceBlocks = "brute_force_blocks",
    /// Requests refused with 403 for what they hold.
    AttacksBlocked = "attacks_blocked",
    /// Requests refused with 429 for what they hold.
    AttacksLimited = "attacks_limited",
    /// Requests that were suspicious enough for the log only.
    AttacksLogged = "attacks_logged",
    /// Requests that a dry run let pass.
    DryRun = "dry_run",
}

/// The counters, and the last that was found.
pub struct Stats {
    counts: [AtomicU64; Counter::ALL.len()],
    recent: Recent,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { counts: std::array::from_fn(|_| AtomicU64::new(0)), recent: Recent::default() }
    }
}

impl Stats {
    /// Counts one.
    pub fn add(&self, counter: Counter) {
        // Relaxed: each number stands alone.
        if let Some(count) = self.counts.get(counter as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts.get(counter as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The last requests that something was found in.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// All counters as the members of a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let pairs = Counter::ALL.iter().map(|&it| (it.name().to_owned(), self.get(it).into()));
        serde_json::Value::Object(pairs.collect())
    }

    /// All counters as CSV (RFC 4180): `metric,value`.
    pub fn to_csv(&self) -> String {
        let mut text = String::from("metric,value\r\n");
        for &counter in Counter::ALL {
            let _ = write!(text, "{},{}\r\n", counter.name(), self.get(counter));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_exported_by_name() {
        let stats = Stats::default();
        stats.add(Counter::Denied);
        stats.add(Counter::KeyFailures);
        stats.add(Counter::KeyFailures);
        let json = stats.to_json();
        assert_eq!((&json["denied"], &json["key_failures"]), (&1.into(), &2.into()));
        assert_eq!(json.as_object().unwrap().len(), Counter::ALL.len());
        assert!(stats.to_csv().contains("\r\nkey_failures,2\r\n"));
    }
}
