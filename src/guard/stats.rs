//! What the guard counts.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Category, Note, Side};
use crate::config::GuardAction;

/// All sides, categories and actions that are counted, in the order of their export.
const SIDES: [Side; 2] = [Side::Prompt, Side::Answer];
const CATEGORIES: [Category; 3] = [Category::Injection, Category::Secrets, Category::Personal];
const ACTIONS: [GuardAction; 3] = [GuardAction::Log, GuardAction::Redact, GuardAction::Block];

/// The counters.
#[derive(Default)]
pub struct Stats {
    texts: [AtomicU64; SIDES.len()],
    finds: [[[AtomicU64; ACTIONS.len()]; CATEGORIES.len()]; SIDES.len()],
}

impl Stats {
    /// So many texts were looked into.
    pub fn add_texts(&self, side: Side, count: u64) {
        // Relaxed, here and below: each number stands alone.
        if let Some(total) = self.texts.get(side as usize) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// So many finds of one kind.
    pub fn add_finds(&self, side: Side, note: Note, count: u64) {
        let action = ACTIONS.iter().position(|it| *it == note.action);
        let of_category =
            self.finds.get(side as usize).and_then(|it| it.get(note.category as usize));
        if let Some(total) = action.zip(of_category).and_then(|(at, all)| all.get(at)) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Texts that were looked into, by side.
    pub fn texts(&self) -> impl Iterator<Item = (Side, u64)> {
        SIDES.into_iter().zip(self.texts.iter().map(|it| it.load(Ordering::Relaxed)))
    }

    /// Finds by side, category and what was done.
    pub fn finds(&self) -> impl Iterator<Item = (Side, Category, GuardAction, u64)> {
        SIDES.into_iter().zip(&self.finds).flat_map(|(side, all)| {
            CATEGORIES.into_iter().zip(all).flat_map(move |(category, all)| {
                let counts = ACTIONS.into_iter().zip(all);
                counts.map(move |(action, it)| (side, category, action, it.load(Ordering::Relaxed)))
            })
        })
    }

    /// All counters as a JSON object: a member for each side.
    pub fn to_json(&self) -> serde_json::Value {
        let mut all = serde_json::json!({});
        for (side, count) in self.texts() {
            all[side.name()]["texts"] = count.into();
        }
        for (side, category, action, count) in self.finds() {
            all[side.name()][category.name()][action.as_str()] = count.into();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_apart() {
        let stats = Stats::default();
        for side in SIDES {
            stats.add_texts(side, 1);
            for category in CATEGORIES {
                for action in ACTIONS {
                    let note = Note { category, rule: "x", action };
                    let count = 1 + 100 * side as u64 + 10 * category as u64 + action as u64;
                    stats.add_finds(side, note, count);
                }
            }
        }
        let note = Note { category: Category::Secrets, rule: "x", action: GuardAction::Off };
        stats.add_finds(Side::Prompt, note, 9);
        assert_eq!(stats.finds().count(), 18);
        for (side, category, action, count) in stats.finds() {
            assert_eq!(count, 1 + 100 * side as u64 + 10 * category as u64 + action as u64);
        }
        let json = stats.to_json();
        assert_eq!(json["prompt"]["texts"], 1);
        let want = 1 + 100 + 10 * Category::Personal as u64 + GuardAction::Redact as u64;
        assert_eq!(json["answer"]["personal"]["redact"], want);
    }
}
