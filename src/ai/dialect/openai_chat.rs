//! OpenAI's chat completions, `POST /v1/chat/completions`.
//!
//! Beyond OpenAI's own page it reads and writes what its compatibles agreed on:
//! `reasoning_content` for thinking, `thinking_blocks` for thinking whose signature must come back,
//! and `extra_content.google.thought_signature` on tool calls.
#![forbid(unsafe_code)]

mod encode;
mod request;

pub(super) use encode::{Encoder, encode, usage};
pub(in crate::ai) use encode::{thinking, tool_calls};
pub(super) use request::{decode, parameter};
