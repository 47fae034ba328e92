//! Counting tokens.

use std::ffi::c_char;

use super::status::nh_status;
use crate::ai::tokenizer::{self, Encoding};
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::status;
use crate::boundary::{bytes, handle};

/// Counts the tokens of `text` in a published encoding: "o200k" (OpenAI's models since GPT-4o) or
/// "cl100k" (GPT-3.5 and GPT-4). Special tokens count as the text they are written as. Borrows
/// both. The first use of an encoding unpacks its vocabulary, for about half a second and 50 MiB
/// that stay; a count takes about 40 microseconds a KiB: neither belongs on a loop.
/// Returns NH_OK, or NH_ERR_INVALID_ARGUMENT for another encoding and for text that is not UTF-8.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_count_tokens(
    encoding: *const c_char,
    text: *const c_char,
    len: usize,
    tokens: *mut u64,
) -> nh_status {
    status(|| {
        let tokens = handle::output(tokens, "place for the count")?;
        // SAFETY: the caller's promise for both texts.
        let (encoding, text) = unsafe {
            (
                bytes::name_text(encoding, "the encoding")?,
                bytes::payload_text(text, len, "the text")?,
            )
        };
        let Some(encoding) = Encoding::from_name(encoding) else {
            let message = "the encoding is neither \"o200k\" nor \"cl100k\"";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        let count = tokenizer::count_tokens(encoding, text);
        // SAFETY: the caller's place for the result.
        unsafe { tokens.write(count) };
        Ok(())
    })
}
