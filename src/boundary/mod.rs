//! What every C boundary needs: no panic crosses it, no pointer is believed, every callback's
//! state is freed exactly once.
//!
//! The modules here know no function of the API and no part of the server: they turn what C can
//! say (pointers, lengths, function pointers, sizes) into what Rust can rely on, and errors back
//! into numbers. What C promises and nobody can check (that a pointer which is not NULL points to
//! what its type says) is named in each `# Safety` section and in the header.

pub mod bytes;
pub mod callback;
pub mod guard;
pub mod handle;
pub mod last_error;
pub mod options;
pub use guard::guard;
