//! An own or embedded loop drives the executor of its backend.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use async_executor::{Executor, LocalExecutor};
use futures_lite::future::yield_now;
use ioloop::backends::async_io::AsyncIoBackend;
use ioloop::backends::{Backend, BackendKind};
use ioloop::observe::Origin;
use ioloop::{IOLoop, Reactor, bridge};
use rustix::event::{PollFd, PollFlags, poll};

/// A loop whose backend drives an executor, and how to come to that one.
struct Kind {
    name: &'static str,
    own: fn() -> IOLoop,
    with: fn(Arc<Executor<'static>>) -> IOLoop,
    with_local: fn(Rc<LocalExecutor<'static>>) -> IOLoop,
    executor: fn(&IOLoop) -> Arc<Executor<'static>>,
}

fn hosted(backend: impl Backend) -> IOLoop {
    IOLoop::builder().host(backend).build().unwrap()
}

const ASYNC_IO: Kind = Kind {
    name: "async-io",
    own: || IOLoop::builder().backend(BackendKind::AsyncIo).build().unwrap(),
    with: |executor| hosted(AsyncIoBackend::with_executor(executor)),
    with_local: |executor| hosted(AsyncIoBackend::with_local_executor(executor)),
    executor: |io_loop| io_loop.backend::<AsyncIoBackend>().unwrap().executor(),
};

#[cfg(feature = "smol")]
const SMOL: Kind = {
    use ioloop::backends::smol::SmolBackend;
    Kind {
        name: "smol",
        own: || IOLoop::builder().backend(BackendKind::Smol).build().unwrap(),
        with: |executor| hosted(SmolBackend::with_executor(executor)),
        with_local: |executor| hosted(SmolBackend::with_local_executor(executor)),
        executor: |io_loop| io_loop.backend::<SmolBackend>().unwrap().executor(),
    }
};

/// How a loop is driven until it is stopped.
#[derive(Clone, Copy, Debug)]
enum Driven {
    Own,
    /// By a foreign loop that waits for the descriptor.
    Embedded,
}

impl Driven {
    fn until_stopped(self, io_loop: &IOLoop) {
        match self {
            Driven::Own => io_loop.start().unwrap(),
            Driven::Embedded => loop {
                let descriptor = io_loop.descriptor().unwrap();
                poll(&mut [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)], None)
                    .unwrap();
                if io_loop.turn(Some(Duration::ZERO)).unwrap().stopped {
                    break;
                }
            },
        }
    }
}

fn each(test: impl Fn(&Kind, Driven)) {
    let kinds = [
        ASYNC_IO,
        #[cfg(feature = "smol")]
        SMOL,
    ];
    for kind in &kinds {
        for driven in [Driven::Own, Driven::Embedded] {
            // Seen where the test fails.
            eprintln!("{} {driven:?}", kind.name);
            test(kind, driven);
        }
    }
}

fn stop_from(io_loop: &IOLoop) -> impl Fn() + Send + 'static {
    let handle = io_loop.handle();
    move || handle.stop().unwrap()
}

// B287
#[test]
fn a_task_spawned_on_any_thread_runs_on_the_loops() {
    each(|kind, driven| {
        let io_loop = (kind.own)();
        let executor = (kind.executor)(&io_loop);
        let (ids, ran) = std::sync::mpsc::channel::<ThreadId>();
        let stop = stop_from(&io_loop);
        let spawner = thread::spawn(move || {
            executor
                .spawn(async move {
                    assert!(IOLoop::current().is_some());
                    yield_now().await;
                    ids.send(thread::current().id()).unwrap();
                    stop();
                })
                .detach();
        });
        driven.until_stopped(&io_loop);
        spawner.join().unwrap();
        assert_eq!(ran.recv().unwrap(), thread::current().id());
    });
}

// B287
#[test]
fn an_executor_that_is_made_in_a_callback_is_driven_from_the_next_turn_on() {
    each(|kind, driven| {
        let io_loop = (kind.own)();
        let (executor, turn) = (kind.executor, Rc::new(Cell::new(0)));
        let spawned_in = Rc::clone(&turn);
        io_loop.call_soon(move || {
            let io_loop = IOLoop::current().unwrap();
            spawned_in.set(io_loop.metrics().turns);
            let stop = stop_from(&io_loop);
            executor(&io_loop).spawn(async move { stop() }).detach();
        });
        driven.until_stopped(&io_loop);
        // One turn asks the backend, the next one polls, and the stop ends the one after that.
        assert!(io_loop.metrics().turns - turn.get() <= 3);
    });
}

// B287
#[test]
fn tasks_of_a_local_executor_and_of_one_for_any_thread_run_side_by_side() {
    each(|kind, driven| {
        let local = Rc::new(LocalExecutor::new());
        let io_loop = (kind.with_local)(Rc::clone(&local));
        let log = Rc::new(RefCell::new(Vec::new()));
        let inner = Rc::clone(&log);
        local.spawn(async move { inner.borrow_mut().push("local") }).detach();
        let stop = stop_from(&io_loop);
        let executor = kind.executor;
        io_loop.call_soon(move || {
            let executor = executor(&IOLoop::current().unwrap());
            executor.spawn(async move { stop() }).detach();
        });
        driven.until_stopped(&io_loop);
        assert_eq!(*log.borrow(), ["local"]);
    });
}

// B288
#[test]
fn a_wake_from_another_thread_wakes_a_sleeping_loop() {
    each(|kind, driven| {
        let io_loop = (kind.own)();
        let executor = (kind.executor)(&io_loop);
        let (wakes, woken) = async_channel();
        let stop = stop_from(&io_loop);
        executor
            .spawn(async move {
                woken.await;
                stop();
            })
            .detach();
        // Woken once the loop has nothing to do but wait.
        let mut wakes = Some(wakes);
        let sleeping = io_loop.before_sleep(move || {
            if let Some(wakes) = wakes.take() {
                thread::spawn(move || wakes.resolve(()));
            }
            ioloop::hooks::BeforeSleep::Sleep
        });
        driven.until_stopped(&io_loop);
        sleeping.remove();
    });
}

fn async_channel() -> (ioloop::Resolver<()>, impl Future<Output = ()> + Send) {
    let (resolver, deferred) = ioloop::deferred();
    (resolver, async move {
        let _ = deferred.await;
    })
}

// B289, B290
#[test]
fn what_a_loop_has_not_run_is_run_by_whoever_drives_the_executor_next() {
    each(|kind, driven| {
        let executor = Arc::new(Executor::new());
        let (first, second) = ((kind.with)(executor.clone()), (kind.with)(executor.clone()));
        let ran = Arc::new(AtomicU32::new(0));
        for _ in 0..100 {
            let ran = Arc::clone(&ran);
            executor.spawn(async move { _ = ran.fetch_add(1, Ordering::Relaxed) }).detach();
        }
        assert_eq!(ran.load(Ordering::Relaxed), 0, "nobody drives it");
        // One turn runs some.
        first.stop();
        driven.until_stopped(&first);
        let some = ran.load(Ordering::Relaxed);
        assert!(some < 100, "{some}");
        let stop = stop_from(&second);
        executor.spawn(async move { stop() }).detach();
        driven.until_stopped(&second);
        assert_eq!(ran.load(Ordering::Relaxed), 100);
        first.close().unwrap();
        let stop = stop_from(&second);
        executor.spawn(async move { stop() }).detach();
        driven.until_stopped(&second);
    });
}

// B291
#[test]
fn a_flood_of_tasks_and_the_rest_of_the_loop_leave_each_other_their_share() {
    each(|kind, driven| {
        let io_loop = (kind.own)();
        let executor = (kind.executor)(&io_loop);
        let polls = Arc::new(AtomicU32::new(0));
        for _ in 0..50 {
            let polls = Arc::clone(&polls);
            let flood = async move {
                loop {
                    polls.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            };
            executor.spawn(flood).detach();
        }
        // A callback in each turn counts the polls since the one before.
        let most = Rc::new(Cell::new(0));
        fn count(before: u32, left: u32, polls: Arc<AtomicU32>, most: Rc<Cell<u32>>) {
            let now = polls.load(Ordering::Relaxed);
            most.set(most.get().max(now - before));
            let io_loop = IOLoop::current().unwrap();
            match left {
                0 => io_loop.stop(),
                _ => drop(io_loop.call_soon(move || count(now, left - 1, polls, most))),
            }
        }
        let (inner, seen) = (Rc::clone(&most), Arc::clone(&polls));
        io_loop.call_soon(move || count(0, 500, seen, inner));
        driven.until_stopped(&io_loop);
        assert!((1..=8).contains(&most.get()), "{} tasks in a turn", most.get());
        let all = polls.load(Ordering::Relaxed);
        assert!(all >= 500, "the callbacks left them {all} polls in 500 turns");
    });
}

// B292
#[test]
fn the_panic_of_a_task_is_its_awaiters_and_loop_and_executor_go_on() {
    each(|kind, driven| {
        let io_loop = (kind.own)();
        let executor = (kind.executor)(&io_loop);
        let reported = Rc::new(Cell::new(0));
        let counter = Rc::clone(&reported);
        io_loop.set_exception_handler(move |_| counter.set(counter.get() + 1));
        let panics = executor.spawn(async { panic!("of a task") });
        let stop = stop_from(&io_loop);
        let after = executor.spawn(async move {
            stop();
            7
        });
        driven.until_stopped(&io_loop);
        let awaited = catch_unwind(AssertUnwindSafe(|| futures_lite::future::block_on(panics)));
        assert_eq!(*awaited.unwrap_err().downcast::<&str>().unwrap(), "of a task");
        assert_eq!(futures_lite::future::block_on(after), 7);
        assert_eq!(reported.get(), 0, "it is the task's");
    });
}

// B292
#[test]
fn a_detached_tasks_panic_is_dropped_by_the_executor_and_reported_once_under_a_bridge() {
    each(|kind, driven| {
        let io_loop = (kind.own)();
        let executor = (kind.executor)(&io_loop);
        let reports = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&reports);
        io_loop.set_exception_handler(move |exception| {
            let message = exception.message().map(str::to_owned);
            log.borrow_mut().push((exception.origin, message));
        });
        executor.spawn(async { panic!("of a task") }).detach();
        bridge::to_executor(&executor, async { panic!("under a bridge") }).keep().detach();
        let awaited = bridge::to_executor(&executor, async { panic!("awaited") });
        let stop = stop_from(&io_loop);
        executor.spawn(async move { stop() }).detach();
        driven.until_stopped(&io_loop);
        let error = Result::<(), _>::unwrap_err(futures_lite::future::block_on(awaited));
        assert!(error.is_panic());
        let expected = (Origin::Task, Some(String::from("under a bridge")));
        assert_eq!(*reports.borrow(), [expected]);
        assert!(executor.is_empty());
    });
}

// B293
#[test]
fn closing_drops_the_tasks_of_an_executor_that_the_loop_made_and_of_no_other() {
    each(|kind, driven| {
        for made in [true, false] {
            let given = Arc::new(Executor::new());
            let io_loop = if made { (kind.own)() } else { (kind.with)(given.clone()) };
            let executor = if made { (kind.executor)(&io_loop) } else { given.clone() };
            let captured = Arc::new(());
            let held = Arc::downgrade(&captured);
            executor
                .spawn(async move {
                    pending::<()>().await;
                    drop(captured);
                })
                .detach();
            let stop = stop_from(&io_loop);
            executor.spawn(async move { stop() }).detach();
            driven.until_stopped(&io_loop);
            drop(executor);
            assert!(held.upgrade().is_some());
            io_loop.close().unwrap();
            assert_eq!(held.upgrade().is_none(), made);
        }
    });
}

// B294
#[test]
fn an_attached_loop_leaves_its_executor_to_its_host() {
    let executor = Arc::new(Executor::new());
    let backend = AsyncIoBackend::with_executor(executor.clone());
    let io_loop = IOLoop::builder().host(backend).attach().unwrap();
    let task = executor.spawn(async { 7 });
    let run = io_loop.run_until(ioloop::sleep(&io_loop, Duration::from_millis(1)));
    async_io::block_on(run).unwrap().unwrap();
    assert!(!task.is_finished());
    assert_eq!(async_io::block_on(executor.run(task)), 7);
}

/// A backend from outside whose executor panics once.
#[test]
fn an_executor_that_panics_is_reported_once_and_asked_for_anew() {
    use std::io;
    use std::task::Waker;

    use ioloop::backends::{Registration, RuntimeTasks};

    struct Panics(Cell<u32>);

    impl Backend for Panics {
        fn name(&self) -> &str {
            "panics"
        }

        fn register(&self, _: ioloop::backends::Descriptor) -> io::Result<Box<dyn Registration>> {
            unreachable!("an own loop parks in its descriptor")
        }

        fn run_tasks(&self, _: &Waker) -> Option<RuntimeTasks> {
            let asked = self.0.replace(self.0.get() + 1);
            Some(Box::pin(async move {
                if asked == 0 {
                    panic!("of an executor");
                }
                IOLoop::current().unwrap().stop();
                pending().await
            }))
        }
    }

    let io_loop = hosted(Panics(Cell::new(0)));
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&reports);
    io_loop.set_exception_handler(move |exception| log.borrow_mut().push(exception.origin));
    io_loop.start().unwrap();
    assert_eq!(*reports.borrow(), [Origin::RuntimeTask]);
}

#[test]
fn a_loop_that_goes_to_another_thread_takes_its_executor_along_unless_it_is_bound_to_this_one() {
    each(|kind, _| {
        let executor = Arc::new(Executor::new());
        let sendable = (kind.with)(executor.clone()).into_sendable().unwrap();
        let driver = thread::spawn(move || sendable.into_loop().start());
        let task = executor.spawn(async {
            IOLoop::current().unwrap().stop();
            thread::current().id()
        });
        let id = driver.thread().id();
        driver.join().unwrap().unwrap();
        assert_eq!(futures_lite::future::block_on(task), id);
        let bound = (kind.with_local)(Rc::new(LocalExecutor::new()));
        assert!(bound.into_sendable().is_err());
    });
}

/// Queueing takes what was posted out of the inbox, to keep the order.
#[test]
fn a_loop_that_went_to_another_thread_forgot_its_executor_and_a_stop_that_it_had_taken_in() {
    each(|kind, _| {
        let executor = Arc::new(Executor::new());
        let io_loop = (kind.with)(executor.clone());
        assert!(io_loop.call_soon(|| ()).cancel());
        let sendable = io_loop.into_sendable().unwrap();
        let task = executor.spawn(async { IOLoop::current().unwrap().stop() });
        thread::spawn(move || sendable.into_loop().start().unwrap()).join().unwrap();
        assert!(task.is_finished());

        for by_handle in [true, false] {
            let io_loop = (kind.own)();
            match by_handle {
                true => io_loop.handle().stop().unwrap(),
                false => io_loop.stop(),
            }
            assert!(io_loop.call_soon(|| ()).cancel());
            let sendable = io_loop.into_sendable().unwrap();
            // It returns at once.
            thread::spawn(move || sendable.into_loop().start().unwrap()).join().unwrap();
        }
    });
}
