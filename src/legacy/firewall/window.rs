//! Counting over a sliding time without remembering every event.

use std::collections::VecDeque;

/// Pieces a window is divided into; one more may be in part outside.
const PIECES: i64 = 60;

/// How often something happened lately.
#[derive(Clone, Default)]
pub struct Window {
    /// Events per piece of time, oldest first.
    pieces: VecDeque<(i64, u32)>,
}

impl Window {
    /// Counts one event and returns how many there were in the last `span_s` seconds, this one included.
    /// The count is exact for spans up to a minute, for longer ones to a sixtieth of the span.
    pub fn add(&mut self, now: i64, span_s: i64) -> u32 {
        let piece_s = (span_s / PIECES).max(1);
        let piece = now.div_euclid(piece_s);
        let oldest = now.saturating_sub(span_s.max(1)).div_euclid(piece_s);
        // A clock set back must not leave events of the future in the count.
        self.pieces.retain(|(at, _)| *at > oldest && *at <= piece);
        match self.pieces.back_mut() {
            Some((at, count)) if *at == piece => *count = count.saturating_add(1),
            _ => self.pieces.push_back((piece, 1)),
        }
        self.pieces.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_the_window_after_its_span() {
        let mut window = Window::default();
        for (now, expected) in [(0, 1), (0, 2), (59, 3), (60, 2), (118, 3), (119, 3), (1000, 1)] {
            assert_eq!(window.add(now, 60), expected, "at {now}");
        }
    }

    #[test]
    fn a_clock_set_back_starts_anew_and_memory_is_bounded() {
        let mut window = Window::default();
        window.add(1000, 60);
        assert_eq!(window.add(10, 60), 1);
        for now in 0..100_000 {
            window.add(now, 86_400);
        }
        assert!(window.pieces.len() <= PIECES as usize + 1);
    }
}
