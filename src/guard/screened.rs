//! One text under the guard, whole or in pieces.
#![forbid(unsafe_code)]

use super::scan::{self, Tail};
use super::{Actions, Category, Note};
use crate::config::GuardAction;

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on as it is.
    Same,
    /// This goes on in its place.
    Now(String),
    /// The text is refused, because of this rule.
    Refused(Note),
}

/// A text as far as it has come.
pub struct Screened {
    actions: Actions,
    /// The open end: held back if finds change the text, else only remembered.
    open: Vec<u8>,
    /// The byte before it.
    before: u8,
    /// What goes on behind the last find.
    tail: Tail,
    /// Whether that is taken out.
    is_cutting: bool,
    /// What injections came to.
    score: u32,
}

/// The most finds of one text that are told; more say nothing new.
const NOTES_MAX: usize = 64;

impl Screened {
    /// A text that has not begun.
    pub fn new(actions: Actions) -> Screened {
        Screened {
            actions,
            open: Vec::new(),
            before: b' ',
            tail: Tail::None,
            is_cutting: false,
            score: 0,
        }
    }

    /// Whether some of the text is held back.
    pub fn holds(&self) -> bool {
        self.actions.interferes() && !self.open.is_empty()
    }

    /// The next piece; the last one too when `is_end`. What is found is appended to `notes`.
    pub fn push(&mut self, piece: &str, is_end: bool, notes: &mut Vec<Note>) -> Outcome {
        let interferes = self.actions.interferes();
        let held = self.open.len();
        let mut text = std::mem::take(&mut self.open);
        text.extend_from_slice(piece.as_bytes());
        let mut out: Vec<u8> = Vec::new();
        // Of `text`, how far it was taken over to `out`.
        let mut done = 0;
        let mut at = self.pass_tail(&text, 0, &mut done);
        let is_changed = done > 0;
        let mut is_changed = is_changed;
        let open_from = loop {
            let (begin, found) = match scan::next(&text, at, self.before, is_end, &self.actions) {
                Ok(found) => found,
                Err(open_from) => break open_from,
            };
            let action = self.action(found.category, found.score);
            let note = Note { category: found.category, rule: found.rule, action };
            if action != GuardAction::Off && notes.len() < NOTES_MAX {
                notes.push(note);
            }
            if action == GuardAction::Block {
                return Outcome::Refused(note);
            }
            self.is_cutting = action == GuardAction::Redact;
            let end = begin + found.len;
            if self.is_cutting {
                out.extend_from_slice(text.get(done..begin + found.skip).unwrap_or_default());
                out.extend_from_slice(b"[REDACTED:");
                out.extend_from_slice(found.rule.as_bytes());
                out.push(b']');
                done = end;
                is_changed = true;
            }
            self.before = text.get(end.wrapping_sub(1)).copied().unwrap_or(b' ');
            self.tail = found.tail;
            at = self.pass_tail(&text, end, &mut done);
        };
        if let Some(&byte) = open_from.checked_sub(1).and_then(|at| text.get(at)) {
            self.before = byte;
        }
        self.open.extend_from_slice(text.get(open_from..).unwrap_or_default());
        if !interferes {
            return Outcome::Same;
        }
        if !is_changed && held == 0 && open_from == text.len() {
            return Outcome::Same;
        }
        out.extend_from_slice(text.get(done..open_from).unwrap_or_default());
        // Cuts lie between characters: a find begins and ends at bytes of ASCII or whole literals.
        Outcome::Now(match String::from_utf8(out) {
            Ok(out) => out,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// Passes what belongs to the last find.
    fn pass_tail(&mut self, text: &[u8], from: usize, done: &mut usize) -> usize {
        let mut at = from;
        while let Some(&byte) = text.get(at) {
            if !self.tail.takes(byte) {
                break;
            }
            self.before = byte;
            at += 1;
        }
        if self.is_cutting {
            *done = (*done).max(at);
        }
        at
    }

    /// What follows from a find. A phrase counts only once the text has come to the score.
    fn action(&mut self, category: Category, score: u32) -> GuardAction {
        if category == Category::Injection {
            self.score = self.score.saturating_add(score);
            if self.score < self.actions.injection_score {
                return GuardAction::Off;
            }
        }
        self.actions.of(category)
    }
}

#[cfg(test)]
impl Screened {
    /// Bytes that are open.
    pub fn open_bytes(&self) -> usize {
        self.open.len()
    }
}
