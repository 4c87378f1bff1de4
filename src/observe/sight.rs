//! What a thread beside a loop has seen of the calls that the loop makes, and since when.
//!
//! A call is told by its number, at the depth where it is. So what it calls itself, however often
//! and for however long, takes nothing off its time.

use std::time::Instant;

use super::running::{Call, Running};

/// A call that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) call: Call,
    /// When it was seen first.
    pub(crate) since: Instant,
    /// How often it was seen again. A process that was stopped, or a machine that slept, made no
    /// call last longer; and what lasted from one time to the next was seen in both.
    pub(crate) again: u32,
}

#[derive(Default)]
pub(crate) struct Sight(Vec<Seen>);

impl Sight {
    /// Sees what is running now. Returns the calls from the outermost in.
    pub(crate) fn see(&mut self, running: &Running, now: Instant) -> &[Seen] {
        let calls = running.calls();
        self.0.truncate(calls.len());
        for (depth, call) in calls.into_iter().enumerate() {
            match self.0.get_mut(depth) {
                Some(seen) if seen.call.number == call.number => {
                    seen.again = seen.again.saturating_add(1);
                }
                seen => {
                    let first = Seen { call, since: now, again: 0 };
                    match seen {
                        Some(seen) => *seen = first,
                        None => self.0.push(first),
                    }
                }
            }
        }
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Sight;
    use crate::observe::origin::Origin;
    use crate::observe::running::{Call, Running};

    /// What is seen of a loop that makes calls: its number, when it was seen first, how often
    /// again.
    struct Looks {
        running: Running,
        sight: Sight,
        begun: Instant,
        looks: u32,
    }

    impl Looks {
        fn begin(&self, number: u64) -> usize {
            self.running.begin(Call { number, origin: Origin::Callback, location: None, fd: None })
        }

        fn look(&mut self) -> Vec<(u64, u64, u32)> {
            let now = self.begun + Duration::from_secs(self.looks.into());
            self.looks += 1;
            let since = |since: Instant| (since - self.begun).as_secs();
            let seen = self.sight.see(&self.running, now).iter();
            seen.map(|seen| (seen.call.number, since(seen.since), seen.again)).collect()
        }
    }

    #[test]
    fn a_call_inside_of_a_call_took_the_time_off_that_around_it() {
        let (running, sight) = (Running::default(), Sight::default());
        let mut looks = Looks { running, sight, begun: Instant::now(), looks: 0 };
        assert_eq!(looks.look(), []);
        let outer = looks.begin(1);
        assert_eq!(looks.look(), [(1, 1, 0)]);
        for again in 1..4 {
            // One that is there each time, and another each time.
            let inner = looks.begin(u64::from(10 + again));
            assert_eq!(
                looks.look(),
                [(1, 1, again), (10 + u64::from(again), 1 + u64::from(again), 0)]
            );
            looks.running.end(inner);
        }
        let inner = looks.begin(20);
        assert_eq!(looks.look(), [(1, 1, 4), (20, 5, 0)]);
        assert_eq!(looks.look(), [(1, 1, 5), (20, 5, 1)]);
        looks.running.end(inner);
        looks.running.end(outer);
        // Between two times, another call as deep.
        looks.begin(21);
        assert_eq!(looks.look(), [(21, 7, 0)]);
    }
}
