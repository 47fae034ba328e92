//! The C API: `include/neurohttp.h` is generated from these files.
//!
//! Thin by rule: each function checks what came from C, converts it, calls the engine and converts
//! the outcome back; no logic of the server is here and nothing imports this module. Every body
//! runs in the guard of [`crate::boundary`], so no panic crosses into C.
//!
//! Doc comments here are the text of the header and speak to C programmers. What holds for every
//! function (ownership words, threads, errors) stands once, on the header's opening page in
//! `cbindgen.toml`. `tests/header.rs` compares the committed header with a fresh one.
#![expect(non_camel_case_types, reason = "the names are C's")]
#![expect(
    clippy::missing_safety_doc,
    reason = "the opening page of the header says once what holds for every pointer"
)]

mod attach;
mod cache;
mod client;
mod deferred;
mod firewall;
mod generate;
mod hooks;
mod kernel;
mod log;
mod memory;
mod middleware;
mod model;
mod plugin;
mod plugin_context;
mod plugin_host;
mod plugin_load;
mod reply;
mod request;
mod response;
mod route;
mod server;
mod settings;
mod status;
mod stream;
mod tokens;
mod version;

pub use attach::*;
pub use cache::*;
pub use client::*;
pub use deferred::*;
pub use firewall::*;
pub use generate::*;
pub use hooks::*;
pub use kernel::*;
pub use log::*;
pub use memory::*;
pub use middleware::*;
pub use model::*;
pub use plugin::*;
pub use plugin_context::nh_plugin_context;
pub use plugin_host::*;
pub use plugin_load::load_configured;
pub use reply::*;
pub use request::*;
pub use response::*;
pub use route::*;
pub use server::*;
pub use status::*;
pub use stream::*;
pub use tokens::*;
pub use version::*;
