//! OpenAI's responses, `POST /v1/responses`, without state: what would need a stored answer
//! (`previous_response_id`, `conversation`, `store: true`, `background: true`, stored prompts and
//! item references) is refused. Reasoning items carry their provider's signature as
//! `encrypted_content`, so a client that hands its items back keeps the thread.
#![forbid(unsafe_code)]

mod encode;
mod request;
mod stream;

pub(super) use encode::encode;
pub(super) use request::decode;
pub(super) use stream::Encoder;
