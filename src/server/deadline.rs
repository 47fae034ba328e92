//! A deadline that may move on every read at no cost: the timer that stands is armed anew only
//! when it fires too early.

use crate::base::timer::{TimerId, Wheel};

/// One deadline of one object.
pub(super) struct Deadline {
    at_ms: u64,
    armed_ms: u64,
    timer: Option<TimerId>,
}

impl Default for Deadline {
    fn default() -> Self {
        Deadline { at_ms: u64::MAX, armed_ms: u64::MAX, timer: None }
    }
}

impl Deadline {
    /// When it passes, monotonic milliseconds; `u64::MAX` is never.
    pub(super) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Moves it. `key` names the object to whoever fires the timers.
    pub(super) fn set(&mut self, wheel: &mut Wheel, at_ms: u64, key: u64) {
        self.at_ms = at_ms;
        if at_ms >= self.armed_ms {
            return;
        }
        if let Some(timer) = self.timer.take() {
            wheel.cancel(timer);
        }
        self.armed_ms = at_ms;
        self.timer = Some(wheel.arm(at_ms, key));
    }

    /// Its timer has fired. True when it has passed, and then it is over; else the timer is armed
    /// anew.
    pub(super) fn fired(&mut self, wheel: &mut Wheel, now_ms: u64, key: u64) -> bool {
        self.timer = None;
        self.armed_ms = u64::MAX;
        let at_ms = self.at_ms;
        if at_ms == u64::MAX {
            return false;
        }
        if at_ms > now_ms {
            self.set(wheel, at_ms, key);
            return false;
        }
        self.at_ms = u64::MAX;
        true
    }

    /// The object goes.
    pub(super) fn cancel(&mut self, wheel: &mut Wheel) {
        if let Some(timer) = self.timer.take() {
            wheel.cancel(timer);
        }
    }
}
