//! Vocabulary that every layer shares. Nothing here does I/O or reads a clock.
#![forbid(unsafe_code)]

pub mod error;
pub mod hash;
pub mod limits;
pub mod lru;
pub mod metrics;
pub mod slab;
pub mod timer;
