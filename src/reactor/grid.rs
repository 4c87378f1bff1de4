//! The arithmetic of what repeats: when the next tick is, and how far jitter moves it.

use std::time::{Duration, Instant};

use crate::reactor::contract::deadline_after;

/// The first instant after `now` on the grid through `due`, and not `due` itself.
pub(crate) fn next_tick(due: Instant, period: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due);
    let missed = late.as_nanos() / period.as_nanos();
    let rest = late.as_nanos() % period.as_nanos();
    if missed == 0 {
        return deadline_after(due, period);
    }
    // The rest is shorter than a period, whose nanoseconds may not fit; but then nothing was
    // missed.
    let rest = Duration::from_nanos(u64::try_from(rest).unwrap_or(0));
    deadline_after(now, period - rest)
}

/// A period somewhere in a window around `period` that is `jitter` of it wide; `random`, which is
/// at least zero and less than one, says where.
pub(crate) fn jittered(period: Duration, jitter: f64, random: f64) -> Duration {
    if jitter == 0.0 {
        // Which no rounding may move off the grid.
        return period;
    }
    let factor = 1.0 + jitter * (random - 0.5);
    Duration::try_from_secs_f64(period.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// Whether every period in the window is longer than nothing.
pub(crate) fn is_jitter_possible(period: Duration, jitter: f64) -> bool {
    (0.0..2.0).contains(&jitter) && !jittered(period, jitter, 0.0).is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    #[test]
    fn the_next_tick_is_on_the_grid_and_in_the_future() {
        let due = Instant::now();
        let after = |millis| due + Duration::from_millis(millis);
        assert_eq!(next_tick(due, PERIOD, due), after(10));
        assert_eq!(next_tick(due, PERIOD, after(9)), after(10));
        assert_eq!(next_tick(due, PERIOD, after(10)), after(20));
        assert_eq!(next_tick(due, PERIOD, after(37)), after(40));
        assert!(next_tick(due, Duration::MAX, after(1)) > after(1_000_000));
    }

    #[test]
    fn ticks_follow_each_other_by_a_period() {
        let start = Instant::now();
        let mut due = start;
        for tick in 1..=100 {
            due = next_tick(due, PERIOD, due);
            assert_eq!(due, start + tick * PERIOD);
        }
    }

    #[test]
    fn a_clock_behind_the_tick_does_not_repeat_it() {
        let due = Instant::now() + Duration::from_secs(1);
        assert_eq!(next_tick(due, PERIOD, due - PERIOD), due + PERIOD);
    }

    #[test]
    fn a_long_lateness_and_a_short_period_keep_the_grid() {
        let due = Instant::now();
        let period = Duration::from_nanos(3);
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let next = next_tick(due, period, due + year);
        assert!(next > due + year && next <= due + year + period);
        assert_eq!((next - due).as_nanos() % period.as_nanos(), 0);
    }

    #[test]
    fn jitter_is_a_window_around_the_period() {
        let millis = |jitter, random| jittered(PERIOD, jitter, random).as_micros();
        // Tornado's own numbers.
        assert_eq!(
            [0.5, 1.0, 0.0, 0.75].map(|random| millis(0.5, random)),
            [10000, 12500, 7500, 11250]
        );
        assert_eq!(millis(0.0, 0.9), 10000);
        assert_eq!(jittered(Duration::MAX, 1.0, 0.9), Duration::MAX);
        let odd = Duration::new(10_000_000, 1);
        assert_eq!(jittered(odd, 0.0, 0.9), odd);
    }

    #[test]
    fn jitter_that_leaves_no_period_is_impossible() {
        for possible in [0.0, 0.1, 1.0, 1.9] {
            assert!(is_jitter_possible(PERIOD, possible), "{possible}");
        }
        for impossible in [2.0, 3.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(!is_jitter_possible(PERIOD, impossible), "{impossible}");
        }
        assert!(!is_jitter_possible(Duration::from_nanos(1), 1.9));
    }
}
