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

use crate::ai::balance::{self, Candidate, Chance, Load, Turns, mix};
use crate::ai::health::{Admission, Circuit, Health};
use crate::ai::price::Prices;
use crate::ai::write::{self, Array};
use crate::base::error::Failure;
use crate::base::hash::NameHash;
use crate::base::limits;
use crate::http::date;

mod inherit;
mod listing;

pub use crate::ai::balance::Strategy;
pub use listing::Listed;

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

/// Where one request may go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name the client is told: the one it asked for, or the default model's.
    pub model: String,
    /// What it leads to.
    pub route: Arc<Route>,
    /// Where in `model` the name begins that goes through; none: the route's own name does.
    through: Option<usize>,
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
        let candidates: Vec<Candidate<'_>> = route
            .targets
            .iter()
            .map(|target| Candidate {
                weight: target.weight,
                load: &target.state.load,
                identity: target.state.identity,
            })
            .collect();
        let chance = Chance { now_ms, random, hashed, turn };
        balance::choose(route.strategy, &candidates, open, &route.turns, &chance)
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

/// Collects providers and models.
#[derive(Clone, Debug, Default)]
pub struct RouterBuilder {
    providers: Vec<Provider>,
    models: Vec<Model>,
    echo: Option<usize>,
}

impl RouterBuilder {
    /// Nothing yet.
    pub fn new() -> RouterBuilder {
        RouterBuilder::default()
    }

    /// Adds a provider; returns its index.
    pub fn provider(&mut self, name: impl Into<String>, from_environment: bool) -> usize {
        self.providers.push(Provider { name: name.into(), from_environment });
        self.providers.len() - 1
    }

    /// Says that the provider with this index is the built-in echo: the model name `echo` leads to
    /// it unless a model defines that name.
    pub fn echo(&mut self, provider: usize) {
        self.echo = Some(provider);
    }

    /// Adds a model.
    pub fn model(&mut self, model: Model) {
        self.models.push(model);
    }

    /// The router. A name twice, a model without targets, a target without a provider or a second
    /// default: the text says which.
    pub fn build(mut self) -> Result<Router, String> {
        let mut is_echo_added = false;
        if let Some(provider) = self.echo
            && !self.models.iter().any(|model| model.answers_to(ECHO_MODEL))
        {
            self.models.push(Model {
                name: ECHO_MODEL.to_owned(),
                targets: vec![Target { provider, ..Target::default() }],
                ..Model::default()
            });
            is_echo_added = true;
        }
        let mut router = Router::default();
        for provider in self.providers {
            let link = Arc::default();
            let target = RouteTarget {
                provider: router.providers.len(),
                model: None,
                weight: 1,
                abilities: None,
                context_tokens: 0,
                prices: Prices::default(),
                state: state(&provider.name, None),
                link: Arc::clone(&link),
            };
            let name = format!("{}/*", provider.name);
            let parts = (vec![target], Strategy::Priority, HashOn::User);
            let route = router.route(true, name, parts);
            router.links.push(link);
            router.direct.push(route);
            router.providers.push(provider);
        }
        for model in self.models {
            router.add(model)?;
        }
        if let (true, Some(last)) = (is_echo_added, router.entries.last_mut()) {
            last.is_stopgap = true;
        }
        Ok(router)
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

    /// Appends the answer of `GET /v1/models` with those that `is_allowed` names. `created` in unix seconds.
    pub fn encode_models(
        &self,
        created: i64,
        is_allowed: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
    ) {
        let is_shown = |entry: &&Entry| entry.is_listed() && is_allowed(&entry.model.name);
        write::object(out, |o| {
            o.string("object", "list").array("data", |data| {
                for entry in self.entries.iter().filter(is_shown) {
                    self.encode_entry(entry, &entry.model.name, created, data);
                }
            });
        });
    }

    /// Appends the answer of `GET /v1/models/{id}`.
    pub fn encode_model(&self, name: &str, created: i64, out: &mut Vec<u8>) -> Result<(), Failure> {
        let entry = self.entry(name).filter(|entry| entry.is_listed());
        let entry = entry.ok_or_else(|| not_found(name))?;
        // One item without the brackets an array would have.
        self.encode_entry(entry, name, created, &mut Array::bare(out));
        Ok(())
    }

    /// Appends the answer of `GET /v1/models` to a client that speaks Anthropic's dialect: one page
    /// with all that `is_allowed` names.
    pub fn encode_models_anthropic(
        &self,
        created: i64,
        is_allowed: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
    ) {
        let is_shown = |entry: &&Entry| entry.is_listed() && is_allowed(&entry.model.name);
        let listed = || self.entries.iter().filter(is_shown);
        let name = |entry: &Entry| entry.model.name.clone();
        write::object(out, |o| {
            o.array("data", |data| {
                for entry in listed() {
                    encode_anthropic(&entry.model.name, created, data);
                }
            });
            o.boolean("has_more", false)
                .string_or_null("first_id", listed().next().map(name).as_deref())
                .string_or_null("last_id", listed().next_back().map(name).as_deref());
        });
    }

    /// Appends the answer of `GET /v1/models/{id}` in Anthropic's dialect.
    pub fn encode_model_anthropic(
        &self,
        name: &str,
        created: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let entry = self.entry(name).filter(|entry| entry.is_listed());
        entry.ok_or_else(|| not_found(name))?;
        encode_anthropic(name, created, &mut Array::bare(out));
        Ok(())
    }

    fn encode_entry(&self, entry: &Entry, name: &str, created: i64, data: &mut Array<'_>) {
        let owner = entry.model.targets.first();
        let owner = owner.and_then(|target| self.providers.get(target.provider));
        data.object(|m| {
            m.string("id", name)
                .string("object", "model")
                .number("created", u64::try_from(created).unwrap_or(0))
                .string("owned_by", owner.map_or("neurohttp", |provider| &provider.name));
        });
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.names.get(name).and_then(|&index| self.entries.get(index))
    }
}

/// A model as Anthropic's page "List Models" has it.
fn encode_anthropic(name: &str, created: i64, data: &mut Array<'_>) {
    data.object(|m| {
        m.string("type", "model")
            .string("id", name)
            .string("display_name", name)
            .string("created_at", &date::rfc3339(created));
    });
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
mod tests {
    use super::*;

    fn model(name: &str, targets: &[(usize, Option<&str>)]) -> Model {
        Model {
            name: name.into(),
            targets: targets
                .iter()
                .map(|(provider, model)| Target {
                    provider: *provider,
                    model: model.map(str::to_owned),
                    weight: 1,
                    ..Target::default()
                })
                .collect(),
            ..Model::default()
        }
    }

    fn router() -> Router {
        let mut builder = RouterBuilder::new();
        let openai = builder.provider("openai", false);
        let local = builder.provider("local", false);
        let echo = builder.provider("echo", false);
        builder.echo(echo);
        builder.model(Model {
            aliases: vec!["quick".into()],
            ..model("fast", &[(openai, Some("gpt-4o-mini")), (local, None)])
        });
        builder.model(model("*", &[(local, None)]));
        builder.build().unwrap()
    }

    #[test]
    fn names_resolve_in_the_documented_order() {
        let router = router();
        for (name, provider, upstream) in [
            (Some("fast"), 0, "gpt-4o-mini"),
            (Some("quick"), 0, "gpt-4o-mini"),
            (Some("openai/o3/x"), 0, "o3/x"),
            (Some("nobody/else"), 1, "nobody/else"),
            (Some("openai/"), 1, "openai/"),
            (Some("anything"), 1, "anything"),
            (Some("echo"), 2, "echo"),
            (Some("echo/x"), 2, "x"),
            (None, 0, "gpt-4o-mini"),
            (Some(""), 0, "gpt-4o-mini"),
        ] {
            let plan = router.resolve(name).unwrap();
            let target = &plan.route.targets[0];
            let found = (target.provider, plan.upstream_model(target));
            assert_eq!(found, (provider, upstream), "{name:?}");
        }
        let plan = router.resolve(Some("quick")).unwrap();
        assert_eq!(plan.upstream_model(&plan.route.targets[1]), "fast");
    }

    #[test]
    fn unknown_names_are_404_and_the_environment_takes_the_rest() {
        let mut builder = RouterBuilder::new();
        let echo = builder.provider("echo", false);
        builder.echo(echo);
        let router = builder.clone().build().unwrap();
        let failure = router.resolve(Some("gpt")).unwrap_err();
        assert_eq!((failure.status, failure.code.as_deref()), (404, Some("model_not_found")));
        assert_eq!(router.default_model(), Some("echo"));

        builder.provider("openai", true);
        let router = builder.build().unwrap();
        assert_eq!(router.resolve(Some("gpt")).unwrap().route.targets[0].provider, 1);
        assert_eq!(router.resolve(None).unwrap().route.targets[0].provider, 0);
    }

    #[test]
    fn models_change_at_run_time() {
        let mut router = router();
        assert_eq!(router.models().collect::<Vec<_>>(), ["fast", "echo"]);
        assert!(router.set_available("quick", false));
        assert_eq!(router.resolve(Some("fast")).unwrap_err().status, 503);
        assert_eq!(router.models().collect::<Vec<_>>(), ["echo"]);
        assert!(router.set_default("echo"));
        assert_eq!(router.default_model(), Some("echo"));
        assert!(router.remove("fast"));
        assert!(!router.remove("quick"));
        assert_eq!(router.resolve(Some("fast")).unwrap().route.targets[0].provider, 1, "now by *");
        assert_eq!(router.resolve(Some("echo")).unwrap().route.targets[0].provider, 2);
        assert!(!router.set_available("none", true) && !router.set_default("*"));
    }

    #[test]
    fn contradictions_are_refused() {
        let mut router = router();
        for wrong in [
            model("fast", &[(0, None)]),
            model("quick", &[(0, None)]),
            model("", &[(0, None)]),
            model("x", &[]),
            model("x", &[(9, None)]),
            Model { aliases: vec!["x".into()], ..model("x", &[(0, None)]) },
            Model { is_default: true, ..model("*2", &[(9, None)]) },
        ] {
            assert!(router.add(wrong.clone()).is_err(), "{wrong:?}");
        }
        assert!(router.add(Model { is_default: true, ..model("d", &[(0, None)]) }).is_ok());
        assert_eq!(router.default_model(), Some("d"));
        assert!(router.add(Model { is_default: true, ..model("e", &[(0, None)]) }).is_err());
    }

    #[test]
    fn lists_are_openais() {
        let mut out = Vec::new();
        router().encode_models(5, |_| true, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["object"], "list");
        assert_eq!(
            value["data"][0],
            serde_json::json!({"id":"fast","object":"model","created":5,"owned_by":"openai"})
        );
        assert_eq!(value["data"].as_array().unwrap().len(), 2);
        let mut out = Vec::new();
        router().encode_model("quick", 5, &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["id"], "quick");
        assert_eq!(router().encode_model("*", 5, &mut out).unwrap_err().status, 404);
    }

    /// Wrong: what Anthropic's SDK cannot page through.
    #[test]
    fn lists_are_anthropics_too() {
        let mut out = Vec::new();
        router().encode_models_anthropic(5, |_| true, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let created_at = "1970-01-01T00:00:05Z";
        let fast = serde_json::json!(
            {"type":"model","id":"fast","display_name":"fast","created_at":created_at}
        );
        assert_eq!(value["data"][0], fast);
        assert_eq!((&value["first_id"], &value["last_id"]), (&"fast".into(), &"echo".into()));
        assert_eq!(value["has_more"], false);
        let mut out = Vec::new();
        router().encode_model_anthropic("quick", 5, &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["id"], &value["type"]), (&"quick".into(), &"model".into()));
        assert_eq!(router().encode_model_anthropic("*", 5, &mut out).unwrap_err().status, 404);
    }
}
