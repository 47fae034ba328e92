//! The old C interface: 14 headers, 189 functions, one file per header.
//!
//! The `extern "C"` functions are thin: check, convert, call, convert back. Their names are general
//! (`read_file`, `log_message`), so a host may define one itself and then gets its own; nothing in this
//! library calls anything through them. All state is in [`instance`]. What goes out to a host and what
//! it hands in is libc memory, see [`memory`].
//!
//! Not generated into `neurohttp.h`: the headers are in `include/legacy`, written by hand.

pub mod ai;
mod answer;
pub mod asm_utils;
pub mod cache;
pub mod config;
pub mod firewall;
pub mod instance;
pub use crate::boundary::c_memory as memory;
pub mod optimizer;
pub mod parser;
pub mod plugin;
pub mod router;
mod routes;
pub mod server;
mod site;
mod socket;
pub mod stream;
pub mod stream_buffer;
pub mod types;
pub mod utils;
mod whole_file;
