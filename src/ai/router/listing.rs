//! What an operator sees of a router.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Model, Route, RouteTarget, Router};

/// One model.
pub struct Listed<'r> {
    /// As it was added.
    pub model: &'r Model,
    /// What its requests lead to.
    pub route: &'r Arc<Route>,
    /// It is switched on.
    pub is_available: bool,
}

impl Router {
    /// Every model, switched-off ones and `*` too, in their order.
    pub fn listing(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.iter().map(|entry| Listed {
            model: &entry.model,
            route: &entry.route,
            is_available: entry.available,
        })
    }
}

impl RouteTarget {
    /// The provider's name of the model; none: the client's goes through.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Its share under a weighing strategy.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}
