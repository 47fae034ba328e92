//! What an attempt has used: by the provider's figures, else by an estimate that is marked as one.

use crate::ai::chat::Usage;
use crate::ai::estimate::{self, Habit};
use crate::base::slab::Key;
use crate::pipeline::{Inbound, Spent};
use crate::server::worker::Worker;

impl Worker {
    /// What is known of the answers of a model.
    fn habit(&mut self, number: usize) -> &mut Habit {
        if self.habits.len() <= number {
            self.habits.resize_with(number + 1, Habit::default);
        }
        &mut self.habits[number]
    }

    /// An attempt begins: its answer is looked at where its usage may not be told.
    pub(super) fn plan_look(&mut self, key: Key, inbound: &mut Inbound) {
        if let Some(number) = self.number_of(key)
            && self.habit(number).wants_look(inbound.is_stream())
        {
            inbound.look();
        }
    }

    /// The current attempt has come to its end, or is given up: counts what it has used, once.
    /// Nothing is counted while no piece of an answer has come.
    pub(super) fn count_spent(&mut self, key: Key, inbound: &Inbound, is_whole: bool) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if std::mem::replace(&mut state.is_spent, true) {
            return;
        }
        let Some(usage) = self.usage_of(key, inbound, is_whole) else { return };
        let now_us = self.now_us;
        if let Some(call) = self.calls.get_mut(key).and_then(|state| state.call.as_mut()) {
            call.settle(&usage, now_us);
        }
        self.count_tokens(key, usage);
    }

    fn usage_of(&mut self, key: Key, inbound: &Inbound, is_whole: bool) -> Option<Usage> {
        let state = self.calls.get(key)?;
        let has_come = is_whole || state.has_token;
        let call = state.call.as_ref().filter(|call| call.takes_tokens())?;
        let (number, is_written) = (call.number(), call.is_written());
        // Some servers tell zeros where they do not count.
        let told = inbound.usage().filter(|usage| usage.total_tokens() > 0 || !has_come);
        if is_whole && let Some(usage) = told {
            // What was thought is counted and does not pass.
            let written = usage.completion_tokens.saturating_sub(usage.reasoning.unwrap_or(0));
            self.habit(number).learn(inbound.is_stream(), true, inbound.passed(), written);
            return Some(usage);
        }
        if !has_come {
            return told;
        }
        let guessed = match is_written {
            true => inbound.estimate(self.habit(number)),
            false => 0,
        };
        if let Some(usage) = told {
            // Anthropic tells a first figure at the beginning, and the last one at the end: of an
            // answer that was cut between them what has come counts.
            let is_first_figure = guessed > 2 * usage.completion_tokens;
            let completion_tokens = match is_first_figure {
                true => guessed,
                false => usage.completion_tokens,
            };
            return Some(Usage { completion_tokens, is_estimated: is_first_figure, ..usage });
        }
        if is_whole {
            self.habit(number).learn(inbound.is_stream(), false, inbound.passed(), guessed);
        }
        let call = self.calls.get(key)?.call.as_ref()?;
        Some(Usage {
            prompt_tokens: estimate::prompt_tokens(call.body()),
            completion_tokens: guessed,
            is_estimated: true,
            ..Usage::default()
        })
    }

    /// Tokens of the current attempt's answer.
    pub(super) fn count_tokens(&mut self, key: Key, usage: Usage) {
        let call = self.calls.get(key).and_then(|state| state.call.as_ref());
        let Some(call) = call else { return };
        let spent = Spent { number: call.number(), usage, prices: call.prices() };
        let cost_nano = self.count_usage(&spent);
        if let Some(state) = self.calls.get_mut(key) {
            state.told.add(usage, cost_nano);
            if let Some(observed) = &mut state.observed {
                (observed.usage, observed.cost_nano) = (Some(usage), cost_nano);
            }
        }
    }
}
