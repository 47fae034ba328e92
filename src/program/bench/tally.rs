//! What a thread counts.

use std::collections::BTreeMap;

use super::histogram::Histogram;

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Trouble {
    /// No connection could be made.
    Connect,
    /// The connection ended, or broke, before the answer was complete.
    Closed,
    /// The answer took longer than `--timeout`.
    Timeout,
    /// The answer is no HTTP.
    Protocol,
    /// The stream told an error of its own, or ended without having sent an event.
    Stream,
}

impl Trouble {
    pub(super) const ALL: [Trouble; 5] =
        [Trouble::Connect, Trouble::Closed, Trouble::Timeout, Trouble::Protocol, Trouble::Stream];

    pub(super) fn name(self) -> &'static str {
        match self {
            Trouble::Connect => "connect",
            Trouble::Closed => "closed",
            Trouble::Timeout => "timeout",
            Trouble::Protocol => "protocol",
            Trouble::Stream => "stream",
        }
    }
}

/// What a thread counts; those of all threads are summed at the end.
#[derive(Default)]
pub(super) struct Tally {
    /// Answers that were complete, whatever they said.
    pub(super) answers: u64,
    /// The same by the class of their status, 1xx to 5xx.
    pub(super) by_class: [u64; 5],
    /// How often each trouble came, and what it said first.
    pub(super) troubles: BTreeMap<Trouble, (u64, String)>,
    pub(super) bytes: u64,
    /// From the call for a connection to the first byte that could be sent on it, TLS included.
    pub(super) connect: Histogram,
    /// From the first byte sent to the last byte received, of complete answers.
    pub(super) latency: Histogram,
    /// Events of streams, without the last mark.
    pub(super) events: u64,
    /// From the first byte sent to the first event with text.
    pub(super) first_event: Histogram,
    /// Between two events with text.
    pub(super) gap: Histogram,
}

impl Tally {
    pub(super) fn answered(&mut self, status: u16, elapsed_us: u64) {
        self.answers += 1;
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(count) = self.by_class.get_mut(class) {
            *count += 1;
        }
        self.latency.record(elapsed_us);
    }

    pub(super) fn failed(&mut self, trouble: Trouble, said: impl FnOnce() -> String) {
        let entry = self.troubles.entry(trouble).or_insert_with(|| (0, said()));
        entry.0 += 1;
    }

    /// What a failure said, whichever.
    pub(super) fn first_said(&self) -> Option<&str> {
        self.troubles.values().next().map(|(_, said)| said.as_str())
    }

    pub(super) fn merge(&mut self, other: Tally) {
        self.answers += other.answers;
        for (count, more) in self.by_class.iter_mut().zip(other.by_class) {
            *count += more;
        }
        for (trouble, (count, said)) in other.troubles {
            self.troubles.entry(trouble).or_insert((0, said)).0 += count;
        }
        self.bytes += other.bytes;
        self.connect.merge(&other.connect);
        self.latency.merge(&other.latency);
        self.events += other.events;
        self.first_event.merge(&other.first_event);
        self.gap.merge(&other.gap);
    }
}
