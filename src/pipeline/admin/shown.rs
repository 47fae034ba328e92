//! What an operator is shown of models, firewall and keys.

use serde_json::{Value, json};

use super::super::App;
use crate::ai::balance::WEIGHT_PARTS;
use crate::firewall::{AddressSet, Moment, to_ip};

/// Every model with its targets and how they are.
pub fn models(app: &App) -> Value {
    let now_ms = app.status.now_ms();
    let provider = |index: usize| app.providers.get(index).map_or("", |it| it.name.as_str());
    let models: Vec<Value> = app
        .router
        .listing()
        .map(|listed| {
            let targets: Vec<Value> = listed
                .route
                .targets
                .iter()
                .map(|target| {
                    json!({
                        "provider": provider(target.provider),
                        "model": target.model(),
                        "weight": target.weight(),
                        "weight_percent": target.state.load.share().0 * 100 / WEIGHT_PARTS,
                        "open": target.is_open_for(now_ms),
                        "circuit": target.circuit(now_ms).name(),
                        "retry_in_ms": target.pause_ms(now_ms),
                        "under_way": target.state.load.under_way(),
                    })
                })
                .collect();
            json!({
                "name": listed.model.name,
                "aliases": listed.model.aliases,
                "strategy": listed.model.strategy.name(),
                "available": listed.is_available,
                "targets": targets,
            })
        })
        .collect();
    let providers: Vec<&str> =
        app.router.providers().iter().map(|provider| provider.name.as_str()).collect();
    json!({ "default": app.router.default_model(), "models": models, "providers": providers })
}

/// Lists and blocks of the firewall, and what it has counted.
pub(super) fn firewall(app: &App) -> Value {
    let firewall = &app.firewall;
    let now = Moment { now_ms: app.status.now_ms(), unix_s: app.status.unix_seconds() };
    let (allow, deny) = firewall.lists();
    let blocked: Vec<Value> = firewall
        .memory()
        .blocks(now)
        .into_iter()
        .map(|(client, blocked)| {
            json!({
                "client": to_ip(client).to_string(),
                "cause": blocked.cause.name(),
                "seconds_left": blocked.left_s,
            })
        })
        .collect();
    json!({
        "enabled": firewall.is_enabled(),
        "dry_run": firewall.is_dry(),
        "inspects": firewall.inspects(),
        "allow": ranges(allow),
        "deny": ranges(deny),
        "blocked": blocked,
        "counts": firewall.stats().to_json(),
    })
}

/// What a live page shows of the firewall: the last findings, and who is blocked now.
pub fn blocks(app: &App) -> Value {
    let firewall = &app.firewall;
    let now = Moment { now_ms: app.status.now_ms(), unix_s: app.status.unix_seconds() };
    let blocks = firewall.memory().blocks(now);
    let clients: Vec<Value> = blocks
        .iter()
        .take(BLOCKS_SHOWN_MAX)
        .map(|(client, blocked)| {
            json!({
                "client": to_ip(*client).to_string(),
                "cause": blocked.cause.name(),
                "seconds_left": blocked.left_s,
            })
        })
        .collect();
    json!({
        "clients": clients,
        "count": blocks.len(),
        "recent": firewall.stats().recent().to_json(),
    })
}

/// Of the blocked clients, each second, on every live page.
const BLOCKS_SHOWN_MAX: usize = 10;

fn ranges(set: &AddressSet) -> Vec<Value> {
    let mut ranges = Vec::new();
    set.for_each(|range, note| {
        ranges.push(json!({
            "range": range.to_string(),
            "until": note.until,
            "reason": &*note.reason,
        }));
    });
    ranges
}

/// Names and limits of the keys, never the keys.
pub(super) fn keys(app: &App) -> Value {
    let keys: Vec<Value> = app
        .guard
        .named_keys()
        .map(|key| {
            json!({
                "name": key.name,
                "models": key.models,
                "requests_per_minute": key.requests_per_minute(),
                "tokens_per_minute": key.tokens_per_minute(),
            })
        })
        .collect();
    json!({ "keys": keys, "without_name": app.guard.key_count() - keys.len() })
}
