//! The texts in a body that passes through: found and edited where they stand, everything else
//! kept as it was written.
//!
//! - [`edit_request`]: what is asked, text part by text part.
//! - [`edit_reply`]: a whole answer in the client's own dialect.
//! - [`StreamTexts`]: the deltas of a stream in the client's own dialect.
//! - [`screen_request`], [`screen_answer`], [`ScreenedStream`]: all of them at once, for a guard:
//!   arguments of tools too, and texts that no dialect of ours knows.
//!
//! A text that is dropped takes along what makes no sense without it: its part of a message, or
//! the message.
#![forbid(unsafe_code)]

mod reply;
mod request;
mod screened;
mod screened_stream;
mod stream;

use std::collections::BTreeMap;

use crate::ai::tree::{Node, Value};
use crate::ai::write;
use crate::base::error::Failure;

pub use reply::edit_reply;
pub use request::edit_request;
pub use screened::{Speaker, screen_answer, screen_request};
pub use screened_stream::{Lane, Screen, ScreenedStream};
pub use stream::StreamTexts;

/// Looks at a text, given with who says it: the text in its place, empty to drop it, none to keep
/// it. An error ends the request.
pub type Look<'l> = &'l mut dyn FnMut(&'static str, &str) -> Result<Option<String>, Failure>;

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    /// It becomes this string.
    Text(String),
    /// It becomes this number.
    Number(u64),
    /// It becomes null.
    Null,
    /// It is left out of its array or object.
    Drop,
}

/// Edits of one JSON text, by where the values stand in it.
#[derive(Debug, Default)]
struct Edits(BTreeMap<usize, Edit>);

impl Edits {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set(&mut self, node: &Node<'_>, edit: Edit) {
        self.0.insert(place(node), edit);
    }

    fn of(&self, node: &Node<'_>) -> Option<&Edit> {
        self.0.get(&place(node))
    }

    /// Appends the value with its edits.
    fn render(&self, node: &Node<'_>, out: &mut Vec<u8>) {
        let start = place(node);
        match self.0.get(&start) {
            Some(Edit::Text(text)) => return write::string(out, text),
            Some(Edit::Number(number)) => {
                return out.extend_from_slice(number.to_string().as_bytes());
            }
            Some(Edit::Null) => return out.extend_from_slice(b"null"),
            Some(Edit::Drop) | None => {}
        }
        if self.0.range(start..start + node.raw.len()).next().is_none() {
            out.extend_from_slice(node.raw.as_bytes());
            return;
        }
        let is_kept = |node: &Node<'_>| self.of(node) != Some(&Edit::Drop);
        match &node.value {
            Value::Array(items) => {
                let mut array = write::Array::begin(out);
                for item in items.iter().filter(|item| is_kept(item)) {
                    self.render(item, array.item());
                }
                array.end();
            }
            Value::Object(members) => {
                let mut object = write::Object::begin(out);
                for (name, value) in members.iter().filter(|(_, value)| is_kept(value)) {
                    self.render(value, object.foreign_key(name));
                }
                object.end();
            }
            _ => out.extend_from_slice(node.raw.as_bytes()),
        }
    }
}

/// Tells values of one text apart: no two begin at the same byte but a container and its first
/// item, which a bracket parts.
fn place(node: &Node<'_>) -> usize {
    node.raw.as_ptr().addr()
}
