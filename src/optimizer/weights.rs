//! Weights of a model's targets: requests go away from a target that has become slow, or fails,
//! and come back when it is well.
//!
//! A target is held against itself first: a provider that has always been slower keeps the weight
//! that its operator gave it. And then against the others: prompts that are longer for all of them
//! move nothing. What is lowered is halved, what is well again grows in steps, so that a target
//! which only had too much to do settles where it is quick (Chiu and Jain, "Analysis of the Increase
//! and Decrease Algorithms", 1989). A circuit breaker leaves a target alone; this is what comes before it.
#![forbid(unsafe_code)]

/// Between two judgements of a model's targets.
pub const WINDOW_MS: u64 = 1_000;
/// A weight is given up and taken back in so many parts; the last one stays.
pub const PARTS: u32 = 16;
/// So many parts are taken back in a window.
const STEP: u32 = 2;
/// Of fewer answers nothing is concluded.
const ANSWERS_MIN: u32 = 10;
/// Slow: so many times as far from its usual time as the best of the others is from its own, and
/// by so much later.
const SLOW: f64 = 2.0;
const SLOW_US: f64 = 20_000.0;
/// Well again: nearer to its usual time than this.
const WELL: f64 = 1.5;
/// One of so many attempts fails: too many. One of so many: well.
const FAILING: u32 = 5;
const FAILING_SELDOM: u32 = 20;
/// How fast the usual time follows: while all is well, and while it is not. What stays slow for a
/// quarter of an hour is usual.
const FOLLOW: f64 = 1.0 / 8.0;
const FOLLOW_SLOWLY: f64 = 1.0 / 1024.0;

/// What was seen of a target since the last judgement.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Attempts whose answer began.
    pub answers: u32,
    /// Attempts that failed.
    pub failures: u32,
    /// The times to the beginning of the answers, together, in microseconds.
    pub sum_us: u64,
}

/// What is thought of a target.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// Parts of its weight that count, 1 to [`PARTS`].
    pub parts: u32,
    /// Its usual time to the beginning of an answer, in microseconds; 0: not known.
    pub usual_us: f64,
}

impl Default for Share {
    fn default() -> Share {
        Share { parts: PARTS, usual_us: 0.0 }
    }
}

/// A judgement on one target.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Judged {
    /// What is thought of it now.
    pub share: Share,
    /// Why its parts are others than before; none: they are not.
    pub reason: Option<&'static str>,
}

impl Seen {
    fn is_enough(self) -> bool {
        self.answers.saturating_add(self.failures) >= ANSWERS_MIN
    }

    fn fails(self, one_of: u32) -> bool {
        let all = u64::from(self.answers) + u64::from(self.failures);
        u64::from(self.failures) * u64::from(one_of) >= all.max(1)
    }

    fn mean_us(self) -> Option<f64> {
        (self.answers > 0).then(|| self.sum_us as f64 / f64::from(self.answers))
    }
}

/// How many times its usual time a target takes; none: nobody knows.
fn ratio(seen: Seen, share: Share) -> Option<f64> {
    let mean_us = seen.mean_us().filter(|_| seen.is_enough())?;
    (share.usual_us > 0.0).then(|| mean_us / share.usual_us)
}

/// Judges the targets of one model, in their order.
pub fn judge(targets: &[(Seen, Share)]) -> Vec<Judged> {
    (0..targets.len()).filter_map(|index| judge_one(targets, index)).collect()
}

fn judge_one(targets: &[(Seen, Share)], index: usize) -> Option<Judged> {
    let &(seen, share) = targets.get(index)?;
    let others = || targets.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, it)| *it);
    // Nobody is better than usual: a quick minute of one makes the others no slower.
    let best = others().filter_map(|(seen, share)| ratio(seen, share)).fold(f64::MAX, f64::min);
    let own = ratio(seen, share);
    let is_slow = own.is_some_and(|own| {
        let later_us = share.usual_us * (own - 1.0);
        best < f64::MAX && own >= SLOW * best.max(1.0) && later_us >= SLOW_US
    });
    let can_others = others().any(|(seen, _)| seen.answers > 0 && !seen.fails(FAILING));
    let is_failing = seen.is_enough() && seen.fails(FAILING) && can_others;
    let is_well = !is_slow && !seen.fails(FAILING_SELDOM) && own.is_none_or(|own| own < WELL);
    let mut next = share;
    let mut reason = None;
    if is_slow || is_failing {
        next.parts = (share.parts / 2).max(1);
        reason = Some(if is_failing { "its attempts fail" } else { "it is slower than it was" });
    } else if is_well || !seen.is_enough() {
        next.parts = (share.parts + STEP).min(PARTS);
        reason = Some("it is well again");
    }
    if let Some(mean_us) = seen.mean_us().filter(|_| seen.is_enough()) {
        let follow = match (share.usual_us > 0.0, is_slow || share.parts < PARTS) {
            (false, _) => 1.0,
            (true, true) => FOLLOW_SLOWLY,
            (true, false) => FOLLOW,
        };
        next.usual_us += (mean_us - next.usual_us) * follow;
    }
    Some(Judged { share: next, reason: reason.filter(|_| next.parts != share.parts) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(answers: u32, failures: u32, mean_ms: u64) -> Seen {
        Seen { answers, failures, sum_us: u64::from(answers) * mean_ms * 1_000 }
    }

    /// Two targets over windows of these; returns the parts after each.
    fn run(windows: &[[Seen; 2]]) -> Vec<[u32; 2]> {
        let mut shares = [Share::default(); 2];
        let step = |window: &[Seen; 2]| {
            let judged = judge(&[(window[0], shares[0]), (window[1], shares[1])]);
            for (share, judged) in shares.iter_mut().zip(&judged) {
                assert_eq!(judged.reason.is_some(), judged.share.parts != share.parts);
                *share = judged.share;
            }
            [shares[0].parts, shares[1].parts]
        };
        windows.iter().map(step).collect()
    }

    /// Wrong: a target that was always slow loses what its operator gave it, or all are blamed for
    /// what none of them has done.
    #[test]
    fn what_is_usual_and_what_all_do_moves_nothing() {
        let uneven = [seen(50, 0, 10), seen(50, 0, 200)];
        let longer = [seen(50, 0, 40), seen(50, 0, 800)];
        let failing = [seen(5, 45, 10), seen(5, 45, 200)];
        let few = [seen(50, 0, 10), seen(3, 0, 5_000)];
        let noise = [seen(50, 0, 10), seen(50, 0, 215)];
        for parts in run(&[uneven, uneven, longer, longer, failing, few, noise]) {
            assert_eq!(parts, [16, 16]);
        }
        // A few milliseconds are nothing, whatever multiple they are.
        assert_eq!(run(&[[seen(50, 0, 1); 2], [seen(50, 0, 1), seen(50, 0, 15)]])[1], [16, 16]);
    }

    /// Wrong: what has become slow keeps its requests, loses all of them, or gets them back never.
    #[test]
    fn what_has_become_slow_is_given_less_and_comes_back() {
        let well = [seen(50, 0, 20), seen(50, 0, 20)];
        let slow = [seen(50, 0, 20), seen(20, 0, 100)];
        let idle = [seen(50, 0, 20), seen(2, 0, 20)];
        let halved: Vec<u32> =
            run(&[well, slow, slow, slow, slow, slow, slow]).iter().map(|parts| parts[1]).collect();
        assert_eq!(halved, [16, 8, 4, 2, 1, 1, 1]);
        let back = run(&[well, slow, slow, well, idle, well, well, well, well, well]);
        let back: Vec<_> = back.iter().map(|parts| (parts[0], parts[1])).collect();
        assert_eq!(back[3..], [(16, 6), (16, 8), (16, 10), (16, 12), (16, 14), (16, 16), (16, 16)]);
    }

    #[test]
    fn what_fails_is_given_less_while_another_does_not() {
        let well = [seen(50, 0, 20), seen(50, 0, 20)];
        let failing = [seen(50, 0, 20), seen(8, 4, 20)];
        let seldom = [seen(50, 0, 20), seen(90, 10, 20)];
        let none = [seen(50, 0, 20), seen(0, 20, 0)];
        let parts: Vec<_> =
            run(&[well, failing, seldom, none, well]).iter().map(|parts| parts[1]).collect();
        assert_eq!(parts, [16, 8, 8, 4, 6]);
    }

    /// Wrong: what is slow for good is left alone for ever. Its parts come back within the hour.
    #[test]
    fn what_stays_slow_becomes_usual() {
        let mut windows = vec![[seen(50, 0, 20), seen(50, 0, 20)]];
        windows.resize(3_600, [seen(50, 0, 20), seen(50, 0, 100)]);
        let parts = run(&windows);
        assert_eq!((parts[60][1], parts[3_599][1]), (1, 16));
    }

    /// Wrong: it does not help. Two targets that serve 100 requests a second each, one of which
    /// loses three quarters of its strength; a queue forms where more is asked than is served.
    #[test]
    fn requests_go_where_there_is_room() {
        let answered_in_time = |is_on: bool| {
            let (mut shares, mut queue, mut good) = ([Share::default(); 2], [0.0_f64; 2], 0.0);
            for second in 0..60 {
                let strength = [100.0, if second < 5 { 100.0 } else { 25.0 }];
                let whole: u32 = shares.iter().map(|share| share.parts).sum();
                let mut window = [(Seen::default(), Share::default()); 2];
                for (at, share) in shares.iter().enumerate() {
                    let asked = 110.0 * f64::from(share.parts) / f64::from(whole);
                    let waits_s = (queue[at] / strength[at]).min(10.0);
                    let served = (queue[at] + asked).min(strength[at]);
                    queue[at] = (queue[at] + asked - served).min(10.0 * strength[at]);
                    good += if waits_s < 0.5 { served } else { 0.0 };
                    window[at] = (seen(served as u32, 0, 20 + (waits_s * 1e3) as u64), *share);
                }
                if is_on {
                    for (share, judged) in shares.iter_mut().zip(judge(&window)) {
                        *share = judged.share;
                    }
                }
            }
            good
        };
        let (off, on) = (answered_in_time(false), answered_in_time(true));
        assert!(on > off * 1.3, "{on} answers in time with it, {off} without");
    }
}
