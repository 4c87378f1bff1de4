//! Whatever floods a loop, each of the others gets its share: in turns, counted.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_executor::Executor;
use futures_lite::future::yield_now;
use ioloop::{IOLoop, Reactor};

use testkit::ways::every_way;

/// Turns that a flood is watched for.
const TURNS: u64 = 400;

/// Turns after which the descriptors are polled, and the host gets its turn, busy as the loop
/// may be.
const INTERVAL: u64 = 61;

/// Of a flood, in each turn.
const UNITS: usize = 300;

/// What runs without an end, once for each unit of it in each turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Callback,
    Timer,
    Descriptor,
    Task,
    /// Posted by another thread, no more than so many ahead of the loop.
    Post,
    /// A task of the executor that the loop drives, if it drives one.
    Spawned,
}

const KINDS: [Kind; 5] = [Kind::Callback, Kind::Timer, Kind::Descriptor, Kind::Task, Kind::Post];

/// Begins to run `each` for ever, `units` times a turn.
fn begin(kind: Kind, units: usize, io_loop: &IOLoop, over: &Arc<AtomicBool>, each: Rc<dyn Fn()>) {
    fn callback(each: Rc<dyn Fn()>) {
        each();
        IOLoop::current().unwrap().call_soon(move || callback(each));
    }
    fn timer(each: Rc<dyn Fn()>) {
        each();
        IOLoop::current().unwrap().call_later(Duration::ZERO, move || timer(each));
    }
    for _ in 0..units {
        let each = Rc::clone(&each);
        match kind {
            Kind::Callback => drop(io_loop.call_soon(move || callback(each))),
            Kind::Timer => drop(io_loop.call_later(Duration::ZERO, move || timer(each))),
            Kind::Descriptor => {
                let (mut ours, theirs) = UnixStream::pair().unwrap();
                ours.write_all(b"never read").unwrap();
                // The far end lives as long as the watch.
                let reader = move |_: &UnixStream| {
                    let _open = &ours;
                    each();
                };
                io_loop.add_reader(theirs, reader).unwrap();
            }
            Kind::Task => drop(io_loop.spawn(async move {
                loop {
                    each();
                    yield_now().await;
                }
            })),
            Kind::Spawned => spawn(io_loop, each),
            Kind::Post => {}
        }
    }
    if kind == Kind::Post {
        post(units, io_loop, over, each);
    }
}

thread_local! {
    /// What a post runs, on the loop's thread.
    static POSTED: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    /// What the executor's tasks run, each what is in its place.
    static SPAWNED: RefCell<Vec<Rc<dyn Fn()>>> = const { RefCell::new(Vec::new()) };
}

/// Tasks of the executor that are polled in one turn.
const TASKS_PER_TURN: u64 = 8;

/// Runs `each` in a task of the loop's executor.
fn spawn(io_loop: &IOLoop, each: Rc<dyn Fn()>) {
    let place = SPAWNED.with_borrow_mut(|spawned| {
        spawned.push(each);
        spawned.len() - 1
    });
    let task = async move {
        loop {
            SPAWNED.with_borrow(|spawned| Rc::clone(&spawned[place]))();
            yield_now().await;
        }
    };
    executor(io_loop).unwrap().spawn(task).detach();
}

/// The executor that the loop drives.
fn executor(io_loop: &IOLoop) -> Option<Arc<Executor<'static>>> {
    #[cfg(feature = "async-io")]
    if let Some(backend) = io_loop.backend::<ioloop::backends::async_io::AsyncIoBackend>() {
        return (!io_loop.is_attached()).then(|| backend.executor());
    }
    #[cfg(feature = "smol")]
    if let Some(backend) = io_loop.backend::<ioloop::backends::smol::SmolBackend>() {
        return (!io_loop.is_attached()).then(|| backend.executor());
    }
    let _ = io_loop;
    None
}

fn post(units: usize, io_loop: &IOLoop, over: &Arc<AtomicBool>, each: Rc<dyn Fn()>) {
    POSTED.set(Some(each));
    let (handle, over) = (io_loop.handle(), Arc::clone(over));
    let ahead = Arc::new(AtomicUsize::new(0));
    let flood = move || {
        while !over.load(Ordering::Relaxed) {
            if ahead.load(Ordering::Relaxed) >= units {
                thread::yield_now();
                continue;
            }
            ahead.fetch_add(1, Ordering::Relaxed);
            let ahead = Arc::clone(&ahead);
            let posted = handle.add_callback(move || {
                ahead.fetch_sub(1, Ordering::Relaxed);
                POSTED.with_borrow(|each| each.as_ref().unwrap()());
            });
            if posted.is_err() {
                return;
            }
        }
    };
    thread::spawn(flood);
}

/// The most turns that passed between two runs.
#[derive(Default)]
struct Gap {
    last: Cell<u64>,
    most: Cell<u64>,
    runs: Cell<u64>,
}

impl Gap {
    fn note(&self, turn: u64) {
        if self.runs.replace(self.runs.get() + 1) > 0 {
            self.most.set(self.most.get().max(turn - self.last.get()));
        }
        self.last.set(turn);
    }

    fn check(&self, what: &str, end: u64, most: u64) {
        assert!(self.runs.get() > 0, "{what} never ran");
        // The turn that stops is one more.
        assert!(end - self.last.get() <= most + 1, "{what} stopped running");
        assert!(self.most.get() <= most, "{what} had to wait {} turns", self.most.get());
    }
}

// B291
/// A loop polls when its calls have taken long. It polled once more after each sleep of its tasks,
/// whose time it had counted.
#[test]
fn the_time_of_a_sleep_was_charged_to_the_calls_after_it() {
    const SLEEPS: u64 = 20;
    every_way(|way| {
        let io_loop = way.io_loop();
        if way.is_attached() || way.name == "own tokio" {
            return;
        }
        let polls = way.run(&io_loop, async {
            let before = io_loop.metrics().polls;
            for _ in 0..SLEEPS {
                ioloop::sleep(&io_loop, Duration::from_millis(1)).await.unwrap();
            }
            io_loop.metrics().polls - before
        });
        // And one after so many calls.
        assert!(polls <= SLEEPS + 1, "{polls} polls");
    });
}

#[test]
fn no_flood_keeps_the_others_from_running() {
    every_way(|way| {
        for flood in KINDS.into_iter().chain([Kind::Spawned]) {
            let io_loop = way.io_loop();
            let has_executor = executor(&io_loop).is_some();
            if flood == Kind::Spawned && !has_executor {
                continue;
            }
            let over = Arc::new(AtomicBool::new(false));
            let victims = [Kind::Callback, Kind::Timer, Kind::Descriptor, Kind::Task];
            let victims = victims.into_iter().chain(has_executor.then_some(Kind::Spawned));
            let gaps: Vec<_> = victims.map(|kind| (kind, Rc::new(Gap::default()))).collect();
            for (kind, gap) in &gaps {
                let gap = Rc::clone(gap);
                let note = Rc::new(move || gap.note(IOLoop::current().unwrap().metrics().turns));
                begin(*kind, 1, &io_loop, &over, note);
            }
            begin(flood, UNITS, &io_loop, &over, Rc::new(|| ()));
            let stop_at = io_loop.metrics().turns + TURNS;
            let count = Rc::new(move || {
                let io_loop = IOLoop::current().unwrap();
                if io_loop.metrics().turns >= stop_at {
                    io_loop.stop();
                }
            });
            begin(Kind::Callback, 1, &io_loop, &over, count);
            way.until_stopped(&io_loop);
            over.store(true, Ordering::Relaxed);
            let end = io_loop.metrics().turns;
            for (kind, gap) in gaps {
                // With callbacks in every turn a poll may be left out so often; then all that is
                // ready is served.
                let most = match kind {
                    Kind::Descriptor => INTERVAL + 1,
                    // The others of the executor come first.
                    Kind::Spawned if flood == kind => UNITS as u64 / TASKS_PER_TURN + 1,
                    _ => 1,
                };
                gap.check(
                    &format!("{}: {kind:?} beside a flood of {flood:?}s", way.name),
                    end,
                    most,
                );
            }
            io_loop.close().unwrap();
            POSTED.set(None);
            SPAWNED.take();
        }
    });
}

/// A task of the host's own, beside a loop that is never idle, and the other way round.
#[cfg(feature = "tokio")]
#[test]
fn a_flooded_loop_and_the_tasks_of_its_host_let_each_other_run() {
    use ioloop::backends::BackendKind;
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::spawn_local;

    /// How often tasks of the host may be polled between two turns, for each of them: tokio looks
    /// at its other queues after 61 polls, and the loop's own waker goes through one of them.
    const HOST_TASKS: u64 = 50;

    for flood in KINDS {
        let options = LocalOptions::default();
        let runtime = Builder::new_current_thread().enable_all().build_local(options).unwrap();
        runtime.block_on(async {
            let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach().unwrap();
            let over = Arc::new(AtomicBool::new(false));
            begin(flood, 100, &io_loop, &over, Rc::new(|| ()));
            // The loop is never idle, whatever the flood's thread is at.
            begin(Kind::Callback, 1, &io_loop, &over, Rc::new(|| ()));
            let stop_at = io_loop.metrics().turns + 20 * TURNS;
            let (gap, polls, most) =
                (Rc::new(Gap::default()), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            for _ in 0..HOST_TASKS {
                let (io_loop, gap) = (io_loop.clone(), Rc::clone(&gap));
                let (polls, most) = (Rc::clone(&polls), Rc::clone(&most));
                spawn_local(async move {
                    while io_loop.metrics().turns < stop_at {
                        let turn = io_loop.metrics().turns;
                        polls.set(if gap.last.get() == turn { polls.get() + 1 } else { 0 });
                        most.set(most.get().max(polls.get()));
                        gap.note(turn);
                        yield_now().await;
                    }
                    io_loop.stop();
                });
            }
            io_loop.run().await.unwrap();
            over.store(true, Ordering::Relaxed);
            gap.check(&format!("the host beside {flood:?}s"), io_loop.metrics().turns, INTERVAL);
            let most = most.get();
            assert!(
                most <= 3 * HOST_TASKS,
                "{flood:?}: {most} polls of the host's between two turns"
            );
            io_loop.close().unwrap();
            POSTED.set(None);
        });
    }
}

// B266, B297
/// The host's own timers and sockets, beside a loop that is never idle: told within twice the calls
/// after which the loop yields.
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod drivers {
    use std::future::{Future, poll_fn};
    use std::pin::{Pin, pin};
    use std::sync::atomic::AtomicU64;
    use std::task::{Context, Wake, Waker};
    use std::thread::ThreadId;
    use std::time::Instant;

    use futures_lite::future::or;

    use super::*;

    /// Units of a flood, which a turn finishes before the loop yields.
    const UNITS: usize = 50;
    const MOST: u64 = 2 * (INTERVAL + UNITS as u64);
    const TIMES: usize = 5;
    /// No timer of a host is later than this by its own coarseness.
    const COARSE: Duration = Duration::from_millis(3);

    /// Counts the calls of a flood between something that happens and the host's hearing of it.
    #[derive(Default)]
    struct Heard {
        due: Cell<Option<Instant>>,
        /// Written to by the next call.
        peer: RefCell<Option<UnixStream>>,
        count: Arc<Count>,
    }

    #[derive(Default)]
    struct Count {
        calls: AtomicU64,
        /// Of these, the ones before another thread woke who waits: when a thread that drives a
        /// host gets a processor is for the system to say, and the loop has no part in it.
        before: AtomicU64,
    }

    /// A waker of who waits, which notes that another thread has woken it.
    struct Woken {
        count: Arc<Count>,
        home: ThreadId,
        waker: Waker,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            if thread::current().id() != self.home {
                let calls = self.count.calls.load(Ordering::Relaxed);
                self.count.before.store(calls, Ordering::Relaxed);
            }
            self.waker.wake_by_ref();
        }
    }

    impl Heard {
        fn call(&self) {
            // What calls do takes some time.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(2) {}
            if let Some(mut peer) = self.peer.take() {
                peer.write_all(b"x").unwrap();
                self.due.set(Some(begun));
            }
            if self.due.get().is_some_and(|due| begun >= due) {
                self.count.calls.fetch_add(1, Ordering::Relaxed);
            }
        }

        /// Waits for something; returns how many calls the loop made before it let the host tell of
        /// it.
        async fn wait<F: Future>(&self, future: F) -> u64 {
            let mut future = pin!(future);
            let poll = |cx: &mut Context<'_>| {
                let (count, home) = (Arc::clone(&self.count), thread::current().id());
                let woken = Arc::new(Woken { count, home, waker: cx.waker().clone() });
                future.as_mut().poll(&mut Context::from_waker(&Waker::from(woken)))
            };
            poll_fn(poll).await;
            self.due.set(None);
            let before = self.count.before.swap(0, Ordering::Relaxed);
            self.count.calls.swap(0, Ordering::Relaxed) - before
        }

        async fn timers<F: Future>(&self, sleep: impl Fn(Duration) -> F) -> Vec<u64> {
            let mut calls = Vec::new();
            for _ in 0..TIMES {
                let delay = Duration::from_millis(1);
                self.due.set(Some(Instant::now() + delay + COARSE));
                calls.push(self.wait(sleep(delay)).await);
            }
            calls
        }

        async fn sockets<F: Future>(&self, readable: impl Fn(UnixStream) -> F) -> Vec<u64> {
            let mut calls = Vec::new();
            for _ in 0..TIMES {
                let (ours, theirs) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                self.peer.replace(Some(theirs));
                calls.push(self.wait(readable(ours)).await);
            }
            calls
        }
    }

    /// What a host is told of, with the calls of the loop that went by.
    type Told<'a> = Pin<Box<dyn Future<Output = Vec<u64>> + 'a>>;

    #[cfg(feature = "tokio")]
    fn most(calls: Vec<u64>) -> u64 {
        calls.into_iter().max().unwrap()
    }

    /// Runs a flooded loop and what the host is told of side by side, as `host` hosts them.
    fn beside_floods(
        name: &str,
        judge: fn(Vec<u64>) -> u64,
        io_loop: impl Fn() -> IOLoop,
        told: impl Fn(Rc<Heard>) -> [Told<'static>; 2],
        host: impl Fn(IOLoop, Told<'static>) -> Vec<u64>,
    ) {
        for flood in KINDS {
            for what in [0, 1] {
                let io_loop = io_loop();
                let (heard, over) = (Rc::new(Heard::default()), Arc::new(AtomicBool::new(false)));
                let each = Rc::clone(&heard);
                begin(flood, UNITS, &io_loop, &over, Rc::new(move || each.call()));
                let [timers, sockets] = told(heard);
                let calls = host(io_loop.clone(), if what == 0 { timers } else { sockets });
                over.store(true, Ordering::Relaxed);
                POSTED.set(None);
                let _ = io_loop.close();
                let what = ["timer", "socket"][what];
                assert_eq!(calls.len(), TIMES);
                let judged = judge(calls.clone());
                assert!(
                    judged <= MOST,
                    "{name}: a {what} of the host beside {flood:?}s is told after {calls:?} calls"
                );
            }
        }
    }

    async fn run(io_loop: IOLoop) -> Vec<u64> {
        io_loop.run().await.unwrap();
        unreachable!("nobody stops it");
    }

    #[cfg(feature = "tokio")]
    mod on_tokio {
        use ioloop::backends::tokio::TokioBackend;
        use tokio::runtime::{Builder, Handle, LocalOptions, Runtime};
        use tokio::task::{LocalSet, spawn_local};

        use super::*;

        fn told(heard: Rc<Heard>) -> [Told<'static>; 2] {
            let timers = Rc::clone(&heard);
            [
                Box::pin(async move { timers.timers(tokio::time::sleep).await }),
                Box::pin(async move {
                    let readable = |stream| async {
                        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
                        stream.readable().await.unwrap();
                    };
                    heard.sockets(readable).await
                }),
            ]
        }

        fn attached(handle: &Handle) -> IOLoop {
            IOLoop::builder().host(TokioBackend::attached(handle.clone())).attach().unwrap()
        }

        fn runtime() -> Runtime {
            Builder::new_current_thread().enable_all().build().unwrap()
        }

        /// The loop, and what the host is told of, each in a task of the host.
        async fn in_tasks(io_loop: IOLoop, told: Told<'static>) -> Vec<u64> {
            let run = spawn_local(run(io_loop));
            let calls = spawn_local(told).await.unwrap();
            run.abort();
            calls
        }

        #[test]
        fn a_loop_in_block_on() {
            let runtime = runtime();
            let host = |io_loop, told| runtime.block_on(or(run(io_loop), told));
            beside_floods("block_on", most, || attached(runtime.handle()), told, host);
        }

        #[test]
        fn a_loop_in_a_task_of_a_local_set() {
            let runtime = runtime();
            let host = |io_loop, told| LocalSet::new().block_on(&runtime, in_tasks(io_loop, told));
            beside_floods("LocalSet", most, || attached(runtime.handle()), told, host);
        }

        #[test]
        fn a_loop_in_a_task_of_a_local_runtime() {
            let options = LocalOptions::default();
            let runtime = Builder::new_current_thread().enable_all().build_local(options).unwrap();
            let host = |io_loop, told| runtime.block_on(in_tasks(io_loop, told));
            beside_floods("LocalRuntime", most, || attached(runtime.handle()), told, host);
        }

        #[test]
        fn an_own_loop() {
            let backend = ioloop::backends::BackendKind::Tokio;
            let host = |io_loop: IOLoop, told: Told<'static>| io_loop.run_sync(told).unwrap();
            let own = || IOLoop::builder().backend(backend).build().unwrap();
            beside_floods("own", most, own, told, host);
        }
    }

    #[cfg(feature = "async-io")]
    mod on_async_io {
        use async_executor::LocalExecutor;

        use super::*;

        fn told(heard: Rc<Heard>) -> [Told<'static>; 2] {
            let timers = Rc::clone(&heard);
            [
                Box::pin(async move { timers.timers(async_io::Timer::after).await }),
                Box::pin(async move {
                    let readable = |stream| async {
                        async_io::Async::new(stream).unwrap().readable().await.unwrap();
                    };
                    heard.sockets(readable).await
                }),
            ]
        }

        fn attached() -> IOLoop {
            let backend = ioloop::backends::BackendKind::AsyncIo;
            IOLoop::builder().backend(backend).attach().unwrap()
        }

        /// async-io's own thread may have its reactor for a while, and leave it to this thread
        /// without having told of anything. A loop that starves its host does so each time.
        fn fewest(calls: Vec<u64>) -> u64 {
            calls.into_iter().min().unwrap()
        }

        /// One after the other, since they share async-io's reactor.
        #[test]
        fn a_loop_in_block_on_beside_an_executor_and_on_smol() {
            let host = |io_loop, told| async_io::block_on(or(run(io_loop), told));
            beside_floods("async_io::block_on", fewest, attached, told, host);
            let host = |io_loop, told| {
                let executor = LocalExecutor::new();
                let told = executor.spawn(told);
                async_io::block_on(executor.run(or(run(io_loop), told)))
            };
            beside_floods("LocalExecutor", fewest, attached, told, host);
            #[cfg(feature = "smol")]
            {
                let backend = ioloop::backends::BackendKind::Smol;
                let attached = || IOLoop::builder().backend(backend).attach().unwrap();
                let host = |io_loop, told| smol::block_on(or(run(io_loop), told));
                beside_floods("smol::block_on", fewest, attached, told, host);
            }
        }
    }
}
