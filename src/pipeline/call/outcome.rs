//! What came of an attempt, and what follows it.

use std::sync::Arc;

use super::{Call, Moment};
use crate::ai::health::Trouble;
use crate::ai::retry::{self, Budget, Where};
use crate::ai::router::{Picked, Route};
use crate::base::error::Failure;
use crate::pipeline::App;

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The target answers.
    Good,
    /// It does not.
    Bad(Trouble),
    /// It asks for a rest, in milliseconds; 0: as long as a broken one gets.
    Rest(u64),
    /// Nothing was learnt about it.
    Unknown,
}

impl Verdict {
    /// What an answer that failed says of its target.
    pub fn of(failure: &Failure) -> Verdict {
        let wait_ms = failure.retry_after_s.map(|seconds| u64::from(seconds) * 1_000);
        match (failure.upstream_status, wait_ms) {
            (Some(429), wait_ms) => Verdict::Rest(wait_ms.unwrap_or(0)),
            (Some(500..), Some(wait_ms)) if wait_ms > 0 => Verdict::Rest(wait_ms),
            // The request's own fault: who finds one answers.
            (Some(400 | 404 | 413 | 422), _) => Verdict::Good,
            // It has answered well; a hook or the guard refused what it said.
            _ if failure.code.as_deref() == Some("content_refused") => Verdict::Good,
            _ if failure.status == 503 && failure.upstream_status.is_none() => Verdict::Unknown,
            _ => Verdict::Bad(Trouble::Answer),
        }
    }
}

impl Call {
    /// The first token of the current attempt came after so long.
    pub fn measured(&self, took_us: u64, now_ms: u64) {
        let Some(target) = self.target() else { return };
        if self.plan.reads_load() {
            target.state.load.measured(took_us, now_ms);
        } else if self.plan.route.weighs() {
            target.state.load.answered(took_us);
        }
    }

    /// What it leads to, when that is weighed.
    pub fn weighed(&self) -> Option<&Arc<Route>> {
        Some(&self.plan.route).filter(|route| route.weighs())
    }

    /// The target answers, though its answer is not complete.
    pub fn is_good(&mut self) {
        if let Some(target) = self.target() {
            target.state.health.good();
            target.link.good();
        }
        if let Some(picked) = &mut self.current {
            picked.is_probe = false;
        }
    }

    /// The current attempt is over. Whether its target's circuit has opened by it.
    pub fn conclude(&mut self, app: &App, verdict: Verdict, moment: Moment) -> bool {
        let Moment { now_ms, random, .. } = moment;
        let breaker = &app.settings.breaker;
        if verdict == Verdict::Good {
            self.is_good();
        }
        let Some(target) = self.target() else { return false };
        if !matches!(verdict, Verdict::Good | Verdict::Unknown) && self.plan.route.weighs() {
            target.state.load.failed();
        }
        let opened = match verdict {
            Verdict::Good | Verdict::Unknown => false,
            Verdict::Bad(Trouble::Answer) => {
                target.state.health.bad(Trouble::Answer, breaker, now_ms, random)
            }
            Verdict::Bad(trouble) => target.link.bad(trouble, breaker, now_ms, random),
            Verdict::Rest(rest_ms) => {
                let rest_ms = if rest_ms == 0 { breaker.pause_ms } else { rest_ms };
                target.state.health.rest(rest_ms, now_ms);
                true
            }
        };
        self.leave();
        opened
    }

    /// The current attempt is over, its verdict is spoken.
    pub(super) fn leave(&mut self) {
        let Some(picked) = self.current.take() else { return };
        let Some(target) = self.plan.route.targets.get(picked.index) else { return };
        if self.plan.reads_load() {
            target.state.load.end();
        }
        if picked.is_probe {
            target.state.health.unproven();
            target.link.unproven();
        }
    }

    /// An attempt has failed and nothing of its answer has gone out: after how many milliseconds
    /// another one is due. None: the failure is the answer.
    pub fn try_again(
        &mut self,
        app: &App,
        failure: &Failure,
        was_opened: bool,
        budget: &mut Budget,
        moment: Moment,
    ) -> Option<u64> {
        let Moment { now_ms, random, .. } = moment;
        let rule = &app.settings.retry;
        let place = retry::place(failure);
        if place == Where::Nowhere || self.tries > rule.attempts {
            return None;
        }
        if let Some(other) =
            self.plan.pick(self.tried | self.unfit, false, now_ms, random, self.hashed)
        {
            // Leaving a target that is taken out makes no storm: nobody goes there any more.
            if was_opened || budget.spend(now_ms) {
                self.failed_by = Some(Box::new(failure.clone()));
                self.next = Some(other);
                return Some(0);
            }
            self.release(other);
            return None;
        }
        if place != Where::Anywhere {
            return None;
        }
        let wait_ms = failure.retry_after_s.map(|seconds| u64::from(seconds) * 1_000);
        let pause_ms = rule.pause_ms(self.repeats, wait_ms, random)?;
        let again = self.plan.pick(!self.tried | self.unfit, false, now_ms, random, self.hashed);
        // Where there is only one, it may be on its way back.
        let again = again.or_else(|| {
            let is_only = self.plan.route.targets.len() == 1;
            (is_only || wait_ms.is_some())
                .then_some(Picked { index: self.tried.trailing_zeros() as usize, is_probe: false })
        })?;
        if !budget.spend(now_ms) {
            self.release(again);
            return None;
        }
        self.repeats += 1;
        self.next = Some(again);
        Some(pause_ms)
    }

    /// A target that was picked is not asked after all.
    pub(super) fn release(&self, picked: Picked) {
        if let Some(target) = self.plan.route.targets.get(picked.index)
            && picked.is_probe
        {
            target.state.health.unproven();
            target.link.unproven();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.leave();
        if let Some(next) = self.next.take() {
            self.release(next);
        }
    }
}
