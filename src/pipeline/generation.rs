//! Answers that the host program makes itself: its own models.
//!
//! A [`Generator`] stands under a model's name. It is called on a thread that may block and says
//! its answer to a [`Generation`]: one bounded queue of deltas between that thread, or any later
//! one, and the worker that encodes them in the client's dialect. A generation that was deferred
//! holds no thread; it is told when the queue is full, the others wait.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::ai::chat::{Delta, FinishReason, Part, Request, Role, Usage, join_text};
use crate::base::error::{ErrorKind, Failure};
use crate::base::limits;

/// A model of the host program.
pub trait Generator: Send + Sync {
    /// Answers one request. Runs on a thread that may block.
    fn generate(&self, question: Arc<Question>, generation: Arc<Generation>);
}

/// A request as the host program sees it.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// As an OpenAI chat request.
    pub json: Vec<u8>,
    /// Who speaks and what, text only, oldest first.
    pub messages: Vec<(&'static str, String)>,
}

impl Question {
    /// What `request` asks; `json` is its text in OpenAI's form.
    pub fn new(request: &Request, json: Vec<u8>) -> Question {
        let mut messages = Vec::with_capacity(request.messages.len());
        for message in &request.messages {
            let mut text = join_text(&message.parts);
            for part in &message.parts {
                if let Part::ToolResult { parts, .. } = part {
                    text.push_str(&join_text(parts));
                }
            }
            let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
            let role = match message.role {
                _ if message.parts.iter().any(is_result) => "tool",
                Role::System => "system",
                Role::Developer => "developer",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
            };
            messages.push((role, text));
        }
        Question { json, messages }
    }
}

/// What the worker finds.
#[derive(Debug)]
pub enum Progress {
    /// More will come.
    More,
    /// The answer is complete.
    End,
    /// There is none, or no more of it.
    Failed(Failure),
}

/// One answer in the making.
pub struct Generation {
    state: Mutex<State>,
    changed: Condvar,
    /// The worker has been told and has not looked since.
    told: AtomicBool,
    tell: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    deltas: Vec<Delta>,
    /// What they weigh.
    bytes: usize,
    has_begun: bool,
    calls: u32,
    usage: Option<Usage>,
    is_deferred: bool,
    is_ended: bool,
    /// How it ended; taken by the worker.
    ending: Option<Result<FinishReason, Failure>>,
    /// Nobody listens any more.
    is_cancelled: bool,
}

impl State {
    fn check(&self) -> Result<(), ErrorKind> {
        if self.is_ended {
            return Err(ErrorKind::State);
        }
        if self.is_cancelled { Err(ErrorKind::Cancelled) } else { Ok(()) }
    }
}

/// What a delta weighs beside its text, in bytes.
const DELTA_BYTES: usize = 64;

impl Generation {
    /// An answer of which nothing was said; `tell` has the worker look, from any thread.
    pub fn new(tell: Box<dyn Fn() + Send + Sync>) -> Arc<Generation> {
        Arc::new(Generation {
            state: Mutex::default(),
            changed: Condvar::new(),
            told: AtomicBool::new(false),
            tell,
        })
    }

    /// Says more text.
    ///
    /// # Errors
    /// `State` after the end, `Cancelled` when nobody listens, `Limit` when it is larger than any
    /// answer may be; `WouldBlock` for one that was deferred. Any other waits.
    pub fn text(&self, text: &str) -> Result<(), ErrorKind> {
        let delta = || vec![Delta::Text(text.to_owned())];
        self.push(text.len(), |_| if text.is_empty() { Vec::new() } else { delta() })
    }

    /// Calls a tool. Without an `id` one is made.
    ///
    /// # Errors
    /// As [`Generation::text`].
    pub fn tool_call(&self, id: Option<&str>, name: &str, json: &str) -> Result<(), ErrorKind> {
        self.push(name.len() + json.len(), |state| {
            let index = state.calls;
            state.calls += 1;
            let id = id.map_or_else(|| format!("call_{index}"), str::to_owned);
            let name = name.to_owned();
            vec![
                Delta::ToolCallStart { index, id, name, signature: None },
                Delta::ToolCallArguments { index, json: json.to_owned() },
            ]
        })
    }

    /// Tells what the answer takes; a later call replaces an earlier one.
    ///
    /// # Errors
    /// `State`, `Cancelled`.
    pub fn usage(&self, usage: Usage) -> Result<(), ErrorKind> {
        let mut state = self.state.lock();
        state.check()?;
        state.usage = Some(usage);
        Ok(())
    }

    /// It goes on after its callback has returned.
    ///
    /// # Errors
    /// `State`, `Cancelled`: then it is deferred all the same, and ended by whoever has it.
    pub fn defer(&self) -> Result<(), ErrorKind> {
        let mut state = self.state.lock();
        if state.is_ended {
            return Err(ErrorKind::State);
        }
        state.is_deferred = true;
        Ok(())
    }

    /// Whether it was deferred.
    pub fn is_deferred(&self) -> bool {
        self.state.lock().is_deferred
    }

    /// The answer is complete, or will not be. Harmless when it has ended; false then.
    pub fn end(&self, ending: Result<FinishReason, Failure>) -> bool {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_ended, true) {
            return false;
        }
        state.ending = Some(ending);
        drop(state);
        self.changed.notify_all();
        self.announce();
        true
    }

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        self.state.lock().is_ended
    }

    /// Whether nobody listens any more.
    pub fn is_cancelled(&self) -> bool {
        self.state.lock().is_cancelled
    }

    fn push(
        &self,
        bytes: usize,
        make: impl FnOnce(&mut State) -> Vec<Delta>,
    ) -> Result<(), ErrorKind> {
        if bytes > limits::UPSTREAM_ANSWER_BYTES_MAX {
            return Err(ErrorKind::Limit);
        }
        let mut state = self.state.lock();
        loop {
            state.check()?;
            // One piece larger than the queue goes into an empty one: the host holds it anyway.
            let fits = state.bytes + bytes + DELTA_BYTES <= limits::GENERATION_QUEUE_BYTES;
            if fits || state.bytes == 0 {
                break;
            }
            if state.is_deferred {
                return Err(ErrorKind::WouldBlock);
            }
            self.changed.wait(&mut state);
        }
        let deltas = make(&mut state);
        if deltas.is_empty() {
            return Ok(());
        }
        state.bytes += bytes + DELTA_BYTES;
        state.deltas.extend(deltas);
        drop(state);
        self.announce();
        Ok(())
    }

    fn announce(&self) {
        // SeqCst: the swap must not move before the push, or the worker could look too early.
        if !self.told.swap(true, Ordering::SeqCst) {
            (self.tell)();
        }
    }

    // ---- the worker's side ----

    /// Takes what was said since the last look.
    pub fn take(&self, deltas: &mut Vec<Delta>) -> Progress {
        self.told.store(false, Ordering::SeqCst);
        let mut state = self.state.lock();
        let is_said = !state.deltas.is_empty() || matches!(state.ending, Some(Ok(_)));
        if is_said && !std::mem::replace(&mut state.has_begun, true) {
            deltas.push(Delta::Start { id: None, model: None });
        }
        deltas.append(&mut state.deltas);
        state.bytes = 0;
        let progress = match state.ending.take() {
            None => Progress::More,
            Some(Err(failure)) => Progress::Failed(failure),
            Some(Ok(reason)) => {
                let called = state.calls > 0 && reason == FinishReason::Stop;
                deltas.push(Delta::Finish(if called { FinishReason::ToolCalls } else { reason }));
                deltas.extend(state.usage.map(Delta::Usage));
                Progress::End
            }
        };
        drop(state);
        self.changed.notify_all();
        progress
    }

    /// Nobody listens any more.
    fn close(&self) {
        let mut state = self.state.lock();
        state.is_cancelled = true;
        state.deltas = Vec::new();
        drop(state);
        self.changed.notify_all();
    }
}

/// The worker's hold of a generation: dropped, nobody listens any more.
pub struct Listening(Arc<Generation>);

impl Listening {
    /// Listens to it.
    pub fn new(generation: &Arc<Generation>) -> Listening {
        Listening(Arc::clone(generation))
    }

    /// The generation.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.0
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::ai::chat::Message;

    fn generation() -> (Arc<Generation>, Arc<AtomicU32>) {
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let tell = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        (Generation::new(tell), told)
    }

    fn take(generation: &Generation) -> (Vec<Delta>, Progress) {
        let mut deltas = Vec::new();
        let progress = generation.take(&mut deltas);
        (deltas, progress)
    }

    /// Wrong: a start that comes twice or late, a call without its finish reason, lost usage.
    #[test]
    fn what_is_said_comes_in_order() {
        let (generation, told) = generation();
        generation.text("a").unwrap();
        generation.text("").unwrap();
        generation.text("b").unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 1, "one message until the worker has looked");
        let start = Delta::Start { id: None, model: None };
        let (deltas, _) = take(&generation);
        assert_eq!(deltas, [start, Delta::Text("a".into()), Delta::Text("b".into())]);
        assert!(matches!(take(&generation), (empty, Progress::More) if empty.is_empty()));
        generation.tool_call(None, "f", "{}").unwrap();
        generation.usage(Usage { prompt_tokens: 1, ..Usage::default() }).unwrap();
        assert!(generation.end(Ok(FinishReason::Stop)));
        assert!(!generation.end(Ok(FinishReason::Length)));
        assert_eq!(generation.text("late"), Err(ErrorKind::State));
        let (deltas, progress) = take(&generation);
        assert_eq!(deltas.len(), 4);
        assert_eq!(deltas[2], Delta::Finish(FinishReason::ToolCalls));
        assert!(matches!(deltas[3], Delta::Usage(_)) && matches!(progress, Progress::End));
    }

    /// Wrong: a deferred generation that waits, or one whose queue grows without bound.
    #[test]
    fn a_full_queue_is_told_to_who_was_deferred() {
        let (generation, _) = generation();
        generation.defer().unwrap();
        let text = "x".repeat(1000);
        let mut count = 0;
        while generation.text(&text) == Ok(()) {
            count += 1;
        }
        assert!(count > 10 && count * 1000 <= limits::GENERATION_QUEUE_BYTES);
        assert_eq!(generation.text("y"), Ok(()), "it still fits");
        assert_eq!(generation.text(&text), Err(ErrorKind::WouldBlock));
        take(&generation);
        assert_eq!(generation.text(&"x".repeat(1 << 20)), Ok(()), "an empty queue takes any");
    }

    /// Wrong: a thread that waits for a client that has gone.
    #[test]
    fn who_waits_is_woken_by_room_and_by_the_end() {
        let (generation, _) = generation();
        let listening = Listening::new(&generation);
        let writer = Arc::clone(&generation);
        let thread = std::thread::spawn(move || {
            let text = "x".repeat(limits::GENERATION_QUEUE_BYTES);
            loop {
                if let Err(kind) = writer.text(&text) {
                    return kind;
                }
            }
        });
        for _ in 0..3 {
            while take(&generation).0.is_empty() {
                std::thread::yield_now();
            }
        }
        drop(listening);
        assert_eq!(thread.join().unwrap(), ErrorKind::Cancelled);
        assert!(generation.is_cancelled());
    }

    #[test]
    fn messages_are_texts_with_their_roles() {
        let result = Part::ToolResult {
            id: "c".into(),
            parts: vec![Part::Text("42".into())],
            is_error: false,
        };
        let request = Request {
            messages: vec![
                Message::text(Role::System, "be brief"),
                Message::new(Role::User, vec![result]),
                Message::new(Role::Assistant, Vec::new()),
            ],
            ..Request::default()
        };
        let question = Question::new(&request, b"{}".to_vec());
        let expected = [("system", "be brief"), ("tool", "42"), ("assistant", "")];
        assert!(question.messages.iter().map(|(r, t)| (*r, t.as_str())).eq(expected));
    }
}
