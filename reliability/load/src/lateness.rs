//! How late a timer and a post are, on a loop that does something else meanwhile.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ioloop::{IOLoop, Reactor, WeakIOLoop};

/// Between two timers, and between two posts.
const STEP: Duration = Duration::from_millis(1);

/// Sets a timer every millisecond, and has a thread post as often, until it is finished.
#[must_use = "nobody asks how late they were"]
pub struct Probe {
    timers: Rc<RefCell<Option<Vec<Duration>>>>,
    posts: Arc<Mutex<Vec<Duration>>>,
    finished: Arc<AtomicBool>,
    poster: JoinHandle<()>,
}

/// What a [`Probe`] found.
#[derive(Clone, Debug)]
pub struct Lateness {
    /// From a timer's deadline to its callback.
    pub timers: Percentiles,
    /// From a post to its callback.
    pub posts: Percentiles,
}

/// The middle, the 99th of a hundred and the worst of many durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// How many there were.
    pub count: usize,
    /// Half of them are shorter.
    pub median: Duration,
    /// 99 of a hundred are shorter.
    pub p99: Duration,
    /// None is longer.
    pub longest: Duration,
}

impl Probe {
    /// Begins on a loop.
    pub fn start(io_loop: &IOLoop) -> Probe {
        let timers = Rc::new(RefCell::new(Some(Vec::new())));
        set_timer(io_loop.downgrade(), Rc::clone(&timers));
        let (posts, finished) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let poster = {
            let (poster, posts, finished) =
                (io_loop.poster(), Arc::clone(&posts), Arc::clone(&finished));
            thread::spawn(move || {
                while !finished.load(Ordering::Relaxed) {
                    thread::sleep(STEP);
                    let (sent, posts): (_, Arc<Mutex<Vec<Duration>>>) =
                        (Instant::now(), Arc::clone(&posts));
                    let posted = poster.post(move || {
                        posts.lock().unwrap_or_else(PoisonError::into_inner).push(sent.elapsed());
                    });
                    if posted.is_err() {
                        return;
                    }
                }
            })
        };
        Probe { timers, posts, finished, poster }
    }

    /// Ends it. What is still on its way is not counted.
    pub fn finish(self) -> Lateness {
        self.finished.store(true, Ordering::Relaxed);
        // The thread only sleeps for a millisecond.
        let _ = self.poster.join();
        let timers = self.timers.borrow_mut().take().unwrap_or_default();
        let posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Lateness { timers: Percentiles::of(timers), posts: Percentiles::of(posts) }
    }

    /// How late they are on a loop that does nothing else, for `duration`.
    pub async fn idle(io_loop: &IOLoop, duration: Duration) -> Lateness {
        let probe = Probe::start(io_loop);
        ioloop::sleep(io_loop, duration).await.ok();
        probe.finish()
    }
}

fn set_timer(io_loop: WeakIOLoop, timers: Rc<RefCell<Option<Vec<Duration>>>>) {
    let Some(strong) = io_loop.upgrade() else { return };
    let deadline = strong.now() + STEP;
    strong.call_at(deadline, move || {
        if let Some(timers) = &mut *timers.borrow_mut() {
            timers.push(deadline.elapsed());
        } else {
            return;
        }
        set_timer(io_loop, timers);
    });
}

impl Percentiles {
    /// Of durations in any order.
    pub fn of(mut all: Vec<Duration>) -> Percentiles {
        all.sort_unstable();
        let at = |share: f64| {
            let place = (all.len() as f64 * share) as usize;
            all.get(place.min(all.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Percentiles { count: all.len(), median: at(0.5), p99: at(0.99), longest: at(1.0) }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { count, median, p99, longest } = self;
        write!(f, "median {median:.1?}, p99 {p99:.1?}, longest {longest:.1?} of {count}")
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "late: timers {}; posts {}", self.timers, self.posts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_and_of_none() {
        let hundred = (1..=100).rev().map(Duration::from_millis).collect();
        let found = Percentiles::of(hundred);
        assert_eq!(found.count, 100);
        assert_eq!(found.median, Duration::from_millis(51));
        assert_eq!(found.p99, Duration::from_millis(100));
        assert_eq!(found.longest, Duration::from_millis(100));
        assert_eq!(Percentiles::of(Vec::new()).longest, Duration::ZERO);
    }
}
