//! Calls to models and what comes back.

use std::ffi::{c_char, c_void};
use std::ptr::null;

use super::client::nh_client;
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::bytes;
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::{status, value};
use crate::boundary::handle::{self, Opaque};
use crate::server::client::{DeltaView, Reply};

/// The whole answer of a model. Given by nh_prompt, nh_chat and nh_chat_stream, freed by
/// nh_reply_free. It does not change, so any number of threads may read it; what its functions
/// lend lives until it is freed. It may outlive its client.
pub struct nh_reply {
    _opaque: [u8; 0],
}

impl Opaque for nh_reply {
    type Inner = ReplyTexts;
    const TAG: u16 = 5;
    const NAME: &'static str = "reply";
}

/// A reply whose texts end with a NUL.
pub struct ReplyTexts {
    text: Text,
    json: Text,
    model: Text,
    finish_reason: Text,
    usage: Option<(u64, u64)>,
}

/// One piece of a streamed answer. Lent during the callback.
pub struct nh_delta {
    _opaque: [u8; 0],
}

/// What stands behind a delta.
#[derive(Default)]
struct DeltaTexts {
    text: Text,
    json: Text,
}

/// Takes one piece of an answer, on the thread that called nh_chat_stream. Returns 0 to go on;
/// anything else cancels: the provider's connection is closed and nh_chat_stream returns
/// NH_ERR_CANCELLED. It may block, which slows the provider down, and call everything but
/// nh_client_free of its client. C++ exceptions and longjmp must not leave it: an exception ends
/// the process.
/// Since 1.0.
pub type nh_delta_fn =
    Option<unsafe extern "C-unwind" fn(delta: *const nh_delta, user_data: *mut c_void) -> i32>;

/// Sends one prompt as a user message and waits for the whole answer. `model` NULL means the
/// default model, `prompt` is UTF-8 text. Borrows both. Gives `*out`; free it with nh_reply_free.
/// Returns what nh_chat returns.
/// Blocks: NH_ERR_STATE on a loop thread.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_prompt(
    client: *mut nh_client,
    model: *const c_char,
    prompt: *const c_char,
    out: *mut *mut nh_reply,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the reply")?;
        // SAFETY: the caller's promise for every pointer.
        let (client, model, prompt) = unsafe {
            let client = handle::hold(client)?;
            let model = match model.is_null() {
                true => None,
                false => Some(bytes::name_text(model, "the model")?),
            };
            (client, model, bytes::payload_text(prompt, bytes::ZERO_TERMINATED, "the prompt")?)
        };
        let reply = client.prompt(model, prompt)?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(give(reply)) };
        Ok(())
    })
}

/// Sends an OpenAI chat request and waits for the whole answer; `stream` in it is ignored. Borrows
/// `request_json`. Gives `*out`; free it with nh_reply_free.
/// Returns NH_OK, or: NH_ERR_NOT_FOUND for an unknown model; NH_ERR_INVALID_ARGUMENT for a bad
/// request; NH_ERR_DENIED from firewall, guard and key check; NH_ERR_LIMIT for our limits and a
/// provider's 429; NH_ERR_TIMEOUT; NH_ERR_UPSTREAM when the provider refuses us, fails or answers
/// garbage; NH_ERR_CANCELLED; NH_ERR_CLOSED when the client's server has stopped, NH_ERR_STATE
/// when it was not started. nh_last_error_http tells a provider's status,
/// nh_last_error_retry_after_ms when to try again.
/// Blocks: NH_ERR_STATE on a loop thread.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_chat(
    client: *mut nh_client,
    request_json: *const c_char,
    len: usize,
    out: *mut *mut nh_reply,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the reply")?;
        // SAFETY: the caller's promise for every pointer.
        let (client, request) = unsafe {
            (handle::hold(client)?, bytes::payload(request_json.cast(), len, "the request")?)
        };
        let reply = client.chat(request)?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(give(reply)) };
        Ok(())
    })
}

/// Sends an OpenAI chat request and has `on_delta` called, on this thread, for each piece of the
/// answer as it comes; `stream` in the request is ignored. Borrows `request_json`; `user_data` is
/// only passed on. Gives `*out`, the pieces put together, unless `out` is NULL; free it with
/// nh_reply_free.
/// Returns what nh_chat returns; NH_ERR_CANCELLED also when `on_delta` said so. After an error the
/// pieces so far are not a whole answer.
/// Blocks: NH_ERR_STATE on a loop thread.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_chat_stream(
    client: *mut nh_client,
    request_json: *const c_char,
    len: usize,
    on_delta: nh_delta_fn,
    user_data: *mut c_void,
    out: *mut *mut nh_reply,
) -> nh_status {
    status(|| {
        let on_delta = Callback::new(on_delta, UserData::new(user_data, None))?;
        let out = match out.is_null() {
            true => None,
            false => Some(handle::output(out, "place for the reply")?),
        };
        // SAFETY: the caller's promise for every pointer.
        let (client, request) = unsafe {
            (handle::hold(client)?, bytes::payload(request_json.cast(), len, "the request")?)
        };
        let mut texts = DeltaTexts::default();
        let mut call = |delta: DeltaView<'_>| {
            texts.text.set(delta.text);
            texts.json.set(delta.json);
            let lent = (&raw const texts).cast();
            // SAFETY: function and data were passed together; the delta lives through the call.
            unsafe { on_delta.function()(lent, on_delta.user_data()) == 0 }
        };
        let reply = client.chat_stream(request, &mut call)?;
        if let Some(out) = out {
            // SAFETY: the caller's place for the result.
            unsafe { out.write(give(reply)) };
        }
        Ok(())
    })
}

/// The text of a delta, "" when it brings none (the first and the last often do not). Lends it
/// until the callback returns; NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_delta_text(delta: *const nh_delta, len: *mut usize) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend_delta(delta, len, |texts| &texts.text) }
}

/// A delta as the OpenAI chunk it came in: a JSON object. Lends it until the callback returns;
/// NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_delta_json(delta: *const nh_delta, len: *mut usize) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend_delta(delta, len, |texts| &texts.json) }
}

/// The text of the reply's first choice. Lends it until nh_reply_free; NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_reply_text(reply: *const nh_reply, len: *mut usize) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend_reply(reply, len, |texts| &texts.text) }
}

/// The whole reply as an OpenAI chat completion object. Lends it until nh_reply_free; NULL only on
/// NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_reply_json(reply: *const nh_reply, len: *mut usize) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend_reply(reply, len, |texts| &texts.json) }
}

/// The model that answered, as its provider names it. Lends it until nh_reply_free; NULL only on
/// NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_reply_model(reply: *const nh_reply, len: *mut usize) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend_reply(reply, len, |texts| &texts.model) }
}

/// Why the reply ended: "stop", "length", "tool_calls" or what the provider said. Lends it until
/// nh_reply_free; NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_reply_finish_reason(
    reply: *const nh_reply,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend_reply(reply, len, |texts| &texts.finish_reason) }
}

/// How many tokens prompt and answer had; either place may be NULL.
/// Returns NH_OK, or NH_ERR_NOT_FOUND when the provider did not tell.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_reply_usage(
    reply: *const nh_reply,
    prompt_tokens: *mut u64,
    completion_tokens: *mut u64,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let Some(usage) = unsafe { handle::hold(reply) }?.usage else {
            let message = "the provider did not tell how many tokens were used";
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        for (count, place) in [(usage.0, prompt_tokens), (usage.1, completion_tokens)] {
            if !place.is_null() {
                // SAFETY: the caller's place for the result.
                unsafe { handle::output(place, "place for a count")?.write(count) };
            }
        }
        Ok(())
    })
}

/// Frees a reply. NULL is fine.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_reply_free(reply: *mut nh_reply) {
    if reply.is_null() {
        return;
    }
    status(|| {
        // SAFETY: the caller's promise for the handle.
        drop(unsafe { handle::end(reply) }?);
        Ok(())
    });
}

/// Text with a NUL behind it that does not count.
struct Text(Vec<u8>);

impl Default for Text {
    fn default() -> Text {
        Text(vec![0])
    }
}

impl Text {
    fn new(text: String) -> Text {
        let mut bytes = text.into_bytes();
        bytes.push(0);
        Text(bytes)
    }

    fn set(&mut self, text: &str) {
        self.0.clear();
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// # Safety
    /// `len` is NULL or writable.
    unsafe fn lend(&self, len: *mut usize) -> *const c_char {
        // SAFETY: the caller's promise.
        unsafe { bytes::write_len(len, self.0.len().saturating_sub(1)) };
        self.0.as_ptr().cast()
    }
}

fn give(reply: Reply) -> *mut nh_reply {
    handle::give(ReplyTexts {
        text: Text::new(reply.text),
        json: Text::new(reply.json),
        model: Text::new(reply.model),
        finish_reason: Text::new(reply.finish_reason),
        usage: reply.usage,
    })
}

/// # Safety
/// `reply` is NULL or a handle, `len` is NULL or writable.
unsafe fn lend_reply(
    reply: *const nh_reply,
    len: *mut usize,
    text: impl FnOnce(&ReplyTexts) -> &Text,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise; C's own count keeps the text alive after this one ends.
        unsafe { Ok(text(&*handle::hold(reply)?).lend(len)) }
    })
}

/// # Safety
/// `delta` is NULL or lent by us, `len` is NULL or writable.
unsafe fn lend_delta(
    delta: *const nh_delta,
    len: *mut usize,
    text: impl FnOnce(&DeltaTexts) -> &Text,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise.
        unsafe { Ok(text(handle::lent(delta.cast::<DeltaTexts>(), "delta")?).lend(len)) }
    })
}
