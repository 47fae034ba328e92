//! The last requests that the firewall has found something in, for who watches it.

use std::collections::VecDeque;
use std::net::IpAddr;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Action, Judgement};

/// How many are remembered.
const FOUND_MAX: usize = 20;
/// Of the part of a request, which may have a name that its client chose, in characters.
const PART_CHARS_MAX: usize = 48;

struct Found {
    unix_s: i64,
    client: Option<IpAddr>,
    action: Action,
    is_dry: bool,
    score: u32,
    rule: Box<str>,
    part: Box<str>,
}

/// The last findings, the newest first. Never what was found: that may be a secret.
#[derive(Default)]
pub struct Recent {
    found: Mutex<VecDeque<Found>>,
}

impl Recent {
    /// Remembers a request that something was found in. Under a flood nobody waits for it: what comes
    /// while another worker is at it is left out.
    pub fn add(&self, judgement: &Judgement, client: Option<IpAddr>, is_dry: bool, unix_s: i64) {
        let (Some(worst), Some(mut found)) = (judgement.worst(), self.found.try_lock()) else {
            return;
        };
        found.truncate(FOUND_MAX - 1);
        found.push_front(Found {
            unix_s,
            client,
            action: judgement.action,
            is_dry,
            score: judgement.score,
            rule: (&*worst.rule).into(),
            part: worst.part.chars().take(PART_CHARS_MAX).collect::<String>().into(),
        });
    }

    /// All of them, as the live page takes them.
    pub fn to_json(&self) -> Value {
        let found = self.found.lock();
        let all = found.iter().map(|it| {
            json!({
                "time": it.unix_s,
                "client": it.client.map(|client| client.to_string()),
                "action": it.action.name(),
                "dry_run": it.is_dry,
                "score": it.score,
                "rule": &*it.rule,
                "part": &*it.part,
            })
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;

    /// Wrong: memory grows with attacks, or the page shows the oldest.
    #[test]
    fn so_many_are_kept_the_newest_first() {
        let recent = Recent::default();
        assert_eq!(recent.to_json(), json!([]));
        for score in 1..=50 {
            let finding = Finding {
                rule: "sqli.union".into(),
                part: "x".repeat(5_000).into(),
                score,
                shown: "hidden".into(),
                is_dry: false,
            };
            let judgement = Judgement { action: Action::Block, score, findings: vec![finding] };
            recent.add(&judgement, Some(IpAddr::from([192, 0, 2, 1])), false, 7);
        }
        let all = recent.to_json();
        assert_eq!(all.as_array().unwrap().len(), FOUND_MAX);
        assert_eq!((&all[0]["score"], &all[FOUND_MAX - 1]["score"]), (&50.into(), &31.into()));
        assert_eq!(all[0]["client"], "192.0.2.1");
        assert_eq!((&all[0]["action"], &all[0]["rule"]), (&"block".into(), &"sqli.union".into()));
        assert_eq!(all[0]["part"].as_str().unwrap().len(), PART_CHARS_MAX);
        assert!(!all.to_string().contains("hidden"));
    }
}
