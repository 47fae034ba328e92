//! NeuroHTTP: an HTTP server for AI traffic, as a library.
//!
//! `src/README.md` is the map of this crate. Modules stand below in layer order; a module imports
//! only from lower layers.

// L0: vocabulary, imports nothing of ours.
pub mod base;

// L1: CPU kernels, the C boundary, system calls.
pub mod boundary;
pub mod kernel;
pub mod sys;

// L2: formats without I/O.
pub mod http;
pub mod json;

// L3: one request and its response in the making.
pub mod exchange;

// L4: what a request meets on its way; siblings do not import each other.
pub mod ai;
pub mod cache;
pub mod firewall;
pub mod guard;
pub mod optimizer;
pub mod plugin;
pub mod route;

// L5: the life of a request.
pub mod pipeline;

// L6: sockets, workers, listeners.
pub mod server;

// L7: configuration.
pub mod config;

// L8: the doors.
pub mod ffi;
#[cfg(feature = "legacy")]
pub mod legacy;
