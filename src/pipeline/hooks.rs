//! What the host program does with texts on their way: hooks on prompts, deltas and replies. An
//! answer passes them first, then the guard.
//!
//! They run on the loop, in order of registration, each on what the last one left. Without hooks
//! nothing here costs anything: bodies pass as they did.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::text_guard::Guarded;
use crate::ai::chat::{Delta, Part, Reply, join_text};
use crate::ai::dialect::Dialect;
use crate::ai::texts::{self, StreamTexts};
use crate::base::error::Failure;
use crate::base::limits;

/// Looks at one text.
pub trait TextHook: Send + Sync {
    /// Looks, and edits if it wants. False refuses the request or the answer.
    fn look(&self, edit: &mut TextEdit) -> bool;
}

/// One text on its way, as a hook sees it. Every text has a NUL behind it that does not count.
pub struct TextEdit {
    text: Vec<u8>,
    model: Vec<u8>,
    role: &'static std::ffi::CStr,
    is_edited: bool,
    is_read_only: bool,
}

impl TextEdit {
    /// The text, with its NUL.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The name of the model that was asked for, with its NUL.
    pub fn model(&self) -> &[u8] {
        &self.model
    }

    /// Who says it.
    pub fn role(&self) -> &'static std::ffi::CStr {
        self.role
    }

    /// Puts another text in its place; an empty one drops it. False when it can only be read.
    pub fn replace(&mut self, text: &str) -> bool {
        if self.is_read_only {
            return false;
        }
        self.is_edited = true;
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(0);
        true
    }
}

/// Which texts a hook sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookPlace {
    /// Every text of a request.
    Prompt,
    /// Every text delta of a stream.
    Delta,
    /// The text of a finished answer.
    Reply,
}

type List = Vec<Arc<dyn TextHook>>;

/// The hooks of a server.
#[derive(Clone, Default)]
pub struct Hooks {
    prompt: Arc<List>,
    delta: Arc<List>,
    reply: Arc<List>,
}

impl Hooks {
    /// Adds a hook behind the others. False: there are as many as there may be.
    pub fn add(&mut self, place: HookPlace, hook: Arc<dyn TextHook>) -> bool {
        let list = match place {
            HookPlace::Prompt => &mut self.prompt,
            HookPlace::Delta => &mut self.delta,
            HookPlace::Reply => &mut self.reply,
        };
        if list.len() >= limits::MIDDLEWARES_MAX {
            return false;
        }
        Arc::make_mut(list).push(hook);
        true
    }

    /// Removes a hook. Whoever removes it holds it: nothing is dropped here.
    pub fn remove(&mut self, hook: &Arc<dyn TextHook>) {
        for list in [&mut self.prompt, &mut self.delta, &mut self.reply] {
            if list.iter().any(|other| Arc::ptr_eq(other, hook)) {
                Arc::make_mut(list).retain(|other| !Arc::ptr_eq(other, hook));
            }
        }
    }

    /// Whether nothing is hooked.
    pub(super) fn is_empty(&self) -> bool {
        self.prompt.is_empty() && self.delta.is_empty() && self.reply.is_empty()
    }

    /// The request as the prompt hooks leave it, if they changed it.
    pub(super) fn edit_request(
        &self,
        dialect: Dialect,
        model: &str,
        body: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        if self.prompt.is_empty() {
            return Ok(None);
        }
        let refused = || {
            let message = "the prompt was refused by the operator of this server";
            Failure::new(403, message).code("prompt_refused")
        };
        texts::edit_request(dialect, body, &mut |role, text| {
            run(&self.prompt, model, role, text, false).ok_or_else(refused)
        })
    }

    /// What watches one answer; none when neither a hook nor the guard would see it.
    pub(super) fn watch(
        &self,
        model: &str,
        is_stream: bool,
        guard: Option<Guarded>,
    ) -> Option<Box<Watched>> {
        let wants_deltas = is_stream && !self.delta.is_empty();
        let is_hooked = wants_deltas || !self.reply.is_empty();
        if !is_hooked && guard.is_none() {
            return None;
        }
        let (hooks, model) = (self.clone(), model.to_owned());
        let (said, stream) = (String::new(), None);
        Some(Box::new(Watched { hooks, model, said, stream, is_hooked, guard }))
    }
}

/// Shows a text to every hook. The text they leave if they changed it; none: it was refused.
fn run(
    hooks: &List,
    model: &str,
    role: &'static str,
    text: &str,
    is_read_only: bool,
) -> Option<Option<String>> {
    let with_nul = |text: &str| {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        bytes
    };
    let mut edit = TextEdit {
        text: with_nul(text),
        model: with_nul(model),
        role: match role {
            "system" => c"system",
            "developer" => c"developer",
            "assistant" => c"assistant",
            "tool" => c"tool",
            _ => c"user",
        },
        is_edited: false,
        is_read_only,
    };
    for hook in hooks {
        if !hook.look(&mut edit) {
            return None;
        }
        if edit.is_edited && edit.text.len() <= 1 {
            // It was dropped: nothing is left to look at.
            break;
        }
    }
    if !edit.is_edited {
        return Some(None);
    }
    edit.text.pop();
    Some(Some(String::from_utf8(edit.text).unwrap_or_default()))
}

/// One answer under the eyes of hooks and, behind them, of the guard.
pub(super) struct Watched {
    hooks: Hooks,
    model: String,
    /// The text of a stream so far, for the reply hooks.
    said: String,
    /// Reads a stream that passes through, for the hooks.
    stream: Option<StreamTexts>,
    is_hooked: bool,
    guard: Option<Guarded>,
}

impl Watched {
    /// Whether a whole answer is seen: then it is collected first.
    pub(super) fn wants_whole(&self) -> bool {
        !self.hooks.reply.is_empty() || self.guard.is_some()
    }

    /// Whether nothing may pass unread.
    pub(super) fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// One delta of a translated stream; `emit` gets what goes on.
    pub(super) fn delta(
        &mut self,
        delta: Delta,
        emit: &mut dyn FnMut(Delta),
    ) -> Result<(), Failure> {
        let delta = match delta {
            Delta::Text(text) if self.is_hooked => match self.show(&text)? {
                Some(new) if new.is_empty() => return Ok(()),
                Some(new) => Delta::Text(new),
                None => Delta::Text(text),
            },
            delta => delta,
        };
        match &mut self.guard {
            Some(guard) => guard.delta(delta, emit),
            None => {
                emit(delta);
                Ok(())
            }
        }
    }

    /// The deltas of a translated stream have ended: what was held back goes on.
    pub(super) fn delta_end(&mut self, emit: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        match &mut self.guard {
            Some(guard) => guard.end_lane(emit),
            None => Ok(()),
        }
    }

    /// Shows a text delta to the hooks and notes what the client gets.
    fn show(&mut self, text: &str) -> Result<Option<String>, Failure> {
        let new = run(&self.hooks.delta, &self.model, "assistant", text, false);
        let new = new.ok_or_else(refused)?;
        if !self.hooks.reply.is_empty() {
            let text = new.as_deref().unwrap_or(text);
            if self.said.len() + text.len() <= limits::UPSTREAM_ANSWER_BYTES_MAX {
                self.said.push_str(text);
            }
        }
        Ok(new)
    }

    /// Bytes of a stream that passes through.
    pub(super) fn pass(
        &mut self,
        dialect: Dialect,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if !self.is_hooked {
            return match &mut self.guard {
                Some(guard) => guard.pass(dialect, bytes, out),
                None => Ok(()),
            };
        }
        let mut shown = Vec::new();
        let mut stream = self.stream.take().unwrap_or_else(|| StreamTexts::new(dialect));
        let passed = stream.feed(bytes, &mut |_, text| self.show(text), &mut shown);
        self.stream = Some(stream);
        match &mut self.guard {
            Some(guard) => guard.pass(dialect, &shown, out)?,
            None => out.append(&mut shown),
        }
        passed
    }

    /// The end of a stream that passed through.
    pub(super) fn pass_end(&mut self, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut shown = Vec::new();
        let ended = match self.stream.take() {
            Some(mut stream) => stream.finish(&mut |_, text| self.show(text), &mut shown),
            None => Ok(()),
        };
        let Some(guard) = &mut self.guard else {
            out.append(&mut shown);
            return ended;
        };
        guard.pass(dialect, &shown, out)?;
        ended?;
        guard.pass_end(out)
    }

    /// A stream that passed through cannot go on: what was held back goes out.
    pub(super) fn pass_failed(&mut self, out: &mut Vec<u8>) {
        if let Some(guard) = &mut self.guard {
            guard.pass_failed(out);
        }
    }

    /// A stream has ended well: the reply hooks may read what it came to.
    pub(super) fn ended(&mut self) {
        if !self.hooks.reply.is_empty() {
            let said = std::mem::take(&mut self.said);
            // It has gone out: nothing can be refused any more.
            let _ = run(&self.hooks.reply, &self.model, "assistant", &said, true);
        }
    }

    /// A whole answer that was translated or made here.
    pub(super) fn reply(&mut self, reply: &mut Reply) -> Result<(), Failure> {
        if !self.hooks.reply.is_empty() {
            self.show_reply(reply)?;
        }
        match &mut self.guard {
            Some(guard) => guard.reply(reply),
            None => Ok(()),
        }
    }

    fn show_reply(&self, reply: &mut Reply) -> Result<(), Failure> {
        let text = join_text(&reply.parts);
        let Some(new) = self.whole(&text)? else { return Ok(()) };
        let mut new = Some(new);
        for part in &mut reply.parts {
            if let Part::Text(text) = part {
                *text = new.take().unwrap_or_default();
            }
        }
        if let Some(new) = new.filter(|new| !new.is_empty()) {
            reply.parts.push(Part::Text(new));
        }
        reply.parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        if reply.parts.is_empty() {
            reply.parts.push(Part::Text(String::new()));
        }
        // They tell the tokens of the old text.
        reply.logprobs = None;
        Ok(())
    }

    /// A whole answer in the client's own dialect, if hooks or the guard changed it.
    pub(super) fn body(
        &mut self,
        dialect: Dialect,
        body: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        let shown = match self.hooks.reply.is_empty() {
            true => None,
            false => texts::edit_reply(dialect, body, &mut |_, text| self.whole(text))?,
        };
        let Some(guard) = &mut self.guard else { return Ok(shown) };
        let screened = guard.body(shown.as_deref().unwrap_or(body))?;
        Ok(screened.or(shown))
    }

    fn whole(&self, text: &str) -> Result<Option<String>, Failure> {
        run(&self.hooks.reply, &self.model, "assistant", text, false).ok_or_else(refused)
    }
}

fn refused() -> Failure {
    let message = "the answer was refused by the operator of this server";
    Failure::new(403, message).code("content_refused")
}
