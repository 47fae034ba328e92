//! utils.h: files, clocks, logging, strings, digests, containers. One file per group of the header.

pub mod containers;
pub mod digest;
pub mod files;
pub mod logging;
pub mod network;
pub mod pool;
pub mod strings;
pub mod values;
