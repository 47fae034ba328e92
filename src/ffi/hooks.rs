//! Hooks on texts on their way to models and back.

use std::ffi::{c_char, c_void};
use std::ptr::{from_mut, null};
use std::sync::Arc;

use super::memory::nh_drop;
use super::server::nh_server;
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::bytes;
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::{status, value};
use crate::boundary::handle;
use crate::pipeline::{HookPlace, TextEdit, TextHook};

/// One text on its way. Lent to nh_text_hook until it returns.
pub struct nh_text_edit {
    _opaque: [u8; 0],
}

/// Looks at one text and edits it if it wants. Returns 0 to go on; anything else refuses.
///
/// It runs on a loop and must not block; several run at once. It may call everything but what
/// blocks and nh_server_free. C++ exceptions and longjmp must not leave it: an exception ends the
/// process.
/// [loop-thread]   Since 1.0.
pub type nh_text_hook =
    Option<unsafe extern "C-unwind" fn(edit: *mut nh_text_edit, user_data: *mut c_void) -> i32>;

/// Adds a hook on prompts: called for each text of a request to a model (system prompts, messages,
/// results of tools), once for each part, before anything is sent; in order of registration, each
/// on what the last one left. Refusing answers 403. nh_chat and its kin through nh_server_client
/// pass it too. Before the start or while serving. Takes `user_data`; `drop` (may be NULL) frees it
/// exactly once, also when this fails.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_on_prompt(
    server: *mut nh_server,
    hook: nh_text_hook,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe { add(server, HookPlace::Prompt, hook, UserData::new(user_data, drop)) }
}

/// Adds a hook on streams: called for each piece of text as the model sends it, in neutral form,
/// whatever the API of the client. Pieces are not merged before. Refusing ends the stream with the
/// error event of its dialect and closes the provider's connection. Thinking and calls of tools are
/// not shown. Else as nh_server_on_prompt.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_on_delta(
    server: *mut nh_server,
    hook: nh_text_hook,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe { add(server, HookPlace::Delta, hook, UserData::new(user_data, drop)) }
}

/// Adds a hook on finished answers: called with the whole text of an answer before it is sent;
/// refusing answers 403. Of a stream it is called once at its end, to read only: nothing can be
/// refused any more. Else as nh_server_on_prompt.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_on_reply(
    server: *mut nh_server,
    hook: nh_text_hook,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    // SAFETY: the caller's promise for the handle.
    unsafe { add(server, HookPlace::Reply, hook, UserData::new(user_data, drop)) }
}

/// The text as the hooks before have left it. Lends it until nh_text_edit_replace or the hook's
/// return; NULL only on NULL.
/// [loop-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_text_edit_text(
    edit: *const nh_text_edit,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(edit, len, TextEdit::text) }
}

/// The name of the model that was asked for. Lends it until the hook returns; NULL only on NULL.
/// [loop-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_text_edit_model(
    edit: *const nh_text_edit,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(edit, len, TextEdit::model) }
}

/// Who says the text: "system", "developer", "user", "assistant" or "tool". Static text; NULL only
/// on NULL.
/// [loop-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_text_edit_role(
    edit: *const nh_text_edit,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(edit, len, |edit| edit.role().to_bytes_with_nul()) }
}

/// Puts `text` in the place of the text; an empty one drops it, with the part of the message or
/// the message that it was. Copies it.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT for text that is not UTF-8, or NH_ERR_STATE at the end of
/// a stream, where the text can only be read.
/// [loop-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_text_edit_replace(
    edit: *mut nh_text_edit,
    text: *const c_char,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (edit, text) = unsafe {
            let edit = handle::lent_mut(edit.cast::<TextEdit>(), "text")?;
            (edit, bytes::payload_text(text, len, "the text")?)
        };
        if !edit.replace(text) {
            let message = "the text of a stream that has gone out can only be read";
            return Err(Error::new(ErrorKind::State, message));
        }
        Ok(())
    })
}

/// A host's hook as the engine knows it.
struct HostHook {
    callback: Callback<unsafe extern "C-unwind" fn(*mut nh_text_edit, *mut c_void) -> i32>,
}

impl TextHook for HostHook {
    fn look(&self, edit: &mut TextEdit) -> bool {
        let (function, user_data) = (self.callback.function(), self.callback.user_data());
        // SAFETY: function and data were registered together; the text is good until this returns,
        // and nothing else uses it meanwhile.
        unsafe { function(from_mut(edit).cast(), user_data) == 0 }
    }
}

/// # Safety
/// As [`handle::hold_to_change`].
unsafe fn add(
    server: *mut nh_server,
    place: HookPlace,
    hook: nh_text_hook,
    user_data: UserData,
) -> nh_status {
    status(|| {
        let callback = Callback::new(hook, user_data)?;
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        server.add_hook(place, Arc::new(HostHook { callback }))
    })
}

/// # Safety
/// `edit` is NULL or lent by us, `len` is NULL or writable.
unsafe fn lend(
    edit: *const nh_text_edit,
    len: *mut usize,
    text: impl FnOnce(&TextEdit) -> &[u8],
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for both pointers.
        unsafe {
            let text = text(handle::lent(edit.cast::<TextEdit>(), "text")?);
            bytes::write_len(len, text.len().saturating_sub(1));
            Ok(text.as_ptr().cast())
        }
    })
}
