//! What a route found in a path.

use crate::http::head::Span;

/// The parameters of a matched route: their names, and where their values stand in the path. The
/// names are copied: the table of routes is read by every worker, so a shared count beside them
/// would be written by all.
#[derive(Clone, Default, Debug)]
pub struct Params {
    names: Vec<u8>,
    list: Vec<(Span, Span)>,
}

impl Params {
    /// None.
    pub fn new() -> Params {
        Params::default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets them, keeps the memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.list.clear();
    }

    /// Adds one.
    pub fn push(&mut self, name: &str, value: Span) {
        let start = self.names.len();
        self.names.extend_from_slice(name.as_bytes());
        let name = Span { start: start as u32, end: self.names.len() as u32 };
        self.list.push((name, value));
    }

    /// In the order of the pattern.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Span)> {
        self.list.iter().map(|(name, value)| (name.of(&self.names), *value))
    }

    /// Where the value of this one stands.
    pub fn get(&self, name: &[u8]) -> Option<Span> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}
