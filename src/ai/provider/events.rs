//! The events of a provider's stream, with errors as the client is told them.
#![forbid(unsafe_code)]

use super::garbage;
use crate::base::error::Failure;
use crate::http::sse::{SseEvent, SseReader};

/// Largest event; images come in events too.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Collects bytes, cut anywhere, into events.
#[derive(Debug)]
pub(super) struct Events(SseReader);

impl Default for Events {
    fn default() -> Events {
        Events(SseReader::new(EVENT_BYTES_MAX))
    }
}

impl Events {
    /// Takes in bytes; calls `on` with the name and data of each event until it fails.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut on: impl FnMut(&[u8], &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        let read = self.0.feed(bytes, |event| take(&mut result, &mut on, event));
        result.and(read.map_err(|_| garbage("an event larger than 16 MiB")))
    }

    /// The stream has ended; a last event without its blank line counts.
    pub(super) fn finish(
        &mut self,
        mut on: impl FnMut(&[u8], &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        self.0.finish(|event| take(&mut result, &mut on, event));
        result
    }
}

fn take(
    result: &mut Result<(), Failure>,
    on: &mut impl FnMut(&[u8], &[u8]) -> Result<(), Failure>,
    event: SseEvent<'_>,
) {
    // Events of a named type without data are no events to these formats.
    if result.is_ok() && !event.data.is_empty() {
        *result = on(event.event, event.data);
    }
}
