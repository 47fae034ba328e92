//! Counters of one worker: written by it alone, summed when somebody reads.

use super::conn::Doing;
use crate::base::metrics::{Counter, Histogram};

/// What one worker counts. On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct WorkerStats {
    pub(super) connections: Counter,
    /// Those by what they are doing.
    pub(super) doing: [Counter; Doing::ALL.len()],
    pub(super) accepted: Counter,
    /// Closed at accept: their address had all it may have.
    pub(super) refused: Counter,
    pub(super) requests: Counter,
    pub(super) responses: Counter,
    pub(super) status: [Counter; 5],
    pub(super) malformed: Counter,
    pub(super) bytes_received: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) timeouts: Counter,
    pub(super) cancelled: Counter,
    pub(super) streams: Counter,
    /// Requests to models: started, failed, given up by whoever asked.
    pub(super) calls: Counter,
    pub(super) call_failures: Counter,
    pub(super) calls_cancelled: Counter,
    /// Second attempts beside late ones.
    pub(super) call_hedges: Counter,
    /// Further attempts after failed ones.
    pub(super) call_retries: Counter,
    /// Refused by a limit of the optimizer.
    pub(super) shed_blocking: Counter,
    pub(super) shed_upstreams: Counter,
    pub(super) shed_turns: Counter,
    pub(super) prompt_tokens: Counter,
    pub(super) completion_tokens: Counter,
    /// In billionths of a US dollar.
    pub(super) cost_nano: Counter,
    /// From the end of a request's head to the end of its answer.
    pub(super) request_time: Histogram,
    /// From the start of a streamed call to the first piece of its answer.
    pub(super) first_token_time: Histogram,
    /// Between two pieces of a streamed answer.
    pub(super) token_gap: Histogram,
}

impl WorkerStats {
    /// Counts an answer by the class of its status.
    pub(super) fn answered(&self, status: u16) {
        self.responses.add(1);
        if let Some(class) =
            usize::from(status / 100).checked_sub(1).and_then(|c| self.status.get(c))
        {
            class.add(1);
        }
    }
}
