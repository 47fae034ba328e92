//! From the name of a model that a client sends to the targets that can answer.
//!
//! A name resolves as a model or an alias, then as `provider/model` (cut at the first slash), then
//! by the model named `*`, then, when the providers came from the environment, as a model of the
//! first of them. The router is a plain value: a changed one is cloned, edited and swapped in by
//! its owner.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ai::balance::{self, Load, Turns, mix};
use crate::ai::health::{Circuit, Health};
use crate::ai::price::Prices;
use crate::base::error::Failure;
use crate::base::hash::NameHash;
use crate::base::limits;

mod builder;
mod encode;
mod inherit;

mod listing;
mod plan;

pub use crate::ai::balance::Strategy;
pub use builder::RouterBuilder;
pub use listing::Listed;
pub use plan::{Picked, Plan};

/// The name under which the echo provider is reached.
pub const ECHO_MODEL: &str = "echo";
/// The name that stands for every name nothing else matches.
pub const ANY_MODEL: &str = "*";

/// A provider, by its place in the list given to the builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name, as in `provider/model` and `x-neurohttp-provider`.
    pub name: String,
    /// Whether an environment key alone made it.
    pub from_environment: bool,
}

/// What a hash strategy goes by.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum HashOn {
    /// The request's `user`.
    #[default]
    User,
    /// A header of the request, its name in lower case.
    Header(String),
}

/// One place a model can be had.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Target {
    /// Index into the providers.
    pub provider: usize,
    /// The provider's name of the model; none: the client's name goes through.
    pub model: Option<String>,
    /// Its share under a weighing strategy; 0 only when nothing else is left.
    pub weight: u32,
    /// What it can do, a bit for each; none: anything.
    pub abilities: Option<u8>,
    /// Tokens of a request and its answer together, at most; 0: not known.
    pub context_tokens: u64,
    /// What its tokens cost.
    pub prices: Prices,
}

/// A model clients can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Model {
    /// Its name; `*` stands for every name nothing else matches.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Where it can be had.
    pub targets: Vec<Target>,
    /// How they are chosen.
    pub strategy: Strategy,
    /// What [`Strategy::Hash`] goes by.
    pub hash_on: HashOn,
    /// Whether it answers requests that name no model.
    pub is_default: bool,
}

/// What lasts of a target while models come and go: how it is and what it does.
#[derive(Debug, Default)]
pub struct TargetState {
    /// Whether it may be asked.
    pub health: Health,
    /// What it is doing.
    pub load: Load,
    identity: u64,
}

/// One target of a route.
#[derive(Clone, Debug)]
pub struct RouteTarget {
    /// Index into the providers.
    pub provider: usize,
    /// The provider's name of the model; none: see [`Plan::upstream_model`].
    model: Option<String>,
    weight: u32,
    /// What it can do, a bit for each; none: anything.
    pub abilities: Option<u8>,
    /// Tokens of a request and its answer together, at most; 0: not known.
    pub context_tokens: u64,
    /// What its tokens cost.
    pub prices: Prices,
    /// Its own state.
    pub state: Arc<TargetState>,
    /// The state of connections to its provider, which its other models share.
    pub link: Arc<Health>,
}

impl RouteTarget {
    /// How its circuit stands, or that of its provider if that is worse.
    pub fn circuit(&self, now_ms: u64) -> Circuit {
        self.state.health.circuit(now_ms).max(self.link.circuit(now_ms))
    }

    /// Until it may be asked again, in milliseconds.
    pub fn pause_ms(&self, now_ms: u64) -> u64 {
        self.link.pause_ms(now_ms).max(self.state.health.pause_ms(now_ms))
    }

    /// Whether it may be asked now.
    pub fn is_open_for(&self, now_ms: u64) -> bool {
        self.state.health.is_open_for(now_ms) && self.link.is_open_for(now_ms)
    }
}

/// What a model leads to. Shared by all its requests.
#[derive(Debug)]
pub struct Route {
    /// The model's own name; of requests for `provider/model` the provider's with `/*`.
    pub name: String,
    /// Its place among all that is counted; never used for another one.
    pub number: usize,
    /// Where it can be had; at least one.
    pub targets: Box<[RouteTarget]>,
    strategy: Strategy,
    hash_on: HashOn,
    turns: Turns,
    turn: AtomicU64,
    /// When its targets are judged again, in milliseconds.
    judged_ms: AtomicU64,
}

impl Route {
    /// Whether its strategy goes by weights, and there is a choice.
    pub fn weighs(&self) -> bool {
        self.strategy.weighs() && self.targets.len() > 1
    }

    /// Whether its targets are to be judged now; one of those who ask is told so, once every
    /// `every_ms`.
    pub fn is_due(&self, now_ms: u64, every_ms: u64) -> bool {
        let due_ms = self.judged_ms.load(Ordering::Relaxed);
        if now_ms < due_ms {
            return false;
        }
        // Relaxed: who wins is all that matters. The first request only begins a window.
        let next = now_ms + every_ms;
        let won =
            self.judged_ms.compare_exchange(due_ms, next, Ordering::Relaxed, Ordering::Relaxed);
        won.is_ok() && due_ms != 0
    }
}

impl Model {
    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

#[derive(Clone, Debug)]
struct Entry {
    model: Model,
    route: Arc<Route>,
    available: bool,
    /// Echo under its own name: what comes when nothing else was asked for or set up.
    is_stopgap: bool,
    /// It was added by [`Router::add_own`].
    is_own: bool,
}

/// Resolves names.
#[derive(Clone, Debug, Default)]
pub struct Router {
    providers: Vec<Provider>,
    entries: Vec<Entry>,
    /// Names and aliases to the index of their entry.
    names: HashMap<String, usize, NameHash>,
    /// Chosen at run time or by `is_default`.
    default: Option<String>,
    /// Of each provider: its connections' state, and what `provider/model` leads to.
    links: Vec<Arc<Health>>,
    direct: Vec<Arc<Route>>,
    /// Chosen at run time; outlives a new configuration.
    chosen: Option<String>,
    /// Taken out at run time; stays so in a new configuration.
    removed: BTreeSet<String>,
    /// The number of every route there has been, by whether it is a provider's own and its name.
    numbers: HashMap<(bool, String), usize>,
    /// Routes made so far.
    routes: usize,
}

impl Router {
    /// Where a request for `name` may go; none asks for the default model.
    pub fn resolve(&self, name: Option<&str>) -> Result<Plan, Failure> {
        let name = match name {
            Some(name) if !name.is_empty() => name,
            _ => self.default_model().ok_or_else(|| {
                Failure::new(400, "The request names no model and there is no default.")
                    .param("model")
                    .code("missing_required_parameter")
            })?,
        };
        if let Some(entry) = self.entry(name) {
            return entry.plan(name);
        }
        if let Some((provider, model)) = name.split_once('/')
            && !model.is_empty()
            && let Some(index) = self.providers.iter().position(|p| p.name == provider)
        {
            return Ok(self.direct(name, index, name.len() - model.len()));
        }
        if let Some(entry) = self.entry(ANY_MODEL) {
            return entry.plan(name);
        }
        match self.providers.iter().position(|provider| provider.from_environment) {
            Some(index) => Ok(self.direct(name, index, 0)),
            None => Err(not_found(name)),
        }
    }

    fn direct(&self, name: &str, provider: usize, through: usize) -> Plan {
        let route = match self.direct.get(provider) {
            Some(route) => Arc::clone(route),
            None => unreachable!("every provider has a route of its own"),
        };
        Plan { model: name.to_owned(), route, through: Some(through) }
    }

    fn route(
        &mut self,
        is_direct: bool,
        name: String,
        (targets, strategy, hash_on): (Vec<RouteTarget>, Strategy, HashOn),
    ) -> Arc<Route> {
        let weights: Vec<u32> = targets.iter().map(|target| target.weight).collect();
        let routes = &mut self.routes;
        let number = *self.numbers.entry((is_direct, name.clone())).or_insert_with(|| {
            *routes += 1;
            *routes - 1
        });
        Arc::new(Route {
            name,
            number,
            targets: targets.into(),
            strategy,
            hash_on,
            turns: Turns::new(&weights),
            turn: AtomicU64::new(0),
            judged_ms: AtomicU64::new(0),
        })
    }

    /// What requests lead to, each with its number: models in their order, then providers.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.entries.iter().map(|entry| &entry.route).chain(&self.direct)
    }

    /// How many routes there have ever been: every number is below it.
    pub fn route_numbers(&self) -> usize {
        self.routes
    }

    /// The state of connections to a provider.
    pub fn link(&self, provider: usize) -> Option<&Arc<Health>> {
        self.links.get(provider)
    }

    /// The name requests without a model get: the chosen default, else the first not named `*`,
    /// else `echo`.
    pub fn default_model(&self) -> Option<&str> {
        let first = |is_stopgap| {
            let mut listed = self.entries.iter().filter(|entry| entry.is_listed());
            listed.find(|entry| entry.is_stopgap == is_stopgap)
        };
        let found = || first(false).or_else(|| first(true));
        self.default.as_deref().or_else(|| Some(found()?.model.name.as_str()))
    }

    /// The models clients can ask for by name, in the order of the configuration; switched-off ones
    /// and `*` are left out.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let listed = self.entries.iter().filter(|e| e.available && e.model.name != ANY_MODEL);
        listed.map(|entry| entry.model.name.as_str())
    }

    /// The providers, in the order they were added.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// Whether this is a model's name or an alias. The built-in echo makes way for a model of its
    /// name.
    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| !entry.is_stopgap)
    }

    /// Adds a model that the provider at this index has under the same name. False: the name is
    /// taken.
    pub fn add_own(&mut self, name: &str, provider: usize) -> Result<bool, String> {
        if self.has(name) {
            return Ok(false);
        }
        self.take_out(name);
        self.add(Model {
            name: name.to_owned(),
            targets: vec![Target { provider, weight: 1, ..Target::default() }],
            ..Model::default()
        })?;
        if let Some(entry) = self.entries.last_mut() {
            entry.is_own = true;
        }
        Ok(true)
    }

    /// Adds a model while serving.
    pub fn add(&mut self, model: Model) -> Result<(), String> {
        let name = &model.name;
        if name.is_empty() {
            return Err("a model without a name".to_owned());
        }
        if model.targets.is_empty() {
            return Err(format!("the model {name:?} has no targets"));
        }
        if model.targets.iter().any(|target| target.provider >= self.providers.len()) {
            return Err(format!("a target of the model {name:?} has no provider"));
        }
        if model.targets.len() > limits::TARGETS_MAX {
            return Err(format!(
                "the model {name:?} has more than {} targets",
                limits::TARGETS_MAX
            ));
        }
        if model.is_default {
            if name == ANY_MODEL {
                return Err("the model \"*\" cannot be the default".to_owned());
            }
            if self.entries.iter().any(|entry| entry.model.is_default) {
                return Err(format!("{name:?} is a second default model"));
            }
        }
        let all: Vec<&String> = std::iter::once(name).chain(&model.aliases).collect();
        for (i, name) in all.iter().enumerate() {
            if self.names.contains_key(*name) || all.iter().take(i).any(|other| other == name) {
                return Err(format!("two models are named {name:?}"));
            }
        }
        for name in all {
            self.names.insert(name.clone(), self.entries.len());
        }
        if model.is_default {
            self.default = Some(name.clone());
        }
        let mut targets = Vec::with_capacity(model.targets.len());
        for target in &model.targets {
            targets.push(RouteTarget {
                provider: target.provider,
                model: target.model.clone(),
                weight: target.weight,
                abilities: target.abilities,
                context_tokens: target.context_tokens,
                prices: target.prices,
                state: self.state_of(target),
                link: self.links.get(target.provider).cloned().unwrap_or_default(),
            });
        }
        let name = model.name.clone();
        self.removed.remove(&name);
        let parts = (targets, model.strategy, model.hash_on.clone());
        let route = self.route(false, name, parts);
        let (is_stopgap, is_own) = (false, false);
        self.entries.push(Entry { model, route, available: true, is_stopgap, is_own });
        Ok(())
    }

    /// The state of a target: another model's with the same provider and name is the same target.
    fn state_of(&self, wanted: &Target) -> Arc<TargetState> {
        let is_same = |t: &&RouteTarget| t.provider == wanted.provider && t.model == wanted.model;
        let known = wanted.model.as_ref().and_then(|_| {
            let mut all = self.entries.iter().flat_map(|entry| entry.route.targets.iter());
            all.find(is_same).map(|target| Arc::clone(&target.state))
        });
        let provider = self.providers.get(wanted.provider).map_or("", |it| &it.name);
        known.unwrap_or_else(|| state(provider, wanted.model.as_deref()))
    }

    /// Switches a model on or off; a switched-off one answers 503. False: there is no such model.
    pub fn set_available(&mut self, name: &str, available: bool) -> bool {
        let index = self.names.get(name).copied();
        match index.and_then(|index| self.entries.get_mut(index)) {
            Some(entry) => {
                entry.available = available;
                true
            }
            None => false,
        }
    }

    /// Makes a model the default. False: there is no such model.
    pub fn set_default(&mut self, name: &str) -> bool {
        match self.entry(name) {
            Some(entry) if entry.model.name != ANY_MODEL => {
                let name = entry.model.name.clone();
                self.chosen = Some(name.clone());
                self.default = Some(name);
                true
            }
            _ => false,
        }
    }

    /// Takes a model out, its aliases too. False: there is no such model.
    pub fn remove(&mut self, name: &str) -> bool {
        let own = self.entry(name).map(|entry| (entry.model.name.clone(), entry.is_own));
        if let Some((name, false)) = own {
            self.removed.insert(name);
        }
        self.take_out(name)
    }

    /// A model that was taken out at run time may come back with a new configuration.
    pub fn forgive(&mut self, name: &str) {
        self.removed.remove(name);
    }

    fn take_out(&mut self, name: &str) -> bool {
        let Some(&index) = self.names.get(name) else {
            return false;
        };
        let removed = self.entries.remove(index);
        self.names.retain(|_, at| *at != index);
        for at in self.names.values_mut() {
            if *at > index {
                *at -= 1;
            }
        }
        if self.default.as_ref() == Some(&removed.model.name) {
            self.default = None;
            self.chosen = None;
        }
        true
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.names.get(name).and_then(|&index| self.entries.get(index))
    }
}

impl Entry {
    fn is_listed(&self) -> bool {
        self.available && self.model.name != ANY_MODEL
    }

    fn plan(&self, name: &str) -> Result<Plan, Failure> {
        if !self.available {
            return Err(Failure::new(503, "This model is switched off at present.")
                .param("model")
                .code("model_unavailable"));
        }
        // An alias without a model in its target stands for the model's own name, `*` for the
        // client's.
        let through = (self.model.name == ANY_MODEL).then_some(0);
        Ok(Plan { model: name.to_owned(), route: Arc::clone(&self.route), through })
    }
}

/// The state of a new target. Its identity is the same in every process that knows the target.
fn state(provider: &str, model: Option<&str>) -> Arc<TargetState> {
    let name = [provider, "\0", model.unwrap_or_default()].concat();
    let identity = mix(balance::hash(name.as_bytes()));
    Arc::new(TargetState { identity, ..TargetState::default() })
}

/// The failure for a name that leads nowhere.
pub fn not_found(name: &str) -> Failure {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    let mut failure = Failure::new(404, format!("The model '{shown}' does not exist."))
        .param("model")
        .code("model_not_found");
    failure.kind = "invalid_request_error";
    failure
}

#[cfg(test)]
mod tests;
