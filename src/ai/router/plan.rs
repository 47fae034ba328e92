//! Where one request may go, and which target it goes to next.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{HashOn, Route, RouteTarget};
use crate::ai::balance::{self, Candidate, Chance, Strategy};
use crate::ai::health::Admission;
use crate::base::error::Failure;

/// Where one request may go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name the client is told: the one it asked for, or the default model's.
    pub model: String,
    /// What it leads to.
    pub route: Arc<Route>,
    /// Where in `model` the name begins that goes through; none: the route's own name does.
    pub(super) through: Option<usize>,
}

/// A target that was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Picked {
    /// Its place in the route.
    pub index: usize,
    /// The request finds out whether the target, or its provider, is well again.
    pub is_probe: bool,
}

impl Plan {
    /// The provider's name of the model at a target.
    pub fn upstream_model<'p>(&'p self, target: &'p RouteTarget) -> &'p str {
        match (&target.model, self.through) {
            (Some(model), _) => model,
            (None, Some(from)) => self.model.get(from..).unwrap_or_default(),
            (None, None) => &self.route.name,
        }
    }

    /// Whether the name the client asked for is what goes to the provider.
    pub fn passes_name(&self) -> bool {
        self.through.is_some()
    }

    /// What the strategy hashes, if it does.
    pub fn hash_on(&self) -> Option<&HashOn> {
        let route = &self.route;
        (route.strategy == Strategy::Hash && route.targets.len() > 1).then_some(&route.hash_on)
    }

    /// Whether its requests are to be told to [`Load`]: its strategy looks at it.
    pub fn reads_load(&self) -> bool {
        self.route.strategy.reads_load() && self.route.targets.len() > 1
    }

    /// Whether a target whose bit is not set in `closed` may be asked now.
    pub fn has_open(&self, closed: u64, now_ms: u64) -> bool {
        let targets = &self.route.targets;
        mask(targets, |t| t.is_open_for(now_ms)) & bits(targets.len()) & !closed != 0
    }

    /// Chooses a target among those whose bit is not set in `closed`. A request that finds all of
    /// them out of order takes one all the same if that costs no long wait: `is_first` allows it.
    pub fn pick(
        &self,
        closed: u64,
        is_first: bool,
        now_ms: u64,
        random: u64,
        hashed: Option<u64>,
    ) -> Option<Picked> {
        let targets = &self.route.targets;
        let allowed = bits(targets.len()) & !closed;
        let mut open = mask(targets, |t| t.is_open_for(now_ms)) & allowed;
        while open != 0 {
            let index = self.first_of(open, now_ms, random, hashed)?;
            let target = targets.get(index)?;
            // Both are asked: a probe of the provider may be one of the target too.
            match (target.link.ask(now_ms), target.state.health.ask(now_ms)) {
                (Admission::Free, Admission::Free) => {
                    return Some(Picked { index, is_probe: false });
                }
                (Admission::Free | Admission::Probe, Admission::Free | Admission::Probe) => {
                    return Some(Picked { index, is_probe: true });
                }
                (Admission::Probe, Admission::Closed(_)) => target.link.unproven(),
                (Admission::Closed(_), Admission::Probe) => target.state.health.unproven(),
                _ => {}
            }
            // Another request was quicker to take the probe.
            open &= !(1 << index);
        }
        if !is_first {
            return None;
        }
        let cheap = mask(targets, |t| !t.link.is_hopeless(now_ms)) & allowed;
        let index = self.first_of(cheap, now_ms, random, hashed)?;
        Some(Picked { index, is_probe: false })
    }

    fn first_of(&self, open: u64, now_ms: u64, random: u64, hashed: Option<u64>) -> Option<usize> {
        let route = &self.route;
        if open.count_ones() < 2 {
            return (open != 0).then(|| open.trailing_zeros() as usize);
        }
        if route.strategy == Strategy::Priority {
            return Some(open.trailing_zeros() as usize);
        }
        let turn = match route.strategy {
            // Relaxed: every turn is taken once, in whatever order.
            Strategy::RoundRobin => route.turn.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let candidates = route.targets.iter().map(|target| Candidate {
            weight: target.weight,
            load: &target.state.load,
            identity: target.state.identity,
        });
        let chance = Chance { now_ms, random, hashed, turn };
        balance::choose(route.strategy, candidates, open, &route.turns, &chance)
    }

    /// Why no target was found, with the time after which one may be.
    pub fn nobody(&self, now_ms: u64) -> Failure {
        let pauses = self.route.targets.iter().map(|target| target.pause_ms(now_ms));
        let seconds = pauses.min().unwrap_or(0).div_ceil(1_000).max(1);
        Failure::new(503, "No target of this model can be reached at present.")
            .code("no_target")
            .retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// As many low bits as there are targets.
fn bits(count: usize) -> u64 {
    u64::MAX >> (64 - count.clamp(1, 64))
}

fn mask(targets: &[RouteTarget], is_in: impl Fn(&RouteTarget) -> bool) -> u64 {
    let mut mask = 0;
    for (index, target) in targets.iter().enumerate().take(64) {
        mask |= u64::from(is_in(target)) << index;
    }
    mask
}
