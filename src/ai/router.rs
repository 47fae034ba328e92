//! From the name of a model that a client sends to the targets that can answer.
//!
//! A name resolves as a model or an alias, then as `provider/model` (cut at the first slash), then
//! by the model named `*`, then, when the providers came from the environment, as a model of the
//! first of them. The router is a plain value: a changed one is cloned, edited and swapped in by
//! its owner.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::ai::write::{self, Array};
use crate::base::error::Failure;
use crate::http::date;

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

/// How a model's targets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// In their order.
    #[default]
    Priority,
    /// By chance, by weight.
    Weighted,
    /// In turn, by weight.
    RoundRobin,
    /// The quickest first.
    LeastLatency,
    /// The one with the fewest requests under way first.
    LeastBusy,
    /// The same for the same user or header.
    Hash,
}

impl Strategy {
    /// From its name in the configuration.
    pub fn from_name(name: &str) -> Option<Strategy> {
        Some(match name {
            "priority" => Strategy::Priority,
            "weighted" => Strategy::Weighted,
            "round_robin" => Strategy::RoundRobin,
            "least_latency" => Strategy::LeastLatency,
            "least_busy" => Strategy::LeastBusy,
            "hash" => Strategy::Hash,
            _ => return None,
        })
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into the providers.
    pub provider: usize,
    /// The provider's name of the model; none: the client's name goes through.
    pub model: Option<String>,
    /// Its share under a weighing strategy; 0 only when nothing else is left.
    pub weight: u32,
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

/// Where one request may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name the client is told: the one it asked for, or the default model's.
    pub model: String,
    /// The targets in the order of the configuration, at least one.
    pub targets: Vec<PlanTarget>,
    /// How to choose among them.
    pub strategy: Strategy,
    /// What [`Strategy::Hash`] goes by.
    pub hash_on: HashOn,
}

/// One target of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTarget {
    /// Index into the providers.
    pub provider: usize,
    /// The provider's name of the model.
    pub model: String,
    /// See [`Target::weight`].
    pub weight: u32,
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
                targets: vec![Target { provider, model: None, weight: 1 }],
                ..Model::default()
            });
            is_echo_added = true;
        }
        let mut router = Router {
            providers: self.providers,
            entries: Vec::new(),
            names: HashMap::new(),
            default: None,
        };
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
    available: bool,
    /// Echo under its own name: what comes when nothing else was asked for or set up.
    is_stopgap: bool,
}

/// Resolves names.
#[derive(Clone, Debug, Default)]
pub struct Router {
    providers: Vec<Provider>,
    entries: Vec<Entry>,
    /// Names and aliases to the index of their entry.
    names: HashMap<String, usize>,
    /// Chosen at run time or by `is_default`.
    default: Option<String>,
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
            return Ok(direct(name, index, model));
        }
        if let Some(entry) = self.entry(ANY_MODEL) {
            return entry.plan(name);
        }
        match self.providers.iter().position(|provider| provider.from_environment) {
            Some(index) => Ok(direct(name, index, name)),
            None => Err(not_found(name)),
        }
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
        self.remove(name);
        self.add(Model {
            name: name.to_owned(),
            targets: vec![Target { provider, model: None, weight: 1 }],
            ..Model::default()
        })?;
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
        self.entries.push(Entry { model, available: true, is_stopgap: false });
        Ok(())
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
                self.default = Some(entry.model.name.clone());
                true
            }
            _ => false,
        }
    }

    /// Takes a model out, its aliases too. False: there is no such model.
    pub fn remove(&mut self, name: &str) -> bool {
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
        }
        true
    }

    /// Appends the answer of `GET /v1/models`. `created` in unix seconds.
    pub fn encode_models(&self, created: i64, out: &mut Vec<u8>) {
        write::object(out, |o| {
            o.string("object", "list").array("data", |data| {
                for entry in self.entries.iter().filter(|entry| entry.is_listed()) {
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
    /// with all of them.
    pub fn encode_models_anthropic(&self, created: i64, out: &mut Vec<u8>) {
        let listed = || self.entries.iter().filter(|entry| entry.is_listed());
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
        let own = if self.model.name == ANY_MODEL { name } else { &self.model.name };
        let targets = self.model.targets.iter().map(|target| PlanTarget {
            provider: target.provider,
            model: target.model.clone().unwrap_or_else(|| own.to_owned()),
            weight: target.weight,
        });
        Ok(Plan {
            model: name.to_owned(),
            targets: targets.collect(),
            strategy: self.model.strategy,
            hash_on: self.model.hash_on.clone(),
        })
    }
}

fn direct(name: &str, provider: usize, model: &str) -> Plan {
    Plan {
        model: name.to_owned(),
        targets: vec![PlanTarget { provider, model: model.to_owned(), weight: 1 }],
        strategy: Strategy::Priority,
        hash_on: HashOn::User,
    }
}

fn not_found(name: &str) -> Failure {
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
            let target = plan.targets.first().unwrap();
            assert_eq!((target.provider, target.model.as_str()), (provider, upstream), "{name:?}");
        }
        assert_eq!(router.resolve(Some("quick")).unwrap().targets[1].model, "fast");
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
        assert_eq!(router.resolve(Some("gpt")).unwrap().targets[0].provider, 1);
        assert_eq!(router.resolve(None).unwrap().targets[0].provider, 0);
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
        assert_eq!(router.resolve(Some("fast")).unwrap().targets[0].provider, 1, "now by *");
        assert_eq!(router.resolve(Some("echo")).unwrap().targets[0].provider, 2);
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
        router().encode_models(5, &mut out);
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
        router().encode_models_anthropic(5, &mut out);
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
