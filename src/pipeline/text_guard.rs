//! The guard on its way through a request: which texts it sees, what follows, what is told.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::App;
use super::call::Asked;
use crate::ai::chat::{Delta, Part, Reply};
use crate::ai::dialect::Dialect;
use crate::ai::texts::{self, Lane, Screen, ScreenedStream, Speaker};
use crate::base::error::Failure;
use crate::base::limits;
use crate::config::GuardAction;
use crate::guard::{Actions, Note, Outcome, Screened, Side, Stats};

/// The request as the guard leaves it, if it changed it, and what it found.
///
/// # Errors
/// 403 when it is refused, 400 when it cannot be read.
pub(super) fn screen_prompt(
    app: &App,
    asked: &Asked,
) -> Result<(Option<Vec<u8>>, Option<Found>), Failure> {
    let actions = app.text_guard.actions(Side::Prompt);
    if actions.is_off() {
        return Ok((None, None));
    }
    let mut found = Found::new(app, Side::Prompt, asked.id());
    let mut look = |speaker, text: &str| {
        let actions = match speaker {
            // The operator's orders are no attack, what the model has said is screened as answer.
            Speaker::System | Speaker::Assistant => actions.without_injection(),
            Speaker::User | Speaker::Tool => actions,
        };
        let outcome = found.begin(actions).push(text, true, &mut found.notes);
        Found::outcome(outcome, PROMPT_REFUSED)
    };
    match texts::screen_request(asked.body(), &mut look) {
        Ok(edited) => Ok((edited, Some(found))),
        Err(failure) => {
            found.tell();
            Err(failure)
        }
    }
}

const PROMPT_REFUSED: &str = "the prompt was refused by the guard of this server";
const ANSWER_REFUSED: &str = "the answer was refused by the guard of this server";

/// What was found in the texts of one side of a request.
pub(super) struct Found {
    side: Side,
    id: Arc<str>,
    notes: Vec<Note>,
    /// Texts that have begun and were not counted yet.
    texts: u64,
    stats: Arc<Stats>,
}

impl Found {
    fn new(app: &App, side: Side, id: &str) -> Found {
        let stats = Arc::clone(app.text_guard.stats());
        Found { side, id: id.into(), notes: Vec::new(), texts: 0, stats }
    }

    /// Another text begins.
    fn begin(&mut self, actions: Actions) -> Screened {
        self.texts += 1;
        Screened::new(actions)
    }

    fn outcome(outcome: Outcome, words: &str) -> Result<Option<String>, Failure> {
        match outcome {
            Outcome::Same => Ok(None),
            Outcome::Now(text) => Ok(Some(text)),
            Outcome::Refused(note) => {
                let message = format!("{words}: {}", note.category.name());
                Err(Failure::new(403, message).code("content_refused"))
            }
        }
    }

    /// Counts and tells the log, a line for each rule, and forgets.
    pub(super) fn tell(&mut self) {
        let side = self.side.name();
        self.stats.add_texts(self.side, std::mem::take(&mut self.texts));
        let mut notes = std::mem::take(&mut self.notes);
        while let Some(note) = notes.first().copied() {
            let count = notes.iter().filter(|other| **other == note).count();
            notes.retain(|other| *other != note);
            self.stats.add_finds(self.side, note, count as u64);
            let (rule, category) = (note.rule, note.category.name());
            let done = match note.action {
                GuardAction::Off | GuardAction::Log => "found",
                GuardAction::Redact => "redacted",
                GuardAction::Block => "refused",
            };
            tracing::warn!(
                "guard: {done} {rule} ({category}) in the {side} of request {}, {count} times",
                self.id
            );
        }
    }
}

/// Texts at once in one answer; an answer with more is no answer.
const LANES_MAX: usize = 1024;

/// One answer under the guard.
pub(super) struct Guarded {
    texts: Texts,
    stream: Option<ScreenedStream>,
    /// The text of a translated stream that goes on.
    lane: Option<Lane>,
}

/// The texts of an answer.
struct Texts {
    actions: Actions,
    found: Found,
    open: Vec<(Lane, Screened)>,
}

impl Guarded {
    /// What screens the answer to a request; none when nothing is looked for.
    pub(super) fn new(app: &App, dialect: Dialect, asked: &Asked) -> Option<Guarded> {
        let actions = app.text_guard.actions(Side::Answer);
        let has_texts =
            !matches!(dialect, Dialect::OpenAiEmbeddings | Dialect::AnthropicCountTokens);
        (has_texts && !actions.is_off()).then(|| Guarded {
            texts: Texts {
                actions,
                found: Found::new(app, Side::Answer, asked.id()),
                open: Vec::new(),
            },
            stream: None,
            lane: None,
        })
    }

    /// Bytes of a stream that passes through.
    pub(super) fn pass(
        &mut self,
        dialect: Dialect,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let stream = self.stream.get_or_insert_with(|| ScreenedStream::new(dialect));
        let passed = stream.feed(bytes, &mut self.texts, out);
        self.texts.found.tell();
        passed
    }

    /// The end of a stream that passed through.
    pub(super) fn pass_end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let ended = stream.finish(&mut self.texts, out);
        self.texts.found.tell();
        ended
    }

    /// A stream that passed through cannot go on: what was held back goes out.
    pub(super) fn pass_failed(&mut self, out: &mut Vec<u8>) {
        if let Some(mut stream) = self.stream.take() {
            stream.give_up(&mut self.texts, out);
            self.texts.found.tell();
        }
    }

    /// One delta of a translated stream; `emit` gets what goes on.
    pub(super) fn delta(
        &mut self,
        delta: Delta,
        emit: &mut dyn FnMut(Delta),
    ) -> Result<(), Failure> {
        let (lane, text) = match &delta {
            Delta::Text(text) => (lane(0, 0), text),
            Delta::Thinking(text) => (lane(1, 0), text),
            Delta::Refusal(text) => (lane(2, 0), text),
            Delta::ToolCallArguments { index, json } => (lane(3, *index), json),
            Delta::Logprobs(_) if self.texts.interferes() => return Ok(()),
            Delta::Usage(_) | Delta::Logprobs(_) => {
                emit(delta);
                return Ok(());
            }
            _ => {
                self.end_lane(emit)?;
                emit(delta);
                return Ok(());
            }
        };
        if self.lane.is_some_and(|open| open != lane) {
            self.end_lane(emit)?;
        }
        self.lane = Some(lane);
        let new = self.texts.piece(lane, text, false);
        self.texts.found.tell();
        match new? {
            None => emit(delta),
            Some(text) if text.is_empty() => {}
            Some(text) => emit(with_text(lane, text)),
        }
        Ok(())
    }

    /// The text that went on ends; what was held back of it goes out.
    pub(super) fn end_lane(&mut self, emit: &mut dyn FnMut(Delta)) -> Result<(), Failure> {
        let Some(lane) = self.lane.take() else { return Ok(()) };
        let rest = self.texts.piece(lane, "", true);
        self.texts.found.tell();
        if let Some(text) = rest?.filter(|text| !text.is_empty()) {
            emit(with_text(lane, text));
        }
        Ok(())
    }

    /// A whole answer that was translated or made here.
    pub(super) fn reply(&mut self, reply: &mut Reply) -> Result<(), Failure> {
        let mut is_edited = false;
        let mut result = Ok(());
        for part in &mut reply.parts {
            let text = match part {
                Part::Text(text) | Part::Refusal(text) | Part::Thinking { text, .. } => text,
                Part::ToolCall(call) => &mut call.arguments,
                _ => continue,
            };
            match self.texts.whole(Speaker::Assistant, text) {
                Ok(None) => {}
                Ok(Some(new)) => {
                    *text = new;
                    is_edited = true;
                }
                Err(failure) => {
                    result = Err(failure);
                    break;
                }
            }
        }
        if is_edited {
            // They tell the tokens of the old text.
            reply.logprobs = None;
        }
        self.texts.found.tell();
        result
    }

    /// A whole answer in the client's own dialect, if the guard changed it.
    pub(super) fn body(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let texts = &mut self.texts;
        let edited = texts::screen_answer(body, &mut |speaker, text| texts.whole(speaker, text));
        self.texts.found.tell();
        edited
    }
}

fn lane(kind: u64, index: u32) -> Lane {
    Lane { group: 0, kind, index: u64::from(index) }
}

fn with_text(lane: Lane, text: String) -> Delta {
    match lane.kind {
        0 => Delta::Text(text),
        1 => Delta::Thinking(text),
        2 => Delta::Refusal(text),
        _ => {
            let index = u32::try_from(lane.index).unwrap_or_default();
            Delta::ToolCallArguments { index, json: text }
        }
    }
}

impl Screen for Texts {
    fn whole(&mut self, _: Speaker, text: &str) -> Result<Option<String>, Failure> {
        let outcome = self.found.begin(self.actions).push(text, true, &mut self.found.notes);
        Found::outcome(outcome, ANSWER_REFUSED)
    }

    fn piece(&mut self, lane: Lane, text: &str, is_end: bool) -> Result<Option<String>, Failure> {
        let place = self.open.iter().position(|(open, _)| *open == lane);
        let place = match place {
            Some(place) => place,
            None if self.open.len() >= LANES_MAX => {
                let message = "the provider's answer has too many parts";
                return Err(Failure::new(502, message).code("upstream_too_large"));
            }
            None => {
                self.open.push((lane, self.found.begin(self.actions)));
                self.open.len() - 1
            }
        };
        let Some((_, screened)) = self.open.get_mut(place) else { return Ok(None) };
        let outcome = screened.push(text, is_end, &mut self.found.notes);
        if is_end {
            self.open.swap_remove(place);
        }
        Found::outcome(outcome, ANSWER_REFUSED)
    }

    fn holds(&self, lane: Lane) -> bool {
        self.open.iter().any(|(open, screened)| *open == lane && screened.holds())
    }

    fn interferes(&self) -> bool {
        self.actions.interferes()
    }
}

/// Whether a prompt is too long to be screened on the loop.
pub(super) fn must_wait(app: &App, body: &[u8]) -> bool {
    body.len() > limits::SCREENED_ON_LOOP_BYTES_MAX
        && !app.text_guard.actions(Side::Prompt).is_off()
}
