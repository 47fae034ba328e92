//! What every C boundary needs.

pub mod guard;

pub use guard::guard;
