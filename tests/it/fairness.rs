//! A loop without rest and a task of its host's executor, on one thread: neither keeps the other
//! waiting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_lite::future::yield_now;
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};

/// Turns after which an attached loop returns to its host, as `IOLoop` documents.
const YIELD_INTERVAL: u32 = 61;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Loop,
    Host,
}

/// Who ran how often without the other one in between.
#[derive(Clone, Default)]
struct Spells(Rc<RefCell<Vec<(Who, u32)>>>);

impl Spells {
    fn ran(&self, who: Who) {
        let mut spells = self.0.borrow_mut();
        match spells.last_mut() {
            Some((last, times)) if *last == who => *times += 1,
            _ => spells.push((who, 1)),
        }
    }

    /// A chain of callbacks without an end.
    fn chain(self, io_loop: &IOLoop) {
        io_loop.call_soon(move || {
            self.ran(Who::Loop);
            self.chain(&IOLoop::current().unwrap());
        });
    }

    /// A task that is always ready; it stops the loop in the end.
    async fn task(self, io_loop: IOLoop) {
        for _ in 0..1000 {
            self.ran(Who::Host);
            yield_now().await;
        }
        self.ran(Who::Host);
        io_loop.stop();
    }

    fn check(self, host_spell: u32) {
        let spells = self.0.take();
        assert!(spells.len() > 8, "{spells:?}");
        for (who, times) in spells {
            let most = match who {
                Who::Loop => YIELD_INTERVAL,
                Who::Host => host_spell,
            };
            assert!(times <= most, "{who:?} ran {times} times in a row");
        }
    }
}

#[cfg(feature = "async-io")]
#[test]
fn a_task_of_an_async_executor() {
    let io_loop =
        IOLoop::builder().backend(ioloop::backends::BackendKind::AsyncIo).attach().unwrap();
    let spells = Spells::default();
    spells.clone().chain(&io_loop);
    let executor = async_executor::LocalExecutor::new();
    executor.spawn(spells.clone().task(io_loop.clone())).detach();
    async_io::block_on(executor.run(io_loop.run())).unwrap();
    // The executor runs so many tasks before it comes back to the future that it runs for.
    spells.check(200);
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use ioloop::backends::BackendKind;
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    async fn alternate(spells: Spells) {
        let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().unwrap();
        spells.clone().chain(&io_loop);
        spawn_local(spells.task(io_loop.clone()));
        io_loop.run().await.unwrap();
    }

    #[test]
    fn a_task_of_a_local_set() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let spells = Spells::default();
        LocalSet::new().block_on(&runtime, alternate(spells.clone()));
        spells.check(61);
    }

    #[test]
    fn a_task_of_a_local_runtime() {
        let options = LocalOptions::default();
        let runtime = Builder::new_current_thread().enable_all().build_local(options).unwrap();
        let spells = Spells::default();
        runtime.block_on(alternate(spells.clone()));
        spells.check(61);
    }

    #[test]
    fn a_task_beside_the_loop_in_a_task() {
        let options = LocalOptions::default();
        let runtime = Builder::new_current_thread().enable_all().build_local(options).unwrap();
        let spells = Spells::default();
        runtime.block_on(async { spawn_local(alternate(spells.clone())).await.unwrap() });
        spells.check(61);
    }
}

/// As the loop documents: it sleeps for eight microseconds at the least.
#[test]
fn timers_that_come_thick_share_their_wake_ups() {
    const TIMERS: u32 = 10_000;
    let micro = std::time::Duration::from_micros(1);
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (start, fired) = (io_loop.now(), Rc::new(Cell::new(0)));
    for n in 1..=TIMERS {
        let fired = Rc::clone(&fired);
        io_loop.call_at(start + n * micro, move || {
            fired.set(fired.get() + 1);
            if fired.get() == TIMERS {
                IOLoop::current().unwrap().stop();
            }
        });
    }
    io_loop.start().unwrap();
    let wakeups = io_loop.metrics().wakeups;
    // One more for the start, and one for the last.
    assert!(wakeups <= u64::from(TIMERS) / 8 + 2, "{wakeups}");
}
