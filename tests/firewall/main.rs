//! The firewall seen from the socket: who may come, how often, and with what.

#[path = "../support/mod.rs"]
mod support;

mod clients;
