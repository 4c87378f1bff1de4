//! The handshake between a loop and those who post to it, and that between a task and its runner, in
//! every order that threads may take.
//!
//! The inbox and its wake-up flag, and what a task and its runner share, are the library's files;
//! loom runs each model below through every order of their steps. A message that is lost fails an
//! assertion; a wake that is lost leaves the loop waiting for ever, which loom reports as a
//! deadlock.
//!
//! ```text
//! cargo run --release -p ioloop-under-loom
//! ```
//!
//! All orders there are, two millions, which takes a minute or two, but for the last model;
//! with `LOOM_MAX_PREEMPTIONS` only those in which no more threads are preempted.

mod engine;
mod task;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use loom::model::Builder;
use loom::sync::atomic::AtomicUsize as Written;
use loom::sync::{Arc, Notify};
use loom::thread::{self, JoinHandle};

use engine::inbox::{Inbox, Message};
use engine::poller::PollWaker;
use engine::queue::Queue;
use engine::scheduled::Scheduled;

mod error {
    pub(crate) struct Closed;
}

mod reactor {
    pub(crate) mod callback {
        /// A callback, by its number.
        pub(crate) struct Posted(pub(crate) usize);
    }
}

fn main() {
    explore("a loop that parks hears of every post", || {
        let mut parked = Loop::new();
        let posters = [parked.poster(0, 1), parked.poster(1, 1)];
        parked.inbox.rouse();
        while parked.ran.len() < 2 {
            parked.turn(true);
        }
        join(posters);
    });
    explore("a loop that parks hears of posts in a row, in their order", || {
        let mut parked = Loop::new();
        let poster = parked.poster(0, 3);
        parked.inbox.rouse();
        while parked.ran.len() < 3 {
            parked.turn(true);
        }
        assert_eq!(parked.ran, [0, 1, 2]);
        join([poster]);
    });
    explore("a hosted loop, which sleeps until its host is woken, hears of every post", || {
        let mut hosted = Loop::new();
        let posters = [hosted.poster(0, 1), hosted.poster(1, 1)];
        let wakes = Arc::new(PollWaker::new());
        let host = Waker::from(std::sync::Arc::new(Host(Arc::clone(&wakes))));
        hosted.inbox.rouse();
        loop {
            hosted.turn(false);
            if hosted.ran.len() == 2 {
                break;
            }
            hosted.inbox.set_host(Some(&host));
            if hosted.inbox.sleep() {
                wakes.poll(true);
                hosted.inbox.rouse();
            }
        }
        hosted.leave();
        join(posters);
    });
    explore("an embedded loop, which is left after each turn, hears of every post", || {
        let mut embedded = Loop::new();
        let posters = [embedded.poster(0, 1), embedded.poster(1, 1)];
        while embedded.ran.len() < 2 {
            embedded.inbox.waker().wait();
            embedded.inbox.rouse();
            embedded.turn(false);
            embedded.leave();
        }
        join(posters);
    });
    explore("a flood of posts to a loop that sleeps is one wake", || {
        let asleep = Loop::new();
        join([asleep.poster(0, 1), asleep.poster(1, 1)]);
        assert_eq!(asleep.inbox.waker().wakes(), 1);
    });
    explore("what is posted to a loop that closes runs, is handed back, or is refused", || {
        let mut closing = Loop::new();
        let posters = [closing.poster(0, 1), closing.poster(1, 1)];
        closing.inbox.rouse();
        closing.turn(false);
        closing.leave();
        let left = closing.inbox.close();
        assert!(closing.inbox.is_closed());
        let refused: usize = posters.into_iter().map(|poster| poster.join().unwrap()).sum();
        assert_eq!(closing.ran.len() + left.0.len() + refused, 2);
        assert!(closing.inbox.post(Message::Stop).is_err());
    });
    explore("a task that its loop and a thread wake is polled, and sees what was written", || {
        let task = Arc::new(Woken::new());
        assert!(task.scheduled.begin_poll());
        let waker = [Woken::waker(&task, 0)];
        let queued = usize::from(task.scheduled.wake_here());
        task.poll_until_seen(queued, 1);
        join(waker);
    });
    // Without a bound these are too many to wait for.
    let few_preemptions = Some(3);
    explore_within(few_preemptions, "so does one that two threads wake", || {
        let task = Arc::new(Woken::new());
        assert!(task.scheduled.begin_poll());
        let wakers = [Woken::waker(&task, 0), Woken::waker(&task, 1)];
        task.poll_until_seen(0, 2);
        join(wakers);
    });
    task::models();
}

/// Runs a model in every order of its steps.
fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
    explore_within(None, name, model);
}

/// The same, of those orders in which so many threads are preempted at the most.
fn explore_within(
    preemptions: Option<usize>,
    name: &str,
    model: impl Fn() + Sync + Send + 'static,
) {
    static ORDERS: AtomicUsize = AtomicUsize::new(0);
    ORDERS.store(0, Ordering::Relaxed);
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions.or(builder.preemption_bound);
    println!("{name}");
    builder.check(move || {
        ORDERS.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("    {} orders", ORDERS.load(Ordering::Relaxed));
}

fn join<const N: usize>(posters: [JoinHandle<usize>; N]) {
    for poster in posters {
        assert_eq!(poster.join().unwrap(), 0, "a loop that is open refuses nothing");
    }
}

/// The host of a loop, which polls it again when its waker is woken.
struct Host(Arc<PollWaker>);

impl Wake for Host {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.wake();
    }
}

/// A task, with the messages that ask for its polls.
struct Woken {
    scheduled: Scheduled,
    messages: Written,
    posted: Notify,
    /// What the wakers have to tell.
    written: [Written; 2],
}

impl Woken {
    fn new() -> Self {
        Woken {
            scheduled: Scheduled::new(),
            messages: Written::new(0),
            posted: Notify::new(),
            written: [Written::new(0), Written::new(0)],
        }
    }

    /// A thread that wakes it once.
    fn waker(task: &Arc<Self>, index: usize) -> JoinHandle<usize> {
        let task = Arc::clone(task);
        thread::spawn(move || {
            task.written[index].store(1, Ordering::Relaxed);
            if task.scheduled.wake_elsewhere() {
                task.messages.fetch_add(1, Ordering::AcqRel);
                task.posted.notify();
            }
            0
        })
    }

    /// What the loop does, with so many entries queued, until a poll has seen that all was written.
    fn poll_until_seen(&self, mut queued: usize, all: usize) {
        let mut seen = 0;
        while seen < all {
            queued += self.messages.swap(0, Ordering::AcqRel);
            if queued == 0 {
                self.posted.wait();
                continue;
            }
            queued -= 1;
            if self.scheduled.begin_poll() {
                seen = self.written.iter().map(|written| written.load(Ordering::Relaxed)).sum();
            }
        }
    }
}

/// What the engine does with its inbox.
struct Loop {
    inbox: Arc<Inbox>,
    /// The callbacks that were run.
    ran: Vec<usize>,
}

impl Loop {
    fn new() -> Self {
        let inbox = Inbox::new(PollWaker::new()).unwrap();
        Loop { inbox: Arc::new(inbox), ran: Vec::new() }
    }

    /// A thread that posts callbacks, and says how many were refused.
    fn poster(&self, first: usize, posts: usize) -> JoinHandle<usize> {
        let inbox = Arc::clone(&self.inbox);
        thread::spawn(move || {
            let callbacks =
                (first..first + posts).map(|id| Message::Callback(reactor::callback::Posted(id)));
            callbacks.filter_map(|callback| inbox.post(callback).err()).count()
        })
    }

    /// `Engine::turn`: takes the messages and polls, waiting if there is nothing to do.
    fn turn(&mut self, waits: bool) {
        let mut queue = Queue::new();
        if self.inbox.is_filled() {
            self.inbox.take(&mut queue);
        }
        let block = waits && queue.0.is_empty() && self.inbox.sleep();
        self.inbox.waker().poll(block);
        if block {
            self.inbox.rouse();
        }
        self.ran.append(&mut queue.0);
    }

    /// `Engine::leave`: what is left makes the set readable.
    fn leave(&self) {
        self.inbox.set_host(None);
        self.inbox.leave();
        if self.inbox.is_filled() {
            self.inbox.wake_loop();
        }
    }
}
