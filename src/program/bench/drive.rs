//! One thread of the load: its connections, on an epoll of its own.

use std::io::{self, ErrorKind as Io};

use neurohttp::sys::epoll::{self, Epoll};

use super::Shared;
use super::answer::Answer;
use super::tally::{Tally, Trouble};
use super::wire::Wire;

/// Between two looks at deadlines and at whether it is over.
const TICK_MS: u64 = 10;
/// A connection that cannot be made is tried again after so long.
const AGAIN_US: u64 = 50_000;

/// One connection and the request on it.
struct Lane {
    wire: Option<Wire>,
    /// Bytes of the request that are out.
    sent: usize,
    answer: Answer,
    /// When the request began.
    began_us: u64,
    /// It carries a request, or is to.
    is_busy: bool,
    /// The connection has carried an answer before.
    is_proven: bool,
    again_us: u64,
    tried: usize,
}

struct Driver<'s> {
    shared: &'s Shared,
    epoll: Epoll,
    lanes: Vec<Lane>,
    tally: Tally,
    scratch: Vec<u8>,
}

/// Drives so many connections until nothing may be begun any more.
///
/// # Errors
/// The system gives no epoll.
pub(super) fn run(shared: &Shared, connections: usize) -> io::Result<Tally> {
    let lane = |_| Lane {
        wire: None,
        sent: 0,
        answer: Answer::new(&shared.method, shared.stream),
        began_us: 0,
        is_busy: false,
        is_proven: false,
        again_us: 0,
        tried: 0,
    };
    let mut driver = Driver {
        shared,
        epoll: Epoll::new()?,
        lanes: (0..connections).map(lane).collect(),
        tally: Tally::default(),
        scratch: vec![0; 64 * 1024],
    };
    driver.run();
    Ok(driver.tally)
}

impl Driver<'_> {
    fn run(&mut self) {
        let mut events = [epoll::Event { events: 0, u64: 0 }; 256];
        let mut looked_us = 0;
        for index in 0..self.lanes.len() {
            self.begin(index);
        }
        // What is under way when the time is over is not waited for.
        while !self.shared.is_over.load(std::sync::atomic::Ordering::Relaxed)
            && self.lanes.iter().any(|lane| lane.is_busy)
        {
            let ready: Vec<u64> =
                self.epoll.wait(&mut events, Some(TICK_MS)).iter().map(|event| event.u64).collect();
            for index in ready {
                self.drive(index as usize);
            }
            let now_us = self.shared.now_us();
            if now_us - looked_us >= TICK_MS * 1_000 {
                looked_us = now_us;
                self.look(now_us);
            }
        }
    }

    /// Takes the next request for a lane, if there is one.
    fn begin(&mut self, index: usize) {
        let Some(lane) = self.lanes.get_mut(index) else { return };
        lane.is_busy = self.shared.take();
        if !lane.is_busy {
            lane.wire = None;
            return;
        }
        lane.sent = 0;
        lane.answer.reset();
        lane.began_us = self.shared.now_us();
        if lane.wire.is_none() {
            self.connect(index);
        }
    }

    fn connect(&mut self, index: usize) {
        let Some(lane) = self.lanes.get_mut(index) else { return };
        let all = &self.shared.addresses;
        let address = all[lane.tried % all.len()];
        lane.is_proven = false;
        let opened = Wire::open(address, self.shared.secure.as_ref()).and_then(|wire| {
            let interest = epoll::IN | epoll::OUT | epoll::RDHUP | epoll::EDGE;
            self.epoll.add(wire.fd(), interest, index as u64)?;
            Ok(wire)
        });
        match opened {
            Ok(wire) => lane.wire = Some(wire),
            Err(error) => self.fail(index, Trouble::Connect, error.to_string()),
        }
    }

    /// Does all that can be done on a lane now.
    fn drive(&mut self, index: usize) {
        loop {
            let Some(lane) = self.lanes.get_mut(index) else { return };
            let Some(wire) = lane.wire.as_mut().filter(|_| lane.is_busy) else { return };
            let unmade = if lane.is_proven { Trouble::Closed } else { Trouble::Connect };
            let was_ready = wire.is_ready();
            while was_ready && lane.sent < self.shared.request.len() {
                let now_us = self.shared.now_us();
                match wire.send(&self.shared.request[lane.sent..]) {
                    Ok(0) => break,
                    Ok(count) => {
                        if lane.sent == 0 && !lane.is_proven {
                            // What it took to connect is no part of the answer's time.
                            self.tally.connect.record(now_us.saturating_sub(lane.began_us));
                            lane.began_us = now_us;
                        }
                        lane.sent += count;
                    }
                    Err(error) if error.kind() == Io::WouldBlock => break,
                    Err(error) if error.kind() == Io::Interrupted => {}
                    Err(error) => return self.fail(index, unmade, error.to_string()),
                }
            }
            if let Err(error) = wire.flush()
                && error.kind() != Io::WouldBlock
            {
                return self.fail(index, unmade, error.to_string());
            }
            let got = match wire.receive(&mut self.scratch) {
                Ok(got) => got,
                // The handshake has ended in what came: now the request goes out.
                Err(error) if error.kind() == Io::WouldBlock && wire.is_ready() != was_ready => {
                    continue;
                }
                Err(error) if error.kind() == Io::WouldBlock => return,
                Err(error) if error.kind() == Io::Interrupted => continue,
                Err(error) => return self.fail(index, unmade, error.to_string()),
            };
            let now_us = self.shared.now_us();
            let elapsed_us = now_us.saturating_sub(lane.began_us);
            lane.is_proven = true;
            let fed = if got == 0 {
                lane.answer.end(&mut self.tally).map(Some)
            } else {
                self.tally.bytes += got as u64;
                lane.answer.feed(&self.scratch[..got], elapsed_us, &mut self.tally)
            };
            match fed {
                Ok(None) => {}
                Ok(Some(done)) => {
                    self.tally.answered(done.status, elapsed_us);
                    self.shared.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if !done.stays || lane.sent < self.shared.request.len() {
                        lane.wire = None;
                    }
                    self.begin(index);
                }
                Err((trouble, said)) => return self.fail(index, trouble, said),
            }
        }
    }

    /// The request has failed: the connection goes, another request takes its place after a while
    /// if no connection could be made.
    fn fail(&mut self, index: usize, trouble: Trouble, said: String) {
        self.tally.failed(trouble, || said);
        let now_us = self.shared.now_us();
        let Some(lane) = self.lanes.get_mut(index) else { return };
        lane.wire = None;
        if trouble == Trouble::Connect {
            lane.tried += 1;
            lane.again_us = now_us + AGAIN_US;
            return;
        }
        self.begin(index);
    }

    /// Requests that take too long, and connections to be tried again.
    fn look(&mut self, now_us: u64) {
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            if lane.again_us != 0 && lane.again_us <= now_us {
                lane.again_us = 0;
                self.begin(index);
            } else if lane.is_busy
                && lane.wire.is_some()
                && now_us.saturating_sub(lane.began_us) > self.shared.timeout_us
            {
                let said = format!("no answer within {} ms", self.shared.timeout_us / 1_000);
                self.fail(index, Trouble::Timeout, said);
            }
        }
    }
}
