//! Futures across runtimes: every pair of a side that awaits and a side that runs.
#![cfg(all(feature = "async-io", feature = "smol", feature = "tokio"))]

use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};
use std::{fmt, io};

use futures_lite::future::block_on;
use ioloop::backends::BackendKind;
use ioloop::{Guard, Handle, IOLoop, JoinError, LoopThread, Task, bridge, deferred};
use tokio::runtime::{Builder, Handle as TokioHandle, Runtime};
use tokio::sync::oneshot;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

// The side that awaits.

type Local<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

struct Near {
    name: String,
    block_on: Box<dyn Fn(Local<'_>)>,
}

impl Near {
    fn new(name: impl Into<String>, block_on: impl Fn(Local<'_>) + 'static) -> Near {
        Near { name: name.into(), block_on: Box::new(block_on) }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut output = None;
        (self.block_on)(Box::pin(async { output = Some(future.await) }));
        output.unwrap()
    }
}

/// Every side that can await: the executors, a plain one, and loops, own and attached.
fn nears() -> Vec<Near> {
    let single = || Builder::new_current_thread().enable_all().build().unwrap();
    let (current, local, host) = (single(), single(), single());
    let many = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut nears = vec![
        Near::new("plain", |future| block_on(future)),
        Near::new("async-io", |future| async_io::block_on(future)),
        Near::new("smol", |future| smol::block_on(future)),
        Near::new("tokio current-thread", move |future| current.block_on(future)),
        Near::new("tokio multi-thread", move |future| many.block_on(future)),
        Near::new("tokio LocalSet", move |future| {
            tokio::task::LocalSet::new().block_on(&local, future);
        }),
    ];
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        nears.push(Near::new(format!("own loop on {kind}"), move |future| {
            io_loop.run_sync(future).unwrap();
        }));
    }
    let attach = |kind| IOLoop::builder().backend(kind).attach().unwrap();
    let on_async_io = attach(BackendKind::AsyncIo);
    nears.push(Near::new("loop attached to async-io", move |future| {
        block_on(on_async_io.run_until(future)).unwrap();
    }));
    let on_smol = attach(BackendKind::Smol);
    nears.push(Near::new("loop attached to smol", move |future| {
        smol::block_on(on_smol.run_until(future)).unwrap();
    }));
    let on_tokio = host.block_on(async { attach(BackendKind::Tokio) });
    nears.push(Near::new("loop attached to tokio", move |future| {
        host.block_on(on_tokio.run_until(future)).unwrap();
    }));
    nears
}

// The side that runs the future.

/// Something that runs futures on other threads; shut down when dropped.
enum Far {
    Smol,
    Tokio(Option<Runtime>),
    /// A current-thread runtime, driven by a thread until it is told to shut it down.
    Driven(TokioHandle, Option<(oneshot::Sender<()>, JoinHandle<()>)>),
    Own(Handle, Option<LoopThread>),
    Attached(Handle, Option<JoinHandle<()>>),
}

impl Far {
    fn tokio() -> Far {
        let mut builder = Builder::new_multi_thread();
        Far::Tokio(Some(builder.worker_threads(1).enable_all().build().unwrap()))
    }

    fn driven() -> Far {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (sender, end) = oneshot::channel();
        let thread = thread::spawn(move || runtime.block_on(async { end.await.unwrap() }));
        Far::Driven(handle, Some((sender, thread)))
    }

    fn own(kind: BackendKind) -> Far {
        let make = move || IOLoop::builder().backend(kind).build();
        let thread = IOLoop::spawn_thread("far", make).unwrap();
        Far::Own(thread.handle(), Some(thread))
    }

    fn attached(kind: BackendKind) -> Far {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let future = async {
                let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
                sender.send(io_loop.handle()).unwrap();
                io_loop.run().await.unwrap();
                io_loop.close().unwrap();
            };
            match kind {
                BackendKind::Tokio => {
                    let mut builder = Builder::new_current_thread();
                    builder.enable_all().build().unwrap().block_on(future);
                }
                BackendKind::Smol => smol::block_on(future),
                _ => block_on(future),
            }
        });
        Far::Attached(receiver.recv().unwrap(), Some(thread))
    }

    fn run<T, F>(&self, future: F) -> Guard<Task<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runner().run(future)
    }

    /// What is left of it in somebody's hands once it is shut down.
    fn runner(&self) -> Runner {
        match self {
            Far::Smol => Runner::Smol,
            Far::Tokio(runtime) => Runner::Tokio(runtime.as_ref().unwrap().handle().clone()),
            Far::Driven(handle, _) => Runner::Tokio(handle.clone()),
            Far::Own(handle, _) | Far::Attached(handle, _) => Runner::Loop(handle.clone()),
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        match self {
            Far::Smol => {}
            Far::Tokio(runtime) => {
                // Waits for its threads, where that is allowed.
                let runtime = runtime.take().unwrap();
                thread::spawn(move || drop(runtime)).join().unwrap();
            }
            Far::Driven(_, thread) => {
                let (end, thread) = thread.take().unwrap();
                end.send(()).unwrap();
                thread.join().unwrap();
            }
            Far::Own(handle, thread) => {
                handle.stop().unwrap();
                thread.take().unwrap().join().unwrap();
            }
            Far::Attached(handle, thread) => {
                handle.stop().unwrap();
                thread.take().unwrap().join().unwrap();
            }
        }
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Far::Smol => "smol",
            Far::Tokio(_) => "tokio multi-thread",
            Far::Driven(..) => "tokio current-thread",
            Far::Own(..) => "own loop",
            Far::Attached(..) => "attached loop",
        })
    }
}

enum Runner {
    Smol,
    Tokio(TokioHandle),
    Loop(Handle),
}

impl Runner {
    fn run<T, F>(&self, future: F) -> Guard<Task<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        match self {
            Runner::Smol => bridge::to_smol(future),
            Runner::Tokio(handle) => bridge::to_tokio(handle, future),
            Runner::Loop(handle) => bridge::to_loop(handle, move || future),
        }
    }
}

/// Every side that can run a future, but smol, which is never shut down.
fn mortals() -> Vec<Far> {
    let mut fars = vec![Far::tokio(), Far::driven()];
    fars.extend(BackendKind::ALL.map(Far::own));
    fars.extend([BackendKind::AsyncIo, BackendKind::Smol, BackendKind::Tokio].map(Far::attached));
    fars
}

fn for_every_pair(test: impl Fn(&Near, &Far)) {
    let mut fars = mortals();
    fars.push(Far::Smol);
    for near in nears() {
        for far in &fars {
            println!("{} awaits {far:?}", near.name);
            test(&near, far);
        }
    }
}

/// Says on which thread it is dropped.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

fn here() -> ThreadId {
    thread::current().id()
}

/// Pending until another thread has made it true.
async fn until(is_true: impl Fn() -> bool) {
    poll_fn(|cx| {
        if is_true() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        thread::yield_now();
        Poll::Pending
    })
    .await;
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// B226, B229, B230
#[test]
fn a_value_crosses_from_every_runtime_to_every_other() {
    for_every_pair(|near, far| {
        let (before, there, after) = near.block_on(async {
            let before = here();
            let ready = far.run(ready(7)).await.unwrap();
            assert_eq!(ready, 7);
            // Woken from here while it waits over there.
            let (resolver, gate) = deferred();
            let there = far.run(async {
                gate.await.unwrap();
                here()
            });
            resolver.resolve(()).unwrap();
            (before, there.await.unwrap(), here())
        });
        assert_ne!(there, here(), "it ran here");
        assert_eq!((before, after), (here(), here()), "and was awaited elsewhere");
    });
}

// B227
#[test]
fn an_error_crosses_unchanged() {
    #[derive(Debug)]
    struct Mine(Arc<()>);
    impl fmt::Display for Mine {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("mine")
        }
    }
    impl std::error::Error for Mine {}
    for_every_pair(|near, far| {
        let mark = Arc::new(());
        let sent = Mine(Arc::clone(&mark));
        let error = far.run(async { Err::<(), _>(io::Error::other(sent)) });
        let error = near.block_on(error).unwrap().unwrap_err();
        let mine = error.get_ref().unwrap().downcast_ref::<Mine>().unwrap();
        assert!(Arc::ptr_eq(&mine.0, &mark));
    });
}

// B237
#[test]
fn a_panic_over_there_is_an_error_here_that_can_be_resumed() {
    for_every_pair(|near, far| {
        let error = near.block_on(far.run(async { panic!("over there") }));
        let error: JoinError = Result::<(), _>::unwrap_err(error);
        assert!(error.is_panic());
        let payload = catch_unwind(AssertUnwindSafe(|| error.resume_panic())).unwrap_err();
        assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "over there");
    });
}

// B232
#[test]
fn dropping_the_guard_frees_the_future_over_there() {
    for_every_pair(|near, far| {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let (begun, has_begun) = mpsc::channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let guard = far.run(async move {
            let _told = told;
            poll_fn(|_| {
                counted.fetch_add(1, Ordering::Relaxed);
                begun.send(()).unwrap();
                Poll::<()>::Pending
            })
            .await;
        });
        let there = near.block_on(async {
            let mut guard = pin!(guard);
            assert!(poll_fn(|cx| Poll::Ready(guard.as_mut().poll(cx))).await.is_pending());
            has_begun.recv().unwrap();
            // Dropped here, by its pin.
            guard.set(bridge::to_smol(ready(())));
            dropped.recv().unwrap()
        });
        assert_ne!(there, here(), "it was dropped here");
        assert_eq!(polls.load(Ordering::Relaxed), 1, "it was polled once more to be dropped");
    });
}

// B232
#[test]
fn cancelling_frees_the_future_over_there_and_answers_cancelled() {
    for_every_pair(|near, far| {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let guard = far.run(async move {
            let _told = told;
            pending::<()>().await;
        });
        // At whatever moment: before its first poll, in it, or after.
        guard.cancel();
        assert!(near.block_on(guard).unwrap_err().is_cancelled());
        assert_ne!(dropped.try_recv().unwrap(), here(), "freed before the answer, and over there");
    });
}

// B233
#[test]
fn cancelling_after_the_end_leaves_the_value() {
    for_every_pair(|near, far| {
        let guard = far.run(ready(7));
        near.block_on(until(|| guard.is_finished()));
        guard.cancel();
        assert_eq!(near.block_on(guard).unwrap(), 7);
    });
}

// B234
#[test]
fn a_task_that_was_given_up_runs_on_and_its_value_is_dropped_over_there() {
    for_every_pair(|near, far| {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let (resolver, gate) = deferred();
        let guard = far.run(async move {
            gate.await.unwrap();
            told
        });
        near.block_on(async {
            drop(guard.keep());
            assert!(dropped.try_recv().is_err(), "giving it up cancels nothing");
            resolver.resolve(()).unwrap();
            assert_ne!(dropped.recv().unwrap(), here());
        });
    });
}

// B228
#[test]
fn a_chain_of_three_hops() {
    let tokio = Far::tokio();
    let handle = tokio.runner();
    let far_loop = Far::own(BackendKind::Bare);
    let on_loop = far_loop.runner();
    for near in nears() {
        let one = handle.run(async { (vec![here()], Ok::<_, JoinError>(())) });
        let two = bridge::to_smol(async {
            let (mut threads, error) = one.await.unwrap();
            threads.push(here());
            (threads, error)
        });
        let three = on_loop.run(async {
            let (mut threads, error) = two.await.unwrap();
            threads.push(here());
            (threads, error)
        });
        let (mut threads, _) = near.block_on(three).unwrap();
        threads.push(here());
        let mut distinct = threads.clone();
        distinct.sort_by_key(|id| format!("{id:?}"));
        distinct.dedup();
        assert_eq!(distinct.len(), 4, "{threads:?}");
    }
}

// B231
#[test]
fn a_chain_is_cancelled_and_ends_as_one() {
    let (sender, dropped) = mpsc::channel();
    let told = Told(sender);
    let tokio = Far::tokio();
    let one = tokio.run(async move {
        let _told = told;
        pending::<()>().await;
    });
    let two = bridge::to_smol(async { one.await.unwrap_err().is_closed() });
    drop(tokio);
    dropped.recv().unwrap();
    assert!(block_on(two).unwrap(), "the first's end is the second's value");
}

// B231
#[test]
fn a_far_side_that_is_gone_answers_closed() {
    for near in nears() {
        for far in mortals() {
            println!("{} awaits {far:?}", near.name);
            let runner = far.runner();
            drop(far);
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let guard = runner.run(async move { drop(held) });
            assert!(near.block_on(guard).unwrap_err().is_closed());
            assert_eq!(Arc::strong_count(&captured), 1);
        }
    }
}

// B231
#[test]
fn a_far_side_that_goes_while_it_is_awaited_answers_closed() {
    for near in nears() {
        for far in mortals() {
            println!("{} awaits {far:?}", near.name);
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let (begun, has_begun) = mpsc::channel();
            let guard = far.run(async move {
                begun.send(()).unwrap();
                pending::<()>().await;
                drop(held);
            });
            let end = thread::spawn(move || {
                has_begun.recv().unwrap();
                drop(far);
            });
            assert!(near.block_on(guard).unwrap_err().is_closed());
            assert_eq!(Arc::strong_count(&captured), 1, "freed before the answer");
            end.join().unwrap();
        }
    }
}

// B231
#[test]
fn nothing_hangs_at_whatever_moment_the_far_side_goes() {
    for round in 0..20 {
        for far in mortals() {
            let runner = far.runner();
            let end = thread::spawn(move || drop(far));
            for _ in 0..round {
                thread::yield_now();
            }
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let guard = runner.run(async move {
                let _held = held;
                futures_lite::future::yield_now().await;
            });
            match block_on(guard) {
                Ok(()) => {}
                Err(error) => assert!(error.is_closed(), "{error}"),
            }
            assert_eq!(Arc::strong_count(&captured), 1);
            end.join().unwrap();
        }
    }
}

// B231
#[test]
fn a_future_that_was_never_polled_is_freed_before_the_answer() {
    let captured = Arc::new(());
    let runtime = Builder::new_current_thread().build().unwrap();
    let held = Arc::clone(&captured);
    let guard = bridge::to_tokio(runtime.handle(), async move { drop(held) });
    let count = Arc::clone(&captured);
    let awaiting = thread::spawn(move || {
        let error = block_on(guard).unwrap_err();
        (error.is_closed(), Arc::strong_count(&count))
    });
    drop(runtime);
    assert_eq!(awaiting.join().unwrap(), (true, 2));

    let io_loop = IOLoop::new().unwrap();
    let held = Arc::clone(&captured);
    let guard = bridge::to_loop(&io_loop.handle(), move || async move { drop(held) });
    let count = Arc::clone(&captured);
    let awaiting = thread::spawn(move || {
        let error = block_on(guard).unwrap_err();
        (error.is_closed(), Arc::strong_count(&count))
    });
    io_loop.close().unwrap();
    assert_eq!(awaiting.join().unwrap(), (true, 2));
}

// B235
#[test]
fn a_loop_that_is_closed_while_it_awaits_cancels_and_is_left_alone() {
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let guard = bridge::to_smol(async move {
            let _told = told;
            pending::<()>().await;
        });
        // What is kept goes on, and comes to its end after the loop's.
        let (resolver, gate) = deferred();
        let (sender, kept_value) = mpsc::channel();
        let told = Told(sender);
        let kept = bridge::to_smol(async move {
            gate.await.unwrap();
            told
        });
        io_loop.add_future(guard, |_| panic!("it was called"));
        io_loop.add_future(kept.keep(), |_| panic!("it was called"));
        io_loop.stop();
        io_loop.start().unwrap();
        io_loop.close().unwrap();
        assert_ne!(dropped.recv().unwrap(), here());
        resolver.resolve(()).unwrap();
        kept_value.recv().unwrap();
    }
}

// B235
#[test]
fn a_task_outlives_the_loop_that_awaited_it_first() {
    let (resolver, gate) = deferred();
    let mut guard = bridge::to_smol(async move { gate.await.unwrap() });
    let io_loop = IOLoop::new().unwrap();
    let first = io_loop.run_sync_timeout(Duration::ZERO, &mut guard);
    assert!(first.is_err());
    io_loop.close().unwrap();
    resolver.resolve(7).unwrap();
    assert_eq!(block_on(guard).unwrap(), 7);
}

// B236
#[test]
fn to_the_loop_itself_there_is_no_hop() {
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        let handle = io_loop.handle();
        let turns = || IOLoop::current().unwrap().metrics().turns;
        let (asked, polled) = io_loop
            .run_sync(async {
                let asked = turns();
                let polled = bridge::to_loop(&handle, move || async move { turns() });
                (asked, polled.await.unwrap())
            })
            .unwrap();
        assert_eq!(polled, asked + 1, "in the next turn, as `IOLoop::spawn`");
    }
}

// B226
#[test]
fn what_is_made_on_the_loop_need_not_be_send() {
    let far = Far::own(BackendKind::Bare);
    let Runner::Loop(handle) = far.runner() else { unreachable!() };
    let guard = bridge::to_loop(&handle, || {
        let local = Rc::new(7);
        async move {
            ioloop::sleep(&IOLoop::current().unwrap(), MS).await.unwrap();
            *local
        }
    });
    assert_eq!(block_on(guard).unwrap(), 7);
    let guard = bridge::to_loop(&handle, || -> std::future::Ready<()> { panic!("no future") });
    assert!(block_on(guard).unwrap_err().is_panic());
}

// In tokio's context.

/// A `!Send` future that needs tokio's timer, and notes in which runtimes it was polled and dropped.
struct Needy<'a> {
    delay: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    runtimes: &'a Cell<Vec<Option<tokio::runtime::Id>>>,
    _local: Rc<()>,
}

impl<'a> Needy<'a> {
    fn new(delay: Duration, runtimes: &'a Cell<Vec<Option<tokio::runtime::Id>>>) -> Self {
        Needy { delay, timer: None, runtimes, _local: Rc::new(()) }
    }

    fn note(&self) {
        let mut runtimes = self.runtimes.take();
        runtimes.push(TokioHandle::try_current().ok().map(|handle| handle.id()));
        self.runtimes.set(runtimes);
    }
}

impl Future for Needy<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.note();
        let delay = self.delay;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(delay)));
        timer.as_mut().poll(cx)
    }
}

impl Drop for Needy<'_> {
    fn drop(&mut self) {
        self.note();
    }
}

// B238
#[test]
fn a_timer_of_tokio_is_awaited_everywhere_and_dropped_in_its_context() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let id = runtime.handle().id();
    for near in nears() {
        println!("{}", near.name);
        let runtimes = Cell::default();
        let start = Instant::now();
        near.block_on(bridge::in_tokio(runtime.handle(), Needy::new(2 * MS, &runtimes)));
        assert!(start.elapsed() >= 2 * MS);
        let noted = runtimes.take();
        // On a busy machine the timer may be over by the first poll.
        assert!(noted.len() >= 2, "a poll and a drop at least: {}", noted.len());
        assert!(noted.iter().all(|noted| *noted == Some(id)), "{noted:?}");

        // Given up half way, and before its first poll.
        near.block_on(async {
            let needy = Needy::new(HOUR, &runtimes);
            let mut future = Box::pin(bridge::in_tokio(runtime.handle(), needy));
            assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await.is_pending());
        });
        assert_eq!(runtimes.take(), [Some(id); 2]);
        let needy = Needy::new(HOUR, &runtimes);
        near.block_on(async { drop(bridge::in_tokio(runtime.handle(), needy)) });
        assert_eq!(runtimes.take(), [Some(id)]);
    }
}

// B238
#[test]
fn a_socket_of_tokio_is_awaited_everywhere() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for near in nears() {
        let read = near.block_on(bridge::in_tokio(runtime.handle(), async {
            let (mut ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
            let mut chunk = [0; 5];
            let mut reading = pin!(theirs.read_exact(&mut chunk));
            assert!(poll_once(reading.as_mut()).is_pending());
            ours.write_all(b"hello").await.unwrap();
            reading.await.unwrap();
            chunk
        }));
        assert_eq!(&read, b"hello");
    }
}

// B238
#[test]
fn a_timer_of_smol_or_of_a_loop_is_awaited_everywhere() {
    let far = Far::own(BackendKind::Bare);
    let Runner::Loop(handle) = far.runner() else { unreachable!() };
    for near in nears() {
        println!("{}", near.name);
        let start = Instant::now();
        near.block_on(async_io::Timer::after(MS));
        near.block_on(bridge::to_smol(async { smol::Timer::after(MS).await })).unwrap();
        let slept = bridge::to_loop(&handle, || async {
            ioloop::sleep(&IOLoop::current().unwrap(), MS).await
        });
        near.block_on(slept).unwrap().unwrap();
        assert!(start.elapsed() >= 3 * MS);
    }
}

// B238
#[test]
fn in_tokio_borrows_and_lets_a_panic_through_in_its_context() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let runtimes = Cell::default();
    let needy = Needy::new(HOUR, &runtimes);
    let future = bridge::in_tokio(runtime.handle(), async {
        // Dropped by the panic.
        let _needy = needy;
        panic!("out of its poll")
    });
    let payload = catch_unwind(AssertUnwindSafe(|| block_on(future))).unwrap_err();
    assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "out of its poll");
    assert_eq!(runtimes.take(), [Some(runtime.handle().id())]);
    assert!(TokioHandle::try_current().is_err(), "the context was left");
}

// B231
#[test]
fn a_runtime_that_is_shut_down_under_its_timer_wakes_it() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let sleep = async { tokio::time::sleep(HOUR).await };
    let mut future = Box::pin(bridge::in_tokio(&handle, sleep));
    assert!(poll_once(future.as_mut()).is_pending());
    let awaiting = thread::spawn(move || {
        catch_unwind(AssertUnwindSafe(|| block_on(future))).unwrap_err();
    });
    runtime.shutdown_background();
    awaiting.join().unwrap();
}
