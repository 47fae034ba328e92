//! The `neurohttp` program and the echo example, seen from the socket: framing, limits, timeouts,
//! the chat routes, draining, scarce descriptors, many connections.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod admin;
mod bench_command;
mod chat;
mod command;
mod compression;
mod dashboard;
mod drain;
mod floods;
mod framing;
mod keepalive;
mod limits;
mod listen;
mod live;
mod metrics;
mod old_way;
mod protocol;
mod reload;
mod scale;
mod service;
mod timeouts;
mod tls;
mod tuned;
