//! The relay against upstreams that misbehave: every failure has its outcome, nothing is answered
//! twice, no connection in doubt is used again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod azure;
mod balance;
mod cache;
mod client;
mod coded;
mod cost;
mod crossing;
mod dying;
mod failures;
mod fronts;
mod gone;
mod guard;
mod keys;
mod kill;
mod many;
mod models;
mod passing;
mod reload;
mod routing;
mod seen;
mod shared;
mod switching;
mod telemetry;
mod untold;
mod upstream;
mod ways;
