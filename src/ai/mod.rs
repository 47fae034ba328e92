//! AI formats without I/O: what clients ask in, what providers answer in, and one neutral type
//! between them.
//!
//! - [`chat`]: the neutral request, reply and delta.
//! - [`dialect`]: the formats clients speak to us, decoded and encoded.
//! - [`provider`]: the formats providers speak, one codec each.
//! - [`scan`]: what the pass-through of one dialect to the same dialect reads of a body.
//! - [`usage`]: token counts out of an answer that passes by unread.
//! - [`estimate`]: a guess at them where nobody tells.
//! - [`tokenizer`]: token counts with the published encodings.
//! - [`router`]: from the model name a client sends to the targets that can answer.
//! - [`texts`]: texts in bodies that pass by, edited in place.
//! - [`quota`]: what a key may use in a minute.
//! - [`canonical`]: what requests must have in common to share an answer.
//! - [`balance`], [`health`], [`retry`], [`latency`]: which of them, whether it may be asked, what
//!   follows a failure, how long answers take.
//! - [`tree`] and [`write`]: JSON in and out, with the text of every value kept.
//!
//! Invariants: no sockets and no clock (ids and times are arguments); what a peer sent is bounded
//! and never causes a panic; a stream is encoded without building a tree; a prompt or a key never
//! enters a [`Failure`](crate::base::error::Failure).
#![forbid(unsafe_code)]

pub mod balance;
pub mod canonical;
pub mod chat;
pub mod dialect;
pub mod estimate;
pub mod health;
pub mod latency;
pub mod price;
pub mod provider;
pub mod quota;
pub mod retry;
pub mod router;
pub mod scan;
pub mod texts;
pub mod tokenizer;
pub mod tree;
pub mod usage;
pub mod write;
