//! Being the model: the host answers requests to a model of its own.

use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::ptr::null;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::memory::nh_drop;
use super::route::reason;
use super::server::nh_server;
use super::status::{
    NH_ERR_DENIED, NH_ERR_INVALID_ARGUMENT, NH_ERR_LIMIT, NH_ERR_NOT_FOUND, NH_ERR_TIMEOUT,
    NH_ERR_UNSUPPORTED, NH_OK, nh_status,
};
use crate::ai::chat::{FinishReason, Usage};
use crate::base::error::{Error, ErrorKind, Failure};
use crate::base::limits;
use crate::boundary::bytes;
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::{status, value};
use crate::boundary::handle::{self, Held, Opaque};
use crate::boundary::last_error;
use crate::json;
use crate::pipeline::{Generation, Generator, Question};
use crate::server::on_loop_thread;

/// What a model of the host is asked. Lent to nh_generate_fn until it returns; when the
/// generation was deferred, until nh_generation_finish or nh_generation_fail has returned. It does
/// not change, so any number of threads may read it; what its functions lend lives as long.
pub struct nh_generate {
    _opaque: [u8; 0],
}

/// The answer of a model of the host in the making. Valid until nh_generate_fn returns; when it
/// was deferred, until nh_generation_finish or nh_generation_fail has ended it. One thread at a
/// time uses it, any thread may. It may outlive its server: then it returns NH_ERR_CANCELLED.
pub struct nh_generation {
    _opaque: [u8; 0],
}

impl Opaque for nh_generation {
    type Inner = Making;
    const TAG: u16 = 6;
    const NAME: &'static str = "generation";
    const ENDED: ErrorKind = ErrorKind::State;
}

/// What stands behind a generation: it keeps the question alive too.
pub struct Making {
    generation: Arc<Generation>,
    /// Kept until the end.
    question: Mutex<Option<Arc<Asked>>>,
    /// Ended handles whose memory is kept a while, so that late calls are answered.
    remembered: Weak<Remembered>,
}

type Remembered = Mutex<VecDeque<Held<nh_generation>>>;

/// A question whose texts end with a NUL.
struct Asked {
    json: Vec<u8>,
    messages: Vec<(&'static std::ffi::CStr, Vec<u8>)>,
}

impl Asked {
    fn new(question: &Question) -> Asked {
        let with_nul = |bytes: &[u8]| [bytes, b"\0"].concat();
        let role = |role: &str| match role {
            "system" => c"system",
            "developer" => c"developer",
            "assistant" => c"assistant",
            "tool" => c"tool",
            _ => c"user",
        };
        let messages = question.messages.iter();
        Asked {
            json: with_nul(&question.json),
            messages: messages.map(|(who, text)| (role(who), with_nul(text.as_bytes()))).collect(),
        }
    }
}

/// Answers one request to a model of the host: says the answer with nh_generation_text and its
/// kin and returns NH_OK, which ends it as nh_generation_finish(generation, NULL) would, unless it
/// was ended before. Or it calls nh_generation_defer, keeps `generation` and returns: then what it
/// returns is ignored, and any thread goes on.
///
/// When it returns anything else the client gets 500, or the dialect's error event once the
/// stream has begun, and the status and this thread's last error are logged; nh_generation_fail
/// says more.
///
/// It runs on a thread of the pool (`server.blocking_threads`) and may block; several run at once.
/// It may call everything but nh_server_free and nh_server_wait of its server. C++ exceptions and
/// longjmp must not leave it: an exception ends the process.
/// Since 1.0.
pub type nh_generate_fn = Option<
    unsafe extern "C-unwind" fn(
        request: *const nh_generate,
        generation: *mut nh_generation,
        user_data: *mut c_void,
    ) -> nh_status,
>;

/// Serves a model of the host's own under `name`, in every API of ours, whole and streaming, over
/// HTTP and to nh_chat of nh_server_client; before the start or while serving. Until the
/// configuration names a default model the first such model is it. Copies `name`. Takes
/// `user_data`; `drop` (may be NULL) frees it exactly once, also when this fails.
///
/// The timeouts are those of a provider: 60 s to the first piece of a stream, 300 s between two,
/// 600 s in all; a table [[provider]] with kind = "host" sets others.
/// Returns NH_OK, NH_ERR_DUPLICATE when a model has that name, or NH_ERR_INVALID_ARGUMENT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_model(
    server: *mut nh_server,
    name: *const c_char,
    generate: nh_generate_fn,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    status(|| {
        let callback = Callback::new(generate, user_data)?;
        // SAFETY: the caller's promise for handle and text.
        let (server, name) = unsafe {
            (handle::hold_to_change(server)?, bytes::name_text(name, "the name of the model")?)
        };
        server.add_model(name, Arc::new(HostModel { callback, remembered: Arc::default() }))
    })
}

/// The request as an OpenAI chat request, whichever API it came in by: as it was written when by
/// that one. Lends it; NULL only on NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generate_json(
    request: *const nh_generate,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for both pointers.
        unsafe {
            let asked = asked(request)?;
            bytes::write_len(len, asked.json.len().saturating_sub(1));
            Ok(asked.json.as_ptr().cast())
        }
    })
}

/// How many messages the request has, system prompts included; 0 on NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generate_message_count(request: *const nh_generate) -> usize {
    // SAFETY: the caller's promise.
    value(0, || Ok(unsafe { asked(request) }?.messages.len()))
}

/// One message: `*role` is "system", "developer", "user", "assistant" or "tool", `*text` its text
/// parts joined, "" when it has none (images and calls of tools stand in the JSON). Lends both;
/// either place may be NULL.
/// Returns NH_OK, NH_ERR_NOT_FOUND beyond the last message, or NH_ERR_INVALID_ARGUMENT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generate_message(
    request: *const nh_generate,
    index: usize,
    role: *mut *const c_char,
    text: *mut *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise.
        let asked = unsafe { asked(request) }?;
        let Some((who, said)) = asked.messages.get(index) else {
            let message = format!("there are {} messages", asked.messages.len());
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        for (place, found) in [(role, who.as_ptr()), (text, said.as_ptr().cast())] {
            if !place.is_null() {
                // SAFETY: the caller's place for the result.
                unsafe { handle::output(place, "place for a text")?.write(found) };
            }
        }
        Ok(())
    })
}

/// Puts the answer off: the callback returns now and the generation goes on from any thread, with
/// no thread held meanwhile, until nh_generation_finish or nh_generation_fail. Call it inside the
/// callback. Harmless the second time.
/// Returns NH_OK, or NH_ERR_STATE after the end.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_defer(generation: *mut nh_generation) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    status(|| unsafe { handle::hold_to_change(generation) }?.generation.defer().map_err(error))
}

/// Says more text of the answer; it goes out as one delta. Copies `text`, whole or not at all.
/// Returns NH_OK; NH_ERR_CANCELLED when nobody listens any more (then end it);
/// NH_ERR_WOULD_BLOCK, of deferred ones only, when the client is slower than the model and 64 KiB
/// wait: say it again later; others wait meanwhile. NH_ERR_INVALID_ARGUMENT for text that is not
/// UTF-8 (keep the first bytes of a character back until it is whole), NH_ERR_LIMIT beyond 32 MiB
/// at once, NH_ERR_STATE after the end.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_text(
    generation: *mut nh_generation,
    text: *const c_char,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (held, text) = unsafe {
            (handle::hold_to_change(generation)?, bytes::payload_text(text, len, "the text")?)
        };
        check_thread(&held)?;
        held.generation.text(text).map_err(error)
    })
}

/// Has the model call a tool: `arguments_json` is a JSON object as text (NULL: {}), `id` the name
/// that its result will refer to (NULL: one is made). Copies all.
/// Returns what nh_generation_text returns; NH_ERR_INVALID_ARGUMENT for arguments that are not
/// JSON.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_tool_call(
    generation: *mut nh_generation,
    id: *const c_char,
    name: *const c_char,
    arguments_json: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for every pointer.
        let (held, id, name, arguments) = unsafe {
            let arguments = match arguments_json.is_null() {
                true => "{}",
                false => {
                    bytes::payload_text(arguments_json, bytes::ZERO_TERMINATED, "the arguments")?
                }
            };
            let held = handle::hold_to_change(generation)?;
            let id = bytes::optional_text(id, "the id")?.filter(|id| !id.is_empty());
            (held, id, bytes::name_text(name, "the name of the tool")?, arguments)
        };
        check_thread(&held)?;
        if name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the name of the tool is empty"));
        }
        json::validate(arguments.as_bytes()).map_err(|error| {
            let message = format!("the arguments are not JSON: {error}");
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        held.generation.tool_call(id, name, arguments).map_err(self::error)
    })
}

/// Tells how many tokens the answer takes, for the client and the statistics; a later call
/// replaces an earlier one.
/// Returns NH_OK, NH_ERR_CANCELLED or NH_ERR_STATE.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_usage(
    generation: *mut nh_generation,
    prompt_tokens: u64,
    completion_tokens: u64,
) -> nh_status {
    status(|| {
        let usage = Usage { prompt_tokens, completion_tokens, ..Usage::default() };
        // SAFETY: the caller's promise for the handle.
        unsafe { handle::hold_to_change(generation) }?.generation.usage(usage).map_err(error)
    })
}

/// Ends the answer. `reason` is "stop", "length", "tool_calls" or "content_filter"; NULL: "stop",
/// or "tool_calls" when tools were called. Frees a deferred generation.
/// Returns NH_OK, also when nobody listens any more; NH_ERR_INVALID_ARGUMENT for another reason,
/// which leaves it as it is; NH_ERR_STATE when it was ended before.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_finish(
    generation: *mut nh_generation,
    reason: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (held, reason) =
            unsafe { (handle::hold(generation)?, bytes::optional_text(reason, "the reason")?) };
        let reason = match reason {
            None | Some("stop") => FinishReason::Stop,
            Some("length") => FinishReason::Length,
            Some("tool_calls") => FinishReason::ToolCalls,
            Some("content_filter") => FinishReason::ContentFilter,
            Some(_) => {
                let message = "the reason is none of stop, length, tool_calls, content_filter";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        };
        drop(held);
        // SAFETY: the caller's promise for the handle.
        unsafe { end(generation, Ok(reason)) }
    })
}

/// Ends the answer with an error in place of what was not said: `message` (NULL: a plain one) is
/// one English sentence for the client. NH_ERR_INVALID_ARGUMENT is answered with 400,
/// NH_ERR_DENIED 403, NH_ERR_NOT_FOUND 404, NH_ERR_LIMIT 429, NH_ERR_UNSUPPORTED 501,
/// NH_ERR_TIMEOUT 504, everything else 500; once a stream has begun, with the dialect's error
/// event. Copies `message`. Frees a deferred generation.
/// Returns NH_OK, also when nobody listens any more; NH_ERR_INVALID_ARGUMENT when `why` is no
/// failure, which leaves it as it is; NH_ERR_STATE when it was ended before.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_fail(
    generation: *mut nh_generation,
    why: nh_status,
    message: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and text.
        let (held, message) =
            unsafe { (handle::hold(generation)?, bytes::optional_text(message, "the message")?) };
        if why >= NH_OK {
            return Err(Error::new(ErrorKind::InvalidArgument, "the status is no failure"));
        }
        let code = match why {
            NH_ERR_INVALID_ARGUMENT => 400,
            NH_ERR_DENIED => 403,
            NH_ERR_NOT_FOUND => 404,
            NH_ERR_LIMIT => 429,
            NH_ERR_UNSUPPORTED => 501,
            NH_ERR_TIMEOUT => 504,
            _ => 500,
        };
        let failure = match message {
            Some(message) => Failure::new(code, message.to_owned()),
            None => Failure::new(code, FAILED),
        };
        drop(held);
        // SAFETY: the caller's promise for the handle.
        unsafe { end(generation, Err(failure.code("model_failed"))) }
    })
}

/// 1 when nobody listens any more (the client has gone, a deadline passed, the server ended), else
/// 0; NH_ERR_INVALID_ARGUMENT on NULL. A cancelled generation is still ended by
/// nh_generation_finish.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_generation_cancelled(generation: *const nh_generation) -> i32 {
    value(ErrorKind::InvalidArgument as i32, || {
        // SAFETY: the caller's promise for the handle.
        Ok(i32::from(unsafe { handle::hold(generation) }?.generation.is_cancelled()))
    })
}

const FAILED: &str = "the model could not answer";

/// A model of the host as the engine knows it.
struct HostModel {
    callback: Callback<
        unsafe extern "C-unwind" fn(
            *const nh_generate,
            *mut nh_generation,
            *mut c_void,
        ) -> nh_status,
    >,
    remembered: Arc<Remembered>,
}

impl Generator for HostModel {
    fn generate(&self, question: Arc<Question>, generation: Arc<Generation>) {
        if generation.is_cancelled() {
            return;
        }
        let asked = Arc::new(Asked::new(&question));
        drop(question);
        let request = Arc::as_ptr(&asked);
        let lent = handle::give::<nh_generation>(Making {
            generation: Arc::clone(&generation),
            question: Mutex::new(Some(Arc::clone(&asked))),
            remembered: Arc::downgrade(&self.remembered),
        });
        let failures = last_error::failures();
        let (function, user_data) = (self.callback.function(), self.callback.user_data());
        // SAFETY: function and data were registered together; the question lives until `asked` is
        // dropped, with a deferred generation until that is ended.
        let returned = unsafe { function(request.cast(), lent, user_data) };
        // Deferred: whoever ends it has the handle now, or has ended it already.
        if generation.is_deferred() || generation.is_ended() {
            return;
        }
        let ending = match returned {
            NH_OK => Ok(FinishReason::Stop),
            other => {
                tracing::error!("a model of the program failed: {}", reason(other, failures));
                Err(Failure::new(500, FAILED).code("model_failed"))
            }
        };
        // SAFETY: not ended and not deferred, so the handle is still ours.
        let _ = unsafe { end(lent, ending) };
    }
}

/// # Safety
/// As [`handle::end`].
unsafe fn end(
    generation: *mut nh_generation,
    ending: Result<FinishReason, Failure>,
) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    let held = unsafe { handle::end(generation) }?;
    held.generation.end(ending);
    let question = held.question.lock().take();
    drop(question);
    let Some(remembered) = held.remembered.upgrade() else { return Ok(()) };
    let mut kept = remembered.lock();
    let oldest = (kept.len() >= limits::GENERATIONS_REMEMBERED).then(|| kept.pop_front()).flatten();
    kept.push_back(held);
    drop(kept);
    drop(oldest);
    Ok(())
}

/// A generation that was not deferred waits for room, which a loop must not.
fn check_thread(held: &Held<nh_generation>) -> Result<(), Error> {
    if on_loop_thread() && !held.generation.is_deferred() {
        return Err(error(ErrorKind::State));
    }
    Ok(())
}

/// # Safety
/// `request` is NULL or lent by us and still valid.
unsafe fn asked<'a>(request: *const nh_generate) -> Result<&'a Asked, Error> {
    // SAFETY: the caller's promise.
    unsafe { handle::lent(request.cast::<Asked>(), "request") }
}

fn error(kind: ErrorKind) -> Error {
    let message = match kind {
        ErrorKind::WouldBlock => "the client is slower than the model",
        ErrorKind::Limit => "more text at once than any answer may have",
        ErrorKind::Cancelled => "nobody listens any more",
        ErrorKind::State => "the generation has ended, or would wait on a loop thread",
        other => other.c_message().to_str().unwrap_or_default(),
    };
    Error::new(kind, message)
}
