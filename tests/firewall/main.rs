//! The firewall seen from the socket: who may come, how often, and with what.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod clients;
mod flood;
mod rules;
