//! Who is connected: the connections of all workers, for an operator and for the host program.
//!
//! The records are the connections themselves, written by their worker alone. To see them a thread
//! asks each worker by a message and waits for its rows; a worker that does not answer in time is
//! left out, and the list says so.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::conn::{Conn, Phase};
use super::core::{Core, DRAINING, RUNNING};
use super::mailbox::Message;
use super::worker::Worker;
use crate::base::limits;
use crate::base::slab::Key;
use crate::sys::clock;

/// How long the workers have for it together.
const PATIENCE: Duration = Duration::from_secs(1);

/// One connection as it was when its worker looked.
pub(super) struct Row {
    key: Key,
    peer: String,
    age_ms: u64,
    idle_ms: u64,
    received: u64,
    sent: u64,
    requests: u32,
    state: &'static str,
    is_tls: bool,
}

/// The rows of one worker and how many connections it has.
pub(super) struct Counted {
    worker: usize,
    total: usize,
    rows: Vec<Row>,
}

impl Core {
    /// The list as JSON; docs/admin.md has its shape. Waits for the workers, a second at most.
    pub(super) fn connections_json(&self) -> Value {
        let (sender, receiver) = channel();
        let mut asked = 0;
        for worker in &self.workers {
            if !self.is_up() {
                break;
            }
            asked += usize::from(worker.mailbox.post(Message::Count(sender.clone())));
        }
        drop(sender);
        let counted = collect(&receiver, asked);
        let now_s = clock::unix_seconds();
        let total: usize = counted.iter().map(|counted| counted.total).sum();
        let rows: Vec<Value> = counted
            .iter()
            .flat_map(|counted| counted.rows.iter().map(|row| (counted.worker, row)))
            .take(limits::CONNECTIONS_SHOWN_MAX)
            .map(|(worker, row)| {
                json!({
                    "id": format!("{worker}-{:x}", row.key.0),
                    "address": row.peer,
                    "worker": worker,
                    "since": now_s - i64::try_from(row.age_ms / 1_000).unwrap_or(0),
                    "idle_ms": row.idle_ms,
                    "received_bytes": row.received,
                    "sent_bytes": row.sent,
                    "received_per_second": per_second(row.received, row.age_ms),
                    "sent_per_second": per_second(row.sent, row.age_ms),
                    "requests": row.requests,
                    "state": row.state,
                    "tls": row.is_tls,
                })
            })
            .collect();
        json!({
            "total": total,
            "is_complete": counted.len() == asked && rows.len() == total,
            "connections": rows,
        })
    }

    /// Closes a connection by its id in the list. False: there is none.
    pub(super) fn close_connection(&self, id: &str) -> bool {
        let Some((worker, key)) = id.split_once('-') else { return false };
        let (Ok(worker), Ok(key)) = (worker.parse::<usize>(), u64::from_str_radix(key, 16)) else {
            return false;
        };
        let Some(worker) = self.workers.get(worker).filter(|_| self.is_up()) else { return false };
        let (sender, receiver) = channel();
        worker.mailbox.post(Message::Close(Key(key), sender))
            && receiver.recv_timeout(PATIENCE) == Ok(true)
    }
}

impl Core {
    fn is_up(&self) -> bool {
        matches!(self.state(), RUNNING | DRAINING)
    }
}

/// Bytes in a second, on average since the connection came.
fn per_second(bytes: u64, age_ms: u64) -> u64 {
    (u128::from(bytes) * 1_000 / u128::from(age_ms.max(1))) as u64
}

fn collect(receiver: &Receiver<Counted>, asked: usize) -> Vec<Counted> {
    let until = Instant::now() + PATIENCE;
    let mut all = Vec::with_capacity(asked);
    while all.len() < asked {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(counted) => all.push(counted),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    all.sort_by_key(|counted| counted.worker);
    all
}

impl Worker {
    /// Tells who is connected.
    pub(super) fn count_connections(&self, sender: &Sender<Counted>) {
        let keys = self.conns.keys();
        let rows = keys.iter().take(limits::CONNECTIONS_SHOWN_MAX);
        let rows = rows.filter_map(|key| Some(self.row(*key, self.conns.get(*key)?))).collect();
        // Who has asked may have given up.
        drop(sender.send(Counted { worker: self.index, total: keys.len(), rows }));
    }

    fn row(&self, key: Key, conn: &Conn) -> Row {
        let active = conn.active.as_ref();
        Row {
            key,
            peer: conn.peer.to_string(),
            age_ms: self.now_ms.saturating_sub(conn.opened_ms),
            idle_ms: self.now_ms.saturating_sub(conn.moved_ms),
            received: conn.received_bytes,
            sent: conn.sent_bytes + active.map_or(0, |active| active.sent_bytes),
            requests: conn.requests,
            state: match active.map(|active| active.phase) {
                None if conn.requests == 0 => "new",
                None => "idle",
                Some(Phase::Head) => "head",
                Some(Phase::Body) => "body",
                Some(Phase::Answering) => "answering",
                Some(Phase::Streaming) => "streaming",
                Some(Phase::Draining) => "draining",
                Some(Phase::Lingering) => "closing",
            },
            is_tls: conn.tls.is_some() || active.is_some_and(|active| active.tls.is_some()),
        }
    }
}
