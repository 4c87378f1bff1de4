//! Answers for as long as they may be kept.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::question::{Found, Key};

/// So many answers at the most; the oldest goes first.
pub(crate) struct Cache {
    room: usize,
    answers: HashMap<Key, Kept>,
    /// In the order in which they came, each with its number: a key may have come again.
    order: VecDeque<(Key, u64)>,
    next: u64,
}

struct Kept {
    found: Found,
    until: Instant,
    number: u64,
}

impl Cache {
    pub(crate) fn new(room: usize) -> Self {
        Cache { room, answers: HashMap::new(), order: VecDeque::new(), next: 0 }
    }

    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<Found> {
        let kept = self.answers.get(key)?;
        if kept.until <= now {
            self.answers.remove(key);
            return None;
        }
        Some(kept.found.clone())
    }

    pub(crate) fn insert(&mut self, key: Key, found: Found, ttl: Duration, now: Instant) {
        // Longer than a week nothing is believed.
        const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        if self.room == 0 || ttl.is_zero() {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.order.push_back((key.clone(), number));
        self.answers.insert(key, Kept { found, until: now + ttl.min(LONGEST), number });
        // What was replaced or is over stands in the order still, so it is bounded as well.
        while self.order.len() > self.room {
            if let Some((key, number)) = self.order.pop_front() {
                if self.answers.get(&key).is_some_and(|kept| kept.number == number) {
                    self.answers.remove(&key);
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.answers.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::question::Family;

    #[test]
    fn the_oldest_makes_room_and_what_came_again_is_not_the_oldest() {
        let key = |name: &str| Key::Addresses(name.to_owned(), Family::Any);
        let nothing = || Err(Error::Cancelled);
        let mut cache = Cache::new(3);
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        for name in ["a", "b", "a", "c"] {
            cache.insert(key(name), nothing(), minute, now);
        }
        let mut is_kept = |name: &str, after| cache.get(&key(name), now + after).is_some();
        assert!(["a", "b", "c"].into_iter().all(|name| is_kept(name, Duration::ZERO)));
        assert!(!is_kept("a", minute), "its time is over");
        cache.insert(key("d"), nothing(), minute, now);
        cache.insert(key("e"), nothing(), Duration::ZERO, now);
        let mut is_kept = |name: &str| cache.get(&key(name), now).is_some();
        assert!(!is_kept("b") && is_kept("c") && is_kept("d") && !is_kept("e"));
    }
}
