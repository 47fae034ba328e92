//! The firewall of a running server: its lists and rules change, requests are judged for show.

use std::net::IpAddr;
use std::sync::Arc;

use super::Server;
use super::core::Core;
use crate::base::error::{Error, ErrorKind};
use crate::config::Cidr;
use crate::firewall::{CustomRule, Firewall, Moment, Saved, Shared, parse_csv, parse_toml};
use crate::pipeline;
use crate::sys::clock;

/// List entries between two looks for those whose time is over.
const EXPIRY_STEP: usize = 1024;

/// Times that rules are compiled anew because others were taken up meanwhile.
const TRIES: usize = 16;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message.into())
}

fn list_is_full() -> Error {
    Error::new(ErrorKind::Limit, "the list of address ranges is full")
}

fn range(text: &str) -> Result<Cidr, Error> {
    Cidr::parse(text).ok_or_else(|| {
        invalid(format!("{text:?} is no address range, expected one such as \"10.0.0.0/8\""))
    })
}

/// The last Unix second of a list entry.
fn end(seconds: i64) -> Result<Option<i64>, Error> {
    match seconds {
        0 => Ok(None),
        1.. => Ok(Some(clock::unix_seconds().saturating_add(seconds))),
        _ => Err(invalid("the seconds are below 0, expected 0 for good, or more")),
    }
}

fn now() -> Moment {
    Moment { now_ms: clock::monotonic_ms(), unix_s: clock::unix_seconds() }
}

impl Core {
    fn change_firewall<R>(&self, change: impl FnOnce(&mut Firewall) -> R) -> R {
        self.change(|app| change(Arc::make_mut(&mut app.firewall)))
    }

    fn list(&self, add: impl FnOnce(&mut Firewall) -> bool) -> Result<(), Error> {
        let added = self.change_firewall(|firewall| {
            let (allow, deny) = firewall.lists();
            if (allow.len() + deny.len()) % EXPIRY_STEP == EXPIRY_STEP - 1 {
                firewall.drop_expired(clock::unix_seconds());
            }
            add(firewall)
        });
        match added {
            true => Ok(()),
            false => Err(list_is_full()),
        }
    }

    /// Lets a range in, for seconds or (0) for good.
    ///
    /// # Errors
    /// `InvalidArgument`, `Limit`.
    pub(super) fn firewall_allow(&self, cidr: &str, seconds: i64) -> Result<(), Error> {
        let (range, until) = (range(cidr)?, end(seconds)?);
        self.list(|firewall| firewall.allow(&range, until))
    }

    /// Keeps a range out, for seconds or (0) for good.
    ///
    /// # Errors
    /// `InvalidArgument`, `Limit`.
    pub(super) fn firewall_deny(
        &self,
        cidr: &str,
        seconds: i64,
        reason: &str,
    ) -> Result<(), Error> {
        let (range, until) = (range(cidr)?, end(seconds)?);
        self.list(|firewall| firewall.deny(&range, until, reason))
    }

    /// Takes a range off the lists and lifts blocks in it.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`.
    pub(super) fn firewall_forget(&self, cidr: &str) -> Result<(), Error> {
        let range = range(cidr)?;
        match self.change_firewall(|firewall| firewall.forget(&range, now())) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFound, format!("{cidr} is not listed"))),
        }
    }
}

impl Server {
    /// Lets a range in, for seconds or (0) for good.
    ///
    /// # Errors
    /// `InvalidArgument`, `Limit`.
    pub fn firewall_allow(&self, cidr: &str, seconds: i64) -> Result<(), Error> {
        self.core.firewall_allow(cidr, seconds)
    }

    /// Keeps a range out, for seconds or (0) for good.
    ///
    /// # Errors
    /// `InvalidArgument`, `Limit`.
    pub fn firewall_deny(&self, cidr: &str, seconds: i64, reason: &str) -> Result<(), Error> {
        self.core.firewall_deny(cidr, seconds, reason)
    }

    /// Takes a range off the lists and lifts blocks in it.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`.
    pub fn firewall_forget(&self, cidr: &str) -> Result<(), Error> {
        self.core.firewall_forget(cidr)
    }

    /// Takes lists, and shares what is remembered and counted of clients; see [`Firewall::join`].
    pub fn firewall_join(&self, shared: &Shared) {
        self.core.change_firewall(|firewall| firewall.join(shared));
    }

    /// Adds rules, or replaces those of the same name; all or none.
    ///
    /// # Errors
    /// `InvalidArgument` with line, column and reason.
    pub fn firewall_add_rules(&self, toml: &str) -> Result<(), Error> {
        self.take_rules(&parse_toml(toml).map_err(invalid)?)
    }

    /// The same from lines `pattern,severity`.
    ///
    /// # Errors
    /// As [`Server::firewall_add_rules`].
    pub fn firewall_add_csv(&self, csv: &str) -> Result<(), Error> {
        self.take_rules(&parse_csv(csv).map_err(invalid)?)
    }

    fn take_rules(&self, rules: &[CustomRule]) -> Result<(), Error> {
        if rules.is_empty() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let firewall = Arc::clone(&self.core.app().firewall);
            let compiled = firewall.with_rules(rules.to_vec()).map_err(invalid)?;
            if self.core.change_firewall(|firewall| firewall.take_rules(&compiled)) {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Timeout, "others change the rules all the time"))
    }

    /// Address lists, blocks in force and rules added at run time, as TOML.
    pub fn firewall_save(&self) -> String {
        self.core.app().firewall.to_text(now())
    }

    /// Adds what [`Server::firewall_save`] has written; what is over is passed over.
    ///
    /// # Errors
    /// `InvalidArgument` with line, column and reason, `Limit` when a list has no room: nothing was
    /// added.
    pub fn firewall_load(&self, text: &str) -> Result<(), Error> {
        let saved = Saved::parse(text).map_err(invalid)?;
        if !self.core.app().firewall.has_room(&saved, now()) {
            return Err(list_is_full());
        }
        self.take_rules(&saved.rules)?;
        self.core.list(|firewall| firewall.restore(&saved, now()))
    }

    /// What the firewall has counted, as a JSON object.
    pub fn firewall_stats_json(&self) -> String {
        self.core.app().firewall.stats().to_json().to_string()
    }

    /// The same as CSV: `metric,value`.
    pub fn firewall_stats_csv(&self) -> String {
        self.core.app().firewall.stats().to_csv()
    }

    /// What would happen to a request from an address, as JSON.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no request.
    pub fn firewall_check(&self, address: IpAddr, raw: &[u8]) -> Result<String, Error> {
        let verdict = pipeline::explain(&self.core.app(), address, raw, now());
        verdict.map(|json| json.to_string()).map_err(invalid)
    }
}
