//! A router from a list of providers and models.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{ECHO_MODEL, HashOn, Model, Provider, RouteTarget, Router, Strategy, Target, state};
use crate::ai::price::Prices;

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
