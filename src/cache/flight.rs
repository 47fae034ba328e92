//! One answer on its way to many: identical requests that come while it is made share it.
//!
//! The leader appends to a log; each listener reads it at its own pace, from the beginning. Who
//! makes the answer is no listener, so a slow or vanished client stalls nobody: the leader pauses
//! only when even the fastest listener is far behind, and is cancelled when the last one leaves.
//! The log is bounded: when it is full, what everybody has read goes, and then the slowest listener
//! loses its place.
//!
//! `H` is what an answer begins with, `F` what it fails with. Nothing here blocks or wakes a thread
//! while it holds the lock.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

/// Is told that there is more to read. Called on the leader's thread, without a lock.
pub trait Listener: Send + Sync {
    /// Look again.
    fn moved(&self);
}

/// Who makes the answer. Called on listeners' threads, without a lock.
pub trait Leader: Send + Sync {
    /// Somebody has read on: there is room.
    fn resume(&self);
    /// Nobody listens any more.
    fn cancel(&self);
}

/// How a flight ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End<F> {
    /// The answer is complete.
    Complete,
    /// There is none: nothing had begun.
    Failed(F),
    /// It stops in the middle.
    Cut,
}

/// What a listener finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<H, F> {
    /// The beginning, once, before all else.
    Head(H),
    /// Bytes were appended.
    Bytes,
    /// Nothing yet: it will be told.
    Wait,
    /// The end.
    End(End<F>),
}

/// Bounds of one flight, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The log.
    pub log_max: usize,
    /// How far the fastest listener may be behind.
    pub lead_max: usize,
}

struct Seat {
    number: u64,
    at: u64,
    saw_head: bool,
    waits: bool,
    listener: Arc<dyn Listener>,
}

struct State<H, F> {
    head: Option<H>,
    log: Vec<u8>,
    /// Bytes that went from the front of the log.
    base: u64,
    end: Option<End<F>>,
    seats: Vec<Seat>,
    next: u64,
    leader: Option<Arc<dyn Leader>>,
    is_paused: bool,
    /// Nobody may join any more.
    is_closed: bool,
}

impl<H, F> State<H, F> {
    fn written(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn wake_list(&mut self) -> Vec<Arc<dyn Listener>> {
        let told =
            |seat: &mut Seat| std::mem::take(&mut seat.waits).then(|| Arc::clone(&seat.listener));
        self.seats.iter_mut().filter_map(told).collect()
    }
}

/// One answer in the making.
pub struct Flight<H, F> {
    state: Mutex<State<H, F>>,
    bounds: Bounds,
}

impl<H: Clone, F: Clone> Flight<H, F> {
    /// Nothing has come and nobody listens.
    pub fn new(bounds: Bounds) -> Flight<H, F> {
        let state = State {
            head: None,
            log: Vec::new(),
            base: 0,
            end: None,
            seats: Vec::new(),
            next: 0,
            leader: None,
            is_paused: false,
            is_closed: false,
        };
        Flight { state: Mutex::new(state), bounds }
    }

    // ---- the leader ----

    /// Says who makes the answer. False: nobody listens any more, there is nothing to make.
    pub fn lead(&self, leader: Arc<dyn Leader>) -> bool {
        let mut state = self.state.lock();
        state.leader = Some(leader);
        !state.is_closed
    }

    /// The answer begins.
    pub fn head(&self, head: H) {
        let mut state = self.state.lock();
        state.head = Some(head);
        let list = state.wake_list();
        drop(state);
        list.iter().for_each(|listener| listener.moved());
    }

    /// More of it. Whether the leader is to pause until it is resumed.
    pub fn append(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock();
        state.log.extend_from_slice(bytes);
        if state.log.len() > self.bounds.log_max {
            self.shorten(&mut state);
        }
        let written = state.written();
        let fastest = state.seats.iter().map(|seat| seat.at).max().unwrap_or(written);
        let is_far = written - fastest > self.bounds.lead_max as u64;
        state.is_paused = is_far;
        let list = state.wake_list();
        drop(state);
        list.iter().for_each(|listener| listener.moved());
        is_far
    }

    /// Makes room: late joiners are not possible any more, and whoever lags beyond the log is lost.
    /// The fastest listener is never: what it has not read is bounded by its lead and by one piece,
    /// and a whole answer comes as one piece.
    fn shorten(&self, state: &mut State<H, F>) {
        state.is_closed = true;
        let keep_from = state.written() - (self.bounds.log_max / 2) as u64;
        let slowest = state.seats.iter().map(|seat| seat.at).min().unwrap_or(keep_from);
        let fits = state.written() - slowest <= self.bounds.log_max as u64;
        let fastest = state.seats.iter().map(|seat| seat.at).max().unwrap_or(keep_from);
        let from = if fits { slowest } else { keep_from.min(fastest) };
        let count = usize::try_from(from - state.base).unwrap_or(0).min(state.log.len());
        state.log.drain(..count);
        state.base += count as u64;
    }

    /// It ends. Whole answers that nothing was dropped of are given back for keeping.
    pub fn end(&self, end: End<F>) -> Option<(H, Vec<u8>)> {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return None;
        }
        let whole = match (&state.head, &end) {
            (Some(head), End::Complete) if state.base == 0 => {
                Some((head.clone(), state.log.clone()))
            }
            _ => None,
        };
        state.end = Some(end);
        state.leader = None;
        let list = state.wake_list();
        drop(state);
        list.iter().for_each(|listener| listener.moved());
        whole
    }

    // ---- listeners ----

    /// Takes a seat from which the whole answer can be read; none when that is not possible any
    /// more, or when there is none: who comes after a failure has another one made.
    pub fn join(self: &Arc<Self>, listener: Arc<dyn Listener>) -> Option<Place<H, F>> {
        let mut state = self.state.lock();
        if state.is_closed || matches!(state.end, Some(End::Failed(_) | End::Cut)) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        // It is told of the beginning, whenever that comes.
        let seat = Seat { number, at: 0, saw_head: false, waits: true, listener };
        state.seats.push(seat);
        drop(state);
        Some(Place { flight: Arc::clone(self), number })
    }

    fn read(&self, number: u64, out: &mut Vec<u8>, bytes_max: usize) -> Step<H, F> {
        let mut state = self.state.lock();
        let State { head, log, base, end, seats, .. } = &mut *state;
        let Some(seat) = seats.iter_mut().find(|seat| seat.number == number) else {
            return Step::End(End::Cut);
        };
        if let (Some(head), false) = (&*head, seat.saw_head) {
            seat.saw_head = true;
            return Step::Head(head.clone());
        }
        let Some(behind) = seat.at.checked_sub(*base) else {
            // Too slow: what comes next is gone.
            return Step::End(End::Cut);
        };
        let rest = usize::try_from(behind).ok().and_then(|from| log.get(from..));
        let rest = rest.unwrap_or_default();
        let piece = rest.get(..bytes_max).unwrap_or(rest);
        if piece.is_empty() {
            return match end {
                Some(end) => Step::End(end.clone()),
                None => {
                    seat.waits = true;
                    Step::Wait
                }
            };
        }
        out.extend_from_slice(piece);
        seat.at += piece.len() as u64;
        let written = *base + log.len() as u64;
        let left = written - seat.at;
        let resumed = state.is_paused && left <= (self.bounds.lead_max / 2) as u64;
        let leader = if resumed { state.leader.clone() } else { None };
        state.is_paused &= !resumed;
        drop(state);
        if let Some(leader) = leader {
            leader.resume();
        }
        Step::Bytes
    }

    fn leave(&self, number: u64) {
        let mut state = self.state.lock();
        state.seats.retain(|seat| seat.number != number);
        if !state.seats.is_empty() || state.end.is_some() {
            return;
        }
        state.is_closed = true;
        let leader = state.leader.take();
        drop(state);
        if let Some(leader) = leader {
            leader.cancel();
        }
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.state.lock().seats.len()
    }
}

/// The duty to make an answer. However its holder goes, the answer ends: one that was not ended before
/// is cut, so nobody waits for an answer that nobody makes.
pub struct Duty<H: Clone, F: Clone>(Arc<Flight<H, F>>);

impl<H: Clone, F: Clone> Duty<H, F> {
    /// A flight, and the duty to end it.
    pub fn new(bounds: Bounds) -> Duty<H, F> {
        Duty(Arc::new(Flight::new(bounds)))
    }
}

impl<H: Clone, F: Clone> Deref for Duty<H, F> {
    type Target = Arc<Flight<H, F>>;

    fn deref(&self) -> &Arc<Flight<H, F>> {
        &self.0
    }
}

impl<H: Clone, F: Clone> Drop for Duty<H, F> {
    fn drop(&mut self) {
        self.0.end(End::Cut);
    }
}

/// A listener's place. Given up when it is dropped.
pub struct Place<H: Clone, F: Clone> {
    flight: Arc<Flight<H, F>>,
    number: u64,
}

impl<H: Clone, F: Clone> Place<H, F> {
    /// What comes next; at most `bytes_max` bytes are appended to `out`.
    pub fn read(&self, out: &mut Vec<u8>, bytes_max: usize) -> Step<H, F> {
        self.flight.read(self.number, out, bytes_max)
    }
}

impl<H: Clone, F: Clone> Drop for Place<H, F> {
    fn drop(&mut self) {
        self.flight.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counts {
        moved: AtomicUsize,
        resumed: AtomicUsize,
        cancelled: AtomicUsize,
    }

    impl Listener for Counts {
        fn moved(&self) {
            self.moved.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Leader for Counts {
        fn resume(&self) {
            self.resumed.fetch_add(1, Ordering::SeqCst);
        }
        fn cancel(&self) {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }

    type Text = Flight<&'static str, &'static str>;

    fn flight(log_max: usize, lead_max: usize) -> (Arc<Text>, Arc<Counts>) {
        let (flight, counts) = (Arc::new(Text::new(Bounds { log_max, lead_max })), Arc::default());
        assert!(flight.lead(Arc::clone(&counts) as Arc<dyn Leader>));
        (flight, counts)
    }

    fn join(flight: &Arc<Text>, counts: &Arc<Counts>) -> Place<&'static str, &'static str> {
        flight.join(Arc::clone(counts) as Arc<dyn Listener>).expect("it can be joined")
    }

    /// Wrong: a whole answer larger than the log is lost before anybody could read it.
    #[test]
    fn a_piece_larger_than_the_log_reaches_who_is_not_behind() {
        let (flight, counts) = flight(8, 4);
        let (first, second) = (join(&flight, &counts), join(&flight, &counts));
        flight.head("head");
        flight.append("a text that is longer than the log".as_bytes());
        flight.end(End::Complete);
        for place in [&first, &second] {
            let (text, end) = all(place);
            assert_eq!(text, "a text that is longer than the log");
            assert_eq!(end, Step::End(End::Complete));
        }
    }

    fn all(
        place: &Place<&'static str, &'static str>,
    ) -> (String, Step<&'static str, &'static str>) {
        let mut out = Vec::new();
        loop {
            match place.read(&mut out, 3) {
                Step::Head(_) | Step::Bytes => {}
                last => return (String::from_utf8(out).unwrap(), last),
            }
        }
    }

    #[test]
    fn late_joiners_read_the_same_from_the_beginning() {
        let (flight, counts) = flight(100, 100);
        let first = join(&flight, &counts);
        assert_eq!(all(&first), (String::new(), Step::Wait));
        flight.head("h");
        flight.append(b"hello ");
        assert_eq!(all(&first).0, "hello ");
        let second = join(&flight, &counts);
        flight.append(b"world");
        assert_eq!(flight.end(End::Complete), Some(("h", b"hello world".to_vec())));
        let third = join(&flight, &counts);
        assert_eq!(all(&first), ("world".into(), Step::End(End::Complete)));
        for place in [second, third] {
            assert_eq!(all(&place), ("hello world".into(), Step::End(End::Complete)));
        }
        assert_eq!(counts.cancelled.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn each_is_told_once_for_each_wait() {
        let (flight, counts) = flight(100, 100);
        let place = join(&flight, &counts);
        flight.head("h");
        flight.append(b"a");
        flight.append(b"b");
        assert_eq!(counts.moved.load(Ordering::SeqCst), 1);
        all(&place);
        flight.append(b"c");
        assert_eq!(counts.moved.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_fastest_sets_the_pace_and_the_slowest_loses_its_place() {
        let (flight, counts) = flight(40, 10);
        let (fast, slow) = (join(&flight, &counts), join(&flight, &counts));
        flight.head("h");
        let mut read = String::new();
        for _ in 0..10 {
            assert!(!flight.append(b"12345"));
            read += &all(&fast).0;
        }
        assert_eq!(read.len(), 50);
        assert!(matches!(all(&slow).1, Step::End(End::Cut)));
        assert!(flight.join(Arc::clone(&counts) as Arc<dyn Listener>).is_none());
        assert!(flight.append(b"more than ten"), "even the fastest is far behind");
        all(&fast);
        assert_eq!(counts.resumed.load(Ordering::SeqCst), 1);
        assert_eq!(flight.end(End::Complete), None, "a shortened log is not kept");
    }

    #[test]
    fn the_last_who_leaves_cancels() {
        let (flight, counts) = flight(100, 100);
        let (first, second) = (join(&flight, &counts), join(&flight, &counts));
        drop(first);
        assert_eq!(counts.cancelled.load(Ordering::SeqCst), 0);
        drop(second);
        assert_eq!(counts.cancelled.load(Ordering::SeqCst), 1);
        assert!(flight.join(Arc::clone(&counts) as Arc<dyn Listener>).is_none());
        assert!(!flight.lead(counts), "who begins now need not");
    }

    /// Wrong: who makes the answer is gone, and whoever listens waits for ever; or who comes later
    /// is told of a failure that is over.
    #[test]
    fn a_duty_that_is_dropped_ends_the_answer_and_the_next_has_another_one() {
        let counts = Arc::new(Counts::default());
        let duty: Duty<&str, &str> = Duty::new(Bounds { log_max: 100, lead_max: 100 });
        let flight = Arc::clone(&duty);
        let place = join(&flight, &counts);
        flight.head("h");
        flight.append(b"half");
        drop(duty);
        assert_eq!(all(&place), ("half".into(), Step::End(End::Cut)));
        assert!(flight.join(Arc::clone(&counts) as Arc<dyn Listener>).is_none());
        let duty: Duty<&str, &str> = Duty::new(Bounds { log_max: 100, lead_max: 100 });
        let place = join(&duty, &counts);
        duty.end(End::Complete);
        drop(duty);
        assert_eq!(all(&place).1, Step::End(End::Complete), "what was ended stays so");
    }

    #[test]
    fn a_failure_is_everybodys() {
        let (flight, counts) = flight(100, 100);
        let (first, second) = (join(&flight, &counts), join(&flight, &counts));
        assert_eq!(flight.end(End::Failed("no")), None);
        for place in [first, second] {
            assert_eq!(all(&place).1, Step::End(End::Failed("no")));
        }
    }
}
