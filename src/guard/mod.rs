//! The prompt guard: looks into the texts of prompts and answers for secrets, personal data and
//! prompt injection. Off unless `[guard]` asks for it.
//!
//! It is *not* the firewall: that one never judges what people write to a model. This one does
//! nothing else, and only because an operator wants it.
//!
//! - [`TextGuard`]: what is done with what is found, by category and side.
//! - [`Screened`]: one text, whole or in pieces; a text in pieces is held back only as far as a
//!   find may still be open at its end, which is bounded ([`scan::OPEN_BYTES_MAX`]).
//! - [`Stats`]: texts and finds, counted.
//! - `scan`: where in a text something begins; `secrets`, `personal`, `injection`: what it is.
//!
//! A text gives the same finds however it is cut. Nothing found here is ever logged or kept: finds
//! carry names of rules, no text.
#![forbid(unsafe_code)]

mod injection;
mod personal;
mod scan;
mod screened;
mod secrets;
mod stats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::config::{self, GuardAction};

pub use screened::{Outcome, Screened};
pub use stats::Stats;

/// What a find is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Category {
    /// Words that want to be instructions to the model against those it has.
    Injection,
    /// Keys, tokens, passwords.
    Secrets,
    /// Card and account numbers, addresses, telephone numbers.
    Personal,
}

impl Category {
    /// Its name in the configuration and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Category::Injection => "injection",
            Category::Secrets => "secrets",
            Category::Personal => "personal",
        }
    }
}

/// Where a text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// To a model.
    Prompt,
    /// From a model.
    Answer,
}

impl Side {
    /// Its name in the log and among the counters.
    pub fn name(self) -> &'static str {
        match self {
            Side::Prompt => "prompt",
            Side::Answer => "answer",
        }
    }
}

/// One find, without the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    /// What it is about.
    pub category: Category,
    /// The rule.
    pub rule: &'static str,
    /// What follows.
    pub action: GuardAction,
}

/// What is done about each category on one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actions {
    injection: GuardAction,
    secrets: GuardAction,
    personal: GuardAction,
    /// Score from which a text counts as an injection.
    injection_score: u32,
}

impl Actions {
    /// What is done about a category.
    pub fn of(&self, category: Category) -> GuardAction {
        match category {
            Category::Injection => self.injection,
            Category::Secrets => self.secrets,
            Category::Personal => self.personal,
        }
    }

    /// The same where instructions are in their place, as in a system prompt.
    #[must_use]
    pub fn without_injection(self) -> Actions {
        Actions { injection: GuardAction::Off, ..self }
    }

    /// Whether nothing is looked for.
    pub fn is_off(&self) -> bool {
        self.strongest() == GuardAction::Off
    }

    /// Whether a text may come out other than it went in, or not at all.
    pub fn interferes(&self) -> bool {
        self.strongest() >= GuardAction::Redact
    }

    fn strongest(&self) -> GuardAction {
        self.injection.max(self.secrets).max(self.personal)
    }
}

/// The guard that a configuration asks for.
#[derive(Clone)]
pub struct TextGuard {
    prompts: Actions,
    answers: Actions,
    stats: Arc<Stats>,
}

impl TextGuard {
    /// The guard of `[guard]`.
    pub fn new(config: &config::TextGuard) -> TextGuard {
        let on = |action| if config.enable { action } else { GuardAction::Off };
        TextGuard {
            prompts: Actions {
                injection: on(config.injection_prompts),
                secrets: on(config.secrets_prompts),
                personal: on(config.personal_prompts),
                injection_score: config.injection_score,
            },
            answers: Actions {
                injection: on(config.injection_answers),
                secrets: on(config.secrets_answers),
                personal: on(config.personal_answers),
                injection_score: config.injection_score,
            },
            stats: Arc::default(),
        }
    }

    /// The guard of another configuration; what was counted stays.
    #[must_use]
    pub fn renewed(&self, config: &config::TextGuard) -> TextGuard {
        TextGuard { stats: Arc::clone(&self.stats), ..TextGuard::new(config) }
    }

    /// What it has counted.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// What is done on one side.
    pub fn actions(&self, side: Side) -> Actions {
        match side {
            Side::Prompt => self.prompts,
            Side::Answer => self.answers,
        }
    }

    /// Tells guards apart that may leave another answer: part of the key of a kept one. None when
    /// it is off.
    pub fn fingerprint(&self) -> Option<String> {
        let is_off = self.prompts.is_off() && self.answers.is_off();
        (!is_off).then(|| format!("\0guard {:?}", self.answers))
    }
}
