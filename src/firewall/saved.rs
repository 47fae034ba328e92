//! What was set at run time as text, and back: address lists, blocks in force, added rules.
//!
//! ```toml
//! [[allow]]
//! range = "10.0.0.0/8"
//! [[deny]]
//! range = "192.0.2.0/24"
//! until = 1767225600            # Unix seconds; none: for good
//! reason = "abuse"
//! [[block]]
//! client = "198.51.100.7"
//! until = 1767225600
//! cause = "attacks"             # attacks brute-force scanner manual rate-limit suspicion
//! [[rule]]                      # as in a rule file
//! ```

use std::fmt::Write as _;

use serde::Deserialize;

use super::memory::{Blocked, Cause, Moment};
use super::rule_file::{RuleTable, position, read_all, to_toml};
use super::{AddressSet, CustomRule, Firewall, Note, client_key, to_ip};
use crate::config::Cidr;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<toml::Spanned<ListTable>>,
    #[serde(default)]
    deny: Vec<toml::Spanned<ListTable>>,
    #[serde(default)]
    block: Vec<toml::Spanned<BlockTable>>,
    #[serde(default)]
    rule: Vec<toml::Spanned<RuleTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListTable {
    range: String,
    until: Option<i64>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockTable {
    client: std::net::IpAddr,
    until: i64,
    cause: String,
}

/// A saved state that was read.
pub struct Saved {
    allow: Vec<(Cidr, Note)>,
    deny: Vec<(Cidr, Note)>,
    blocks: Vec<(u128, Cause, i64)>,
    /// Its rules.
    pub rules: Vec<CustomRule>,
}

impl Saved {
    /// Reads what [`Firewall::to_text`] wrote.
    ///
    /// # Errors
    /// `LINE:COL: what, what was expected`.
    pub fn parse(text: &str) -> Result<Saved, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            format!("{}: {}", position(text, offset), error.message())
        })?;
        let list = |tables: Vec<toml::Spanned<ListTable>>| {
            let entries = tables.into_iter().map(|table| {
                let at = position(text, table.span().start);
                let ListTable { range, until, reason } = table.into_inner();
                let cidr = Cidr::parse(&range)
                    .ok_or_else(|| format!("{at}: {range:?} is no address range"))?;
                Ok((cidr, Note { until, reason: reason.into() }))
            });
            entries.collect::<Result<Vec<_>, String>>()
        };
        let blocks = file.block.into_iter().map(|table| {
            let at = position(text, table.span().start);
            let BlockTable { client, until, cause } = table.into_inner();
            let cause = Cause::from_name(&cause).ok_or_else(|| {
                let names = Cause::ALL.map(Cause::name).join(", ");
                format!("{at}: cause {cause:?}, expected one of {names}")
            })?;
            Ok((client_key(client), cause, until))
        });
        let blocks = blocks.collect::<Result<Vec<_>, String>>()?;
        let rules = read_all(text, file.rule)?;
        Ok(Saved { allow: list(file.allow)?, deny: list(file.deny)?, blocks, rules })
    }
}

impl Firewall {
    /// Address lists, blocks in force and rules added at run time, as TOML.
    pub fn to_text(&self, moment: Moment) -> String {
        let mut text = String::from("# The state of a firewall; nh_firewall_load takes it up.\n");
        for (name, set) in [("allow", &self.allow), ("deny", &self.deny)] {
            write_list(&mut text, name, set, moment.unix_s);
        }
        for (client, blocked) in self.memory.blocks(moment) {
            let until = moment.unix_s.saturating_add(i64::from(blocked.left_s));
            let (client, cause) = (to_ip(client), blocked.cause.name());
            let _ = write!(
                text,
                "\n[[block]]\nclient = \"{client}\"\nuntil = {until}\ncause = \"{cause}\"\n"
            );
        }
        if !self.added.is_empty() {
            text.push('\n');
            text.push_str(&to_toml(&self.added));
        }
        text
    }

    /// Whether its lists have room for those of a saved state.
    pub fn has_room(&self, saved: &Saved, moment: Moment) -> bool {
        [(&saved.allow, &self.allow), (&saved.deny, &self.deny)]
            .into_iter()
            .all(|(list, set)| set.has_room(due(list, moment).map(|(range, _)| range)))
    }

    /// Adds lists and blocks of a saved state; its rules are [`Firewall::take_rules`]' to take. False
    /// when a list is full: then nothing was added.
    pub fn restore(&mut self, saved: &Saved, moment: Moment) -> bool {
        if !self.has_room(saved, moment) {
            return false;
        }
        let mut fits = true;
        for (list, set) in [(&saved.allow, &mut self.allow), (&saved.deny, &mut self.deny)] {
            for (range, note) in due(list, moment) {
                fits &= set.insert(range, note.clone());
            }
        }
        let is_due = |until: i64| until > moment.unix_s;
        for &(client, cause, until) in saved.blocks.iter().filter(|block| is_due(block.2)) {
            let left_s = u32::try_from(until - moment.unix_s).unwrap_or(u32::MAX);
            self.memory.restore(client, Blocked { cause, left_s }, moment);
        }
        fits
    }
}

/// Entries whose time is not over.
fn due(list: &[(Cidr, Note)], moment: Moment) -> impl Iterator<Item = &(Cidr, Note)> {
    list.iter().filter(move |(_, note)| note.until.is_none_or(|until| until > moment.unix_s))
}

fn write_list(text: &mut String, name: &str, set: &AddressSet, now: i64) {
    set.for_each(|range, note| {
        if note.until.is_some_and(|until| until <= now) {
            return;
        }
        let _ = write!(text, "\n[[{name}]]\nrange = \"{range}\"\n");
        if let Some(until) = note.until {
            let _ = writeln!(text, "until = {until}");
        }
        if !note.reason.is_empty() {
            let _ = writeln!(text, "reason = {}", toml::Value::from(&*note.reason));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::rule_file::parse_toml;
    use super::*;
    use crate::config::Config;

    const AT: Moment = Moment { now_ms: 1_000_000, unix_s: 1_700_000_000 };

    #[test]
    fn what_is_saved_comes_back() {
        let range = |text| Cidr::parse(text).unwrap();
        let mut firewall = Firewall::new(&Config::default()).unwrap();
        firewall.allow(&range("10.0.0.0/8"), None);
        firewall.deny(&range("2001:db8::/32"), Some(AT.unix_s + 60), "say \"no\"\n");
        firewall.deny(&range("192.0.2.0/24"), Some(AT.unix_s - 1), "over");
        let client = client_key("198.51.100.7".parse().unwrap());
        let blocked = Blocked { cause: Cause::Scanner, left_s: 90 };
        firewall.memory().restore(client, blocked, AT);
        // What a reason says is no rule, whatever it says.
        let reason = "x\n[[rule]]\nid = \"no.rule\"\nliterals = [\"aa\"]\n[[rule";
        firewall.deny(&range("198.51.100.0/24"), None, reason);
        let rule = "[[rule]]\nid = \"a.b\"\nliterals = [\"[[allow]]\"]\npattern = \"\"\"(x\n[x]){2}\"\"\"\n";
        let rules = firewall.with_rules(parse_toml(rule).unwrap()).unwrap();
        assert!(firewall.take_rules(&rules) && !firewall.take_rules(&rules));
        let text = firewall.to_text(AT);

        let mut other = Firewall::new(&Config::default()).unwrap();
        let saved = Saved::parse(&text).unwrap();
        assert_eq!(saved.rules.len(), 1);
        assert!(other.restore(&saved, AT));
        let rules = other.with_rules(saved.rules).unwrap();
        assert!(other.take_rules(&rules));
        assert_eq!(other.to_text(AT), text);
        assert_eq!(other.memory().blocked(client, AT), Some(blocked));
        let later = Moment { now_ms: AT.now_ms, unix_s: AT.unix_s + 61 };
        let mut late = Firewall::new(&Config::default()).unwrap();
        late.restore(&Saved::parse(&text).unwrap(), later);
        assert_eq!(late.lists().1.len(), 1, "the time of the others is over");
        assert_eq!(late.memory().blocked(client, later).unwrap().left_s, 29);
    }

    #[test]
    fn a_broken_state_is_refused_with_its_place() {
        for (text, want) in [
            ("\n[[allow]]\nrange = \"x\"\n", "2:1: \"x\" is no address range"),
            ("[[block]]\nclient = \"x\"\nuntil = 1\ncause = \"y\"\n", "2:10:"),
            ("[[block]]\nclient = \"::1\"\nuntil = 1\ncause = \"y\"\n", "1:1: cause \"y\""),
            (
                "[[allow]]\nrange = \"::1\"\n[[rule]]\nid = \"a\"\nliterals=[\"xx\"]\n",
                "3:1: rule id",
            ),
            ("[[other]]\n", "1:3:"),
        ] {
            let error = Saved::parse(text).err().unwrap();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
    }
}
