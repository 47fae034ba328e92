//! From what was found in a request to what is done about it.

use std::cell::RefCell;

use super::engine::Engine;
use super::inspect::{self, BodyProfile};
use super::scan::{Finding, Scan};
use super::{Counter, Firewall};
use crate::exchange::Request;

/// Buffers that a thread keeps for its next request, in bytes each.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// From which score on what is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// It is told.
    pub log: u32,
    /// It is refused with 429.
    pub limit: u32,
    /// It is refused with 403.
    pub block: u32,
}

/// What is done about a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Nothing.
    Allow,
    /// It passes and is told.
    Log,
    /// 429.
    Limit,
    /// 403.
    Block,
}

impl Action {
    /// Its name in verdicts and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Log => "log",
            Action::Limit => "limit",
            Action::Block => "block",
        }
    }
}

/// The outcome of an inspection.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What is done.
    pub action: Action,
    /// The sum of the scores.
    pub score: u32,
    /// What was found, in the order of the request.
    pub findings: Vec<Finding>,
}

thread_local! {
    /// Buffers only: what one request leaves in them means nothing to the next.
    static SCRATCH: RefCell<Scan> = RefCell::new(Scan::default());
}

impl Firewall {
    /// Inspects target and header fields.
    pub fn inspect_head(&self, request: &Request) -> Judgement {
        self.inspect(0, |engine, scan| inspect::head(engine, scan, request))
    }

    /// Inspects the body. `score` is what the head has come to.
    pub fn inspect_body(&self, request: &Request, profile: BodyProfile, score: u32) -> Judgement {
        self.inspect(score, |engine, scan| inspect::body(engine, scan, request, profile))
    }

    fn inspect(&self, before: u32, look: impl FnOnce(&Engine, &mut Scan)) -> Judgement {
        SCRATCH.with_borrow_mut(|scan| {
            scan.begin(&self.engine);
            look(&self.engine, scan);
            let score = before + scan.score();
            let found = scan.score() > 0 || !scan.findings().is_empty();
            let action = match score {
                _ if !found => Action::Allow,
                score if score >= self.thresholds.block => Action::Block,
                score if score >= self.thresholds.limit => Action::Limit,
                score if score >= self.thresholds.log => Action::Log,
                _ if scan.findings().iter().any(|finding| finding.is_dry) => Action::Log,
                _ => Action::Allow,
            };
            let findings = if found { scan.findings().to_vec() } else { Vec::new() };
            scan.shrink(KEPT_BYTES_MAX);
            Judgement { action, score, findings }
        })
    }

    /// Counts what is done about a request.
    pub fn count(&self, action: Action) {
        match action {
            Action::Allow => {}
            Action::Log => self.stats.add(Counter::AttacksLogged),
            Action::Limit => self.stats.add(Counter::AttacksLimited),
            Action::Block => self.stats.add(Counter::AttacksBlocked),
        }
    }
}

impl Judgement {
    /// The finding that weighs most.
    pub fn worst(&self) -> Option<&Finding> {
        self.findings.iter().max_by_key(|finding| finding.score)
    }

    /// The verdict as API.md shapes it.
    pub fn to_json(&self) -> serde_json::Value {
        let worst = self.worst();
        let rules: Vec<_> = self
            .findings
            .iter()
            .map(|it| {
                serde_json::json!({
                    "rule": &*it.rule, "part": &*it.part, "score": it.score, "shown": &*it.shown,
                })
            })
            .collect();
        serde_json::json!({
            "action": self.action.name(),
            "score": self.score,
            "rule": worst.map_or("", |it| &*it.rule),
            "part": worst.map_or("", |it| &*it.part),
            "reason": worst.map_or_else(
                || "nothing was found".to_owned(),
                |it| format!("{} in {}: {}", it.rule, it.part, it.shown),
            ),
            "findings": rules,
        })
    }
}
