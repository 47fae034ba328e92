//! A router of a new configuration takes over what lasts of the old one: the state of targets that
//! stay, the numbers that counts go by, and what was changed at run time.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use super::{Route, Router, TargetState};
use crate::ai::health::Health;

/// A target by what it is: its provider, the provider's model and, when the client's name goes
/// through, the route it stands in.
type Identity<'r> = (&'r str, Option<&'r str>, &'r str);

impl Router {
    /// Takes over from `old`. `is_same` says whether the provider of a name is what it was; `kept`
    /// are the names of the host's own models, which stay the provider's at `host`.
    ///
    /// # Errors
    /// A model of the configuration has the name of one of the host's.
    pub fn inherit(
        &mut self,
        old: &Router,
        is_same: impl Fn(&str) -> bool,
        (kept, host): (&[String], Option<usize>),
    ) -> Result<(), String> {
        if let Some(host) = host {
            for name in kept.iter().filter(|name| old.is_own(name)) {
                if !self.add_own(name, host)? {
                    return Err(format!("the model {name:?} is one of this program's own"));
                }
            }
        }
        self.take_over_links(old, &is_same);
        self.take_over_targets(old, &is_same);
        self.take_over_numbers(old);
        for name in &old.removed {
            if self.entry(name).is_some_and(|entry| entry.model.name == *name) {
                self.take_out(name);
            }
        }
        self.removed.clone_from(&old.removed);
        for entry in old.entries.iter().filter(|entry| !entry.available) {
            self.set_available(&entry.model.name, false);
        }
        if let Some(name) = &old.chosen {
            self.set_default(name);
        }
        Ok(())
    }

    /// Whether a name is that of a model which a provider has under the same name alone.
    fn is_own(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.is_own)
    }

    fn take_over_links(&mut self, old: &Router, is_same: &impl Fn(&str) -> bool) {
        let of: HashMap<&str, &Arc<Health>> =
            old.providers.iter().map(|it| it.name.as_str()).zip(&old.links).collect();
        for (provider, link) in self.providers.iter().zip(&mut self.links) {
            if is_same(&provider.name)
                && let Some(known) = of.get(provider.name.as_str())
            {
                *link = Arc::clone(known);
            }
        }
    }

    fn take_over_targets(&mut self, old: &Router, is_same: &impl Fn(&str) -> bool) {
        let mut known: HashMap<Identity<'_>, &Arc<TargetState>> = HashMap::new();
        for route in old.routes() {
            for target in &route.targets {
                let Some(provider) = old.providers.get(target.provider) else { continue };
                let model = target.model.as_deref();
                let route = if model.is_some() { "" } else { route.name.as_str() };
                known.entry((&provider.name, model, route)).or_insert(&target.state);
            }
        }
        let Router { providers, links, entries, direct, .. } = self;
        let routes = entries.iter_mut().map(|entry| &mut entry.route).chain(direct);
        for route in routes {
            // They were made a moment ago, so nobody else holds them.
            let Some(Route { name, targets, .. }) = Arc::get_mut(route) else { continue };
            for target in targets.iter_mut() {
                let Some(provider) = providers.get(target.provider) else { continue };
                if let Some(link) = links.get(target.provider) {
                    target.link = Arc::clone(link);
                }
                if !is_same(&provider.name) {
                    continue;
                }
                let model = target.model.as_deref();
                let route = if model.is_some() { "" } else { name.as_str() };
                if let Some(state) = known.get(&(provider.name.as_str(), model, route)) {
                    target.state = Arc::clone(state);
                }
            }
        }
    }

    /// Counts of a name go on, also when it was away in between; no number is ever another's.
    fn take_over_numbers(&mut self, old: &Router) {
        self.numbers.clone_from(&old.numbers);
        self.routes = old.routes;
        let Router { entries, direct, numbers, routes, .. } = self;
        let entries = entries.iter_mut().map(|entry| (false, &mut entry.route));
        for (is_direct, route) in entries.chain(direct.iter_mut().map(|route| (true, route))) {
            let Some(route) = Arc::get_mut(route) else { continue };
            route.number = *numbers.entry((is_direct, route.name.clone())).or_insert_with(|| {
                *routes += 1;
                *routes - 1
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Model, RouterBuilder, Target};
    use super::*;

    fn router(models: &[(&str, usize, Option<&str>)]) -> Router {
        let mut builder = RouterBuilder::new();
        builder.provider("a", false);
        builder.provider("b", false);
        let host = builder.provider("host", false);
        builder.echo(host);
        for (name, provider, model) in models {
            builder.model(Model {
                name: (*name).to_owned(),
                targets: vec![Target {
                    provider: *provider,
                    model: model.map(str::to_owned),
                    weight: 1,
                    ..Target::default()
                }],
                ..Model::default()
            });
        }
        builder.build().unwrap()
    }

    fn state(router: &Router, name: &str) -> (usize, Arc<TargetState>) {
        let plan = router.resolve(Some(name)).unwrap();
        (plan.route.number, Arc::clone(&plan.route.targets[0].state))
    }

    #[test]
    fn what_stays_keeps_its_state_and_its_number() {
        let old = router(&[("x", 0, Some("m")), ("y", 1, None), ("z", 1, Some("n"))]);
        let mut new = router(&[("new", 0, Some("m")), ("y", 1, None), ("x", 0, Some("m"))]);
        new.inherit(&old, |_| true, (&[], None)).unwrap();
        for name in ["x", "y"] {
            let (before, after) = (state(&old, name), state(&new, name));
            assert_eq!(before.0, after.0, "{name}");
            assert!(Arc::ptr_eq(&before.1, &after.1), "{name}");
        }
        assert!(Arc::ptr_eq(&state(&new, "new").1, &state(&old, "x").1));
        let numbers: Vec<usize> = old.routes().map(|route| route.number).collect();
        assert!(!numbers.contains(&state(&new, "new").0));
        assert!(new.route_numbers() > state(&new, "new").0);
        // `z` was away and comes back.
        let mut third = router(&[("z", 1, Some("n"))]);
        third.inherit(&new, |_| true, (&[], None)).unwrap();
        assert_eq!(state(&third, "z").0, state(&old, "z").0);
    }

    #[test]
    fn a_provider_that_is_another_now_begins_anew() {
        let old = router(&[("x", 0, Some("m")), ("y", 1, None)]);
        let mut new = router(&[("x", 0, Some("m")), ("y", 1, None)]);
        new.inherit(&old, |name| name != "a", (&[], None)).unwrap();
        assert!(!Arc::ptr_eq(&state(&new, "x").1, &state(&old, "x").1));
        assert!(!Arc::ptr_eq(new.link(0).unwrap(), old.link(0).unwrap()));
        assert!(Arc::ptr_eq(&state(&new, "y").1, &state(&old, "y").1));
        assert!(Arc::ptr_eq(new.link(1).unwrap(), old.link(1).unwrap()));
    }

    #[test]
    fn changes_at_run_time_last() {
        let models = &[("x", 0, None), ("y", 1, None), ("z", 1, None)];
        let mut old = router(models);
        assert!(old.set_available("x", false) && old.set_default("y") && old.remove("z"));
        assert!(old.add_own("mine", 2).unwrap());
        let mut new = router(models);
        new.inherit(&old, |_| true, (&["mine".to_owned()], Some(2))).unwrap();
        assert_eq!(new.resolve(Some("x")).unwrap_err().status, 503);
        assert_eq!(new.default_model(), Some("y"));
        assert_eq!(new.resolve(Some("z")).unwrap_err().status, 404);
        assert!(new.resolve(Some("mine")).is_ok());
        let mut taken = router(&[("mine", 0, None)]);
        let told = taken.inherit(&new, |_| true, (&["mine".to_owned()], Some(2))).unwrap_err();
        assert!(told.contains("mine"), "{told}");
    }
}
