//! HTTP/1.1 without I/O: bytes in, decisions out.
//!
//! What it is: the tokenizer of request and response heads ([`head`]), the meaning of a request
//! target ([`target`]), the one place that decides where a body ends ([`framing`]), the writing of
//! heads and chunks ([`encode`]), dates ([`date`]), content codings written ([`coding`]) and read
//! ([`decoding`]), and server-sent events ([`sse`]).
//!
//! What it is not: it owns no socket, buffer pool, clock or timer, and it answers nothing. A
//! caller hands it bytes and gets spans into those bytes back.
//!
//! Invariants
//! - Nothing here panics, whatever the bytes are, and every growing thing has a bound.
//! - The outcome of a parser depends on the bytes alone, never on how they were cut into reads: it
//!   is an automaton over single bytes whose position is kept between calls, so an error is
//!   reported at the first byte that makes it certain. Lines that are there as a whole are read by
//!   the marks of a kernel ([`crate::kernel::head`]) where there is one; what is not whole or not
//!   right is the automaton's, so the outcome is the same without it.
//! - Where RFC 9110 and RFC 9112 say MUST, that is done; where they leave a choice, the stricter
//!   one is taken and its place in the code says so.

#![forbid(unsafe_code)]

pub mod coding;
pub mod date;
pub mod decoding;
pub mod encode;
pub mod framing;
pub mod head;
pub mod known;
pub mod method;
pub mod proxy;
pub mod sse;
pub mod status;
pub mod target;
pub mod trace_context;

mod authority;
mod chars;
mod error;
mod fields;
mod request;
mod response;
#[cfg(test)]
pub(crate) mod testing;
