//! The models that a client is told of, in the words of OpenAI and of Anthropic.
#![forbid(unsafe_code)]

use super::{Entry, Router, not_found};
use crate::ai::write::{self, Array};
use crate::base::error::Failure;
use crate::http::date;

impl Router {
    /// Appends the answer of `GET /v1/models` with those that `is_allowed` names. `created` in unix seconds.
    pub fn encode_models(
        &self,
        created: i64,
        is_allowed: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
    ) {
        let is_shown = |entry: &&Entry| entry.is_listed() && is_allowed(&entry.model.name);
        write::object(out, |o| {
            o.string("object", "list").array("data", |data| {
                for entry in self.entries.iter().filter(is_shown) {
                    self.encode_entry(entry, &entry.model.name, created, data);
                }
            });
        });
    }

    /// Appends the answer of `GET /v1/models/{id}`.
    pub fn encode_model(&self, name: &str, created: i64, out: &mut Vec<u8>) -> Result<(), Failure> {
        let entry = self.entry(name).filter(|entry| entry.is_listed());
        let entry = entry.ok_or_else(|| not_found(name))?;
        // One item without the brackets an array would have.
        self.encode_entry(entry, name, created, &mut Array::bare(out));
        Ok(())
    }

    /// Appends the answer of `GET /v1/models` to a client that speaks Anthropic's dialect: one page
    /// with all that `is_allowed` names.
    pub fn encode_models_anthropic(
        &self,
        created: i64,
        is_allowed: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
    ) {
        let is_shown = |entry: &&Entry| entry.is_listed() && is_allowed(&entry.model.name);
        let listed = || self.entries.iter().filter(is_shown);
        let name = |entry: &Entry| entry.model.name.clone();
        write::object(out, |o| {
            o.array("data", |data| {
                for entry in listed() {
                    encode_anthropic(&entry.model.name, created, data);
                }
            });
            o.boolean("has_more", false)
                .string_or_null("first_id", listed().next().map(name).as_deref())
                .string_or_null("last_id", listed().next_back().map(name).as_deref());
        });
    }

    /// Appends the answer of `GET /v1/models/{id}` in Anthropic's dialect.
    pub fn encode_model_anthropic(
        &self,
        name: &str,
        created: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let entry = self.entry(name).filter(|entry| entry.is_listed());
        entry.ok_or_else(|| not_found(name))?;
        encode_anthropic(name, created, &mut Array::bare(out));
        Ok(())
    }

    fn encode_entry(&self, entry: &Entry, name: &str, created: i64, data: &mut Array<'_>) {
        let owner = entry.model.targets.first();
        let owner = owner.and_then(|target| self.providers.get(target.provider));
        data.object(|m| {
            m.string("id", name)
                .string("object", "model")
                .number("created", u64::try_from(created).unwrap_or(0))
                .string("owned_by", owner.map_or("neurohttp", |provider| &provider.name));
        });
    }
}

/// A model as Anthropic's page "List Models" has it.
fn encode_anthropic(name: &str, created: i64, data: &mut Array<'_>) {
    data.object(|m| {
        m.string("type", "model")
            .string("id", name)
            .string("display_name", name)
            .string("created_at", &date::rfc3339(created));
    });
}
