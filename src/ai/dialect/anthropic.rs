//! Anthropic's messages, `POST /v1/messages`, and `/v1/messages/count_tokens`, as of API version
//! 2026-10-21 and, with sampling parameters, 2023-06-01.
#![forbid(unsafe_code)]

mod encode;
mod request;
mod stream;

pub(super) use encode::{count, encode};
pub(super) use request::{decode, decode_count};
pub(super) use stream::Encoder;
