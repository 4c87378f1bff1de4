//! What each runtime does of its own: where loops may start, what goes with a host, what is started
//! and ended.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::process::abort;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor, RunError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::alone::{again, assert_passed, end_a_hang, is_child, open_descriptors, threads};

/// Aborts a test that hangs; dropped, it is over.
struct Watchdog(#[expect(dead_code, reason = "closed when dropped")] Sender<()>);

fn watchdog() -> Watchdog {
    let (over, waiting) = channel();
    thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("a test of the backends hangs");
            abort();
        }
    });
    Watchdog(over)
}

/// Runs a test, which touches the whole process, again in one of its own. True there.
fn is_isolated(test: &str) -> bool {
    let is_child = is_child(module_path!(), test);
    if is_child {
        end_a_hang();
    } else {
        assert_passed(&again(None, module_path!(), test));
    }
    is_child
}

/// Calls `code` while this process can open so many more descriptors.
fn with_room_for<T>(room: usize, code: impl FnOnce() -> T) -> T {
    let limit = getrlimit(Resource::Nofile);
    // A descriptor's number is the lowest that is free, and the limit is the first number that is
    // refused.
    let open = || fs::File::open("/dev/null").unwrap();
    let mut probes: Vec<fs::File> = (0..=room).map(|_| open()).collect();
    let current = probes.pop().map(|last| last.as_raw_fd() as u64);
    drop(probes);
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    let result = code();
    setrlimit(Resource::Nofile, limit).unwrap();
    result
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// Runs a loop with a queued callback and a timer, and closes it.
fn run_and_close(io_loop: &IOLoop, run: impl FnOnce() -> Result<(), RunError>) {
    io_loop.call_soon(|| {
        let io_loop = IOLoop::current().unwrap();
        io_loop.call_later(Duration::from_micros(100), stop);
    });
    run().unwrap();
    assert_eq!(io_loop.metrics().timers_fired, 1);
    io_loop.close().unwrap();
}

mod every_backend {
    use std::cell::RefCell;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ioloop::backends::{Backend, Descriptor, Registration, Shutdown};

    use super::*;

    // B51
    #[test]
    fn configuring_what_is_not_there_is_an_error_that_changes_nothing() {
        let unknown = "libev".parse::<BackendKind>().unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::InvalidInput);
        let message = unknown.to_string();
        assert!(message.contains("`libev`"), "{message}");
        for kind in BackendKind::ALL {
            assert!(message.contains(&kind.to_string()), "{message}");
            assert_eq!(kind.to_string().parse::<BackendKind>().unwrap(), kind);
            if kind.is_compiled() {
                continue;
            }
            let before = IOLoop::new().unwrap().backend_name().to_owned();
            for error in [
                IOLoop::configure(kind).unwrap_err(),
                IOLoop::builder().backend(kind).build().unwrap_err(),
                IOLoop::builder().backend(kind).attach().unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                let advice = format!("enable ioloop's feature `{kind}`");
                assert!(error.to_string().contains(&advice), "{error}");
            }
            assert_eq!(IOLoop::new().unwrap().backend_name(), before);
        }
    }

    // B253, at construction; where the platform has no descriptors `src/lib.rs` stops the build.
    #[test]
    fn a_bare_loop_has_nothing_to_attach_to() {
        let bare = IOLoop::builder().backend(BackendKind::Bare);
        let error = bare.attach().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no host"), "{error}");
    }

    fn compiled() -> impl Iterator<Item = BackendKind> {
        BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled())
    }

    #[test]
    fn a_loop_may_end_with_its_thread() {
        thread_local! {
            static KEPT: RefCell<Option<IOLoop>> = const { RefCell::new(None) };
        }
        let _watchdog = watchdog();
        for kind in compiled() {
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let thread = thread::spawn(move || {
                let io_loop = IOLoop::builder().backend(kind).build().unwrap();
                let task = Arc::clone(&held);
                io_loop
                    .spawn(async move {
                        std::future::pending::<()>().await;
                        drop(task);
                    })
                    .detach();
                io_loop.stop();
                io_loop.start().unwrap();
                io_loop.call_soon(move || drop(held));
                KEPT.set(Some(io_loop));
            });
            thread.join().unwrap();
            assert_eq!(Arc::strong_count(&captured), 1, "on {kind}");
        }
    }

    #[test]
    fn a_loop_may_be_closed_in_its_own_context() {
        for kind in compiled() {
            let io_loop = IOLoop::builder().backend(kind).build().unwrap();
            io_loop.enter(|| io_loop.close().unwrap());
            assert!(io_loop.is_closed());
            assert!(matches!(io_loop.start(), Err(RunError::Closed)));
            // It has no context any more, and may be entered all the same.
            assert!(io_loop.enter(|| IOLoop::current().unwrap().is_closed()));
        }
    }

    // B34
    #[test]
    fn a_backend_is_shut_down_when_its_loop_cannot_be_made() {
        struct Counts(Arc<AtomicUsize>);
        impl Backend for Counts {
            fn name(&self) -> &str {
                "counts"
            }
            fn register(&self, _: Descriptor) -> io::Result<Box<dyn Registration>> {
                Err(io::Error::other("nothing can be registered"))
            }
            fn shutdown(&self, _: Shutdown) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        if !is_isolated("every_backend::a_backend_is_shut_down_when_its_loop_cannot_be_made") {
            return;
        }
        let shut_down = Arc::new(AtomicUsize::new(0));
        let host = || IOLoop::builder().host(Counts(Arc::clone(&shut_down)));
        let before = open_descriptors();
        for room in [2, 1, 0] {
            let builder = host();
            assert!(with_room_for(room, || builder.build()).is_err());
            assert_eq!(open_descriptors(), before);
        }
        assert_eq!(shut_down.load(Ordering::Relaxed), 3);
        // A host is left alone.
        let error = host().attach().unwrap_err();
        assert_eq!(error.to_string(), "nothing can be registered");
        assert_eq!(open_descriptors(), before);
        assert_eq!(shut_down.load(Ordering::Relaxed), 3);
    }

    // B265
    #[test]
    fn a_bare_loop_starts_no_thread() {
        if !is_isolated("every_backend::a_bare_loop_starts_no_thread") {
            return;
        }
        let before = threads();
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        io_loop.call_soon(move || assert_eq!(threads(), before));
        run_and_close(&io_loop, || io_loop.start());
        assert_eq!(threads(), before);
    }
}

/// Makes, runs and closes attached loops on several threads at once.
#[cfg(any(feature = "async-io", feature = "smol", feature = "tokio"))]
fn on_several_threads(run: impl Fn() + Send + Sync + 'static) {
    use std::sync::Barrier;

    const THREADS: usize = 4;
    let _watchdog = watchdog();
    let run = Arc::new(run);
    let begun = Arc::new(Barrier::new(THREADS));
    let running: Vec<_> = (0..THREADS)
        .map(|_| {
            let (run, begun) = (Arc::clone(&run), Arc::clone(&begun));
            thread::spawn(move || {
                begun.wait();
                (0..10).for_each(|_| run());
            })
        })
        .collect();
    for thread in running {
        thread.join().unwrap();
    }
}

#[cfg(feature = "tokio")]
mod tokio {
    use std::cell::Cell;
    use std::future::pending;
    use std::rc::Rc;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Waker};

    use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
    use ::tokio::net::{TcpListener, TcpStream};
    use ::tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime, Runtime};
    use ::tokio::sync::mpsc::unbounded_channel;
    use ::tokio::sync::oneshot;
    use ::tokio::task::{LocalSet, block_in_place, coop, spawn_blocking, spawn_local};
    use ::tokio::time::{sleep, timeout};
    use futures_lite::future::block_on;
    use ioloop::backends::tokio::TokioBackend;
    use ioloop::observe::Metrics;

    use super::*;

    fn own() -> IOLoop {
        let own = IOLoop::builder().backend(BackendKind::Tokio).build();
        own.unwrap()
    }

    fn attached() -> IOLoop {
        let attached = IOLoop::builder().backend(BackendKind::Tokio).attach();
        attached.unwrap()
    }

    /// A loop of its own in the context of a runtime, which is not to be dropped in another one.
    fn own_in_multi_thread() -> IOLoop {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        own_in(RUNTIME.get_or_init(multi_thread))
    }

    fn own_in(runtime: &Runtime) -> IOLoop {
        let host = TokioBackend::attached(runtime.handle().clone());
        IOLoop::builder().host(host).build().unwrap()
    }

    fn current_thread() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn multi_thread() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    }

    fn local_runtime() -> LocalRuntime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build_local(LocalOptions::default()).unwrap()
    }

    fn tokio_handle(io_loop: &IOLoop) -> Handle {
        let backend = io_loop.backend::<TokioBackend>().unwrap();
        backend.handle().clone()
    }

    /// A guard that is forgotten leaves its thread in the runtime's context, out of which the
    /// loop's own guards cannot be dropped in order.
    #[test]
    fn a_callback_that_forgot_a_guard_of_tokios_unwound_into_the_host() {
        let forget = || std::mem::forget(Box::leak(Box::new(Handle::current())).enter());
        let attached = |runtime: &Runtime| {
            let host = TokioBackend::attached(runtime.handle().clone());
            IOLoop::builder().host(host).attach().unwrap()
        };
        let calls = |io_loop: &IOLoop| {
            let calls = Rc::new(Cell::new(0));
            for _ in 0..2 {
                let calls = Rc::clone(&calls);
                io_loop.call_soon(move || calls.set(calls.get() + 1));
            }
            io_loop.call_soon(|| IOLoop::current().unwrap().stop());
            calls
        };
        // Each on a thread of its own, which is lost to tokio.
        thread::spawn(move || {
            let runtime = multi_thread();
            let io_loop = attached(&runtime);
            io_loop.call_soon(forget);
            for _ in 0..2 {
                let calls = calls(&io_loop);
                block_on(io_loop.run()).unwrap();
                assert_eq!(calls.get(), 2);
            }
        })
        .join()
        .unwrap();
        thread::spawn(move || {
            let io_loop = own();
            io_loop.call_soon(forget);
            for _ in 0..2 {
                let calls = calls(&io_loop);
                io_loop.start().unwrap();
                assert_eq!(calls.get(), 2);
            }
            io_loop.close().unwrap();
        })
        .join()
        .unwrap();
    }

    /// Everything that a refused call must leave as it was.
    fn state(io_loop: &IOLoop) -> (bool, bool, Metrics) {
        let (running, closed) = (io_loop.is_running(), io_loop.is_closed());
        (running, closed, io_loop.metrics())
    }

    /// Polls a future once, and takes no wake.
    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn is_shut_down(tokio: &Handle) -> bool {
        let spawned = poll_once(tokio.spawn(async {}));
        matches!(spawned, Poll::Ready(Err(error)) if error.is_cancelled())
    }

    /// Calls `test` wherever tokio polls something.
    fn in_every_async_context(test: fn()) {
        current_thread().block_on(async { test() });
        let task = async move { ::tokio::spawn(async move { test() }).await.unwrap() };
        current_thread().block_on(task);
        multi_thread().block_on(async { test() });
        let task = async move { ::tokio::spawn(async move { test() }).await.unwrap() };
        multi_thread().block_on(task);
        LocalSet::new().block_on(&current_thread(), async { test() });
        let task = async move { spawn_local(async move { test() }).await.unwrap() };
        LocalSet::new().block_on(&multi_thread(), task);
        local_runtime().block_on(async { test() });
        let task = async move { spawn_local(async move { test() }).await.unwrap() };
        local_runtime().block_on(task);
    }

    // Making a loop.

    // B54
    #[test]
    fn attaching_outside_of_a_runtime_is_an_error_that_says_what_to_do() {
        let builder = IOLoop::builder().backend(BackendKind::Tokio);
        let error = builder.attach().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let message = error.to_string();
        for advice in ["block_on", "TokioBackend::attached(handle)"] {
            assert!(message.contains(advice), "{message}");
        }
        // Where nothing else is compiled, the default is tokio too.
        if cfg!(not(any(feature = "async-io", feature = "smol"))) {
            assert_eq!(IOLoop::attach().unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn attaching_follows_the_entered_runtime_unless_told_otherwise() {
        let runtime = current_thread();
        runtime.block_on(async {
            assert_eq!(IOLoop::attach().unwrap().backend_name(), "tokio");
        });
        let _entered = runtime.enter();
        let io_loop = IOLoop::attach().unwrap();
        assert_eq!(io_loop.backend_name(), "tokio");
        assert!(io_loop.is_attached());
        assert_eq!(IOLoop::new().unwrap().backend_name(), "tokio");
        #[cfg(feature = "async-io")]
        {
            let other = IOLoop::builder().backend(BackendKind::AsyncIo).attach();
            assert_eq!(other.unwrap().backend_name(), "async-io");
        }
        // By its handle it need not be entered.
        let (alive, gone) = (runtime.handle().clone(), current_thread().handle().clone());
        thread::spawn(move || {
            let given = |handle| IOLoop::builder().host(TokioBackend::attached(handle));
            assert!(given(alive).attach().is_ok());
            let error = given(gone).attach().unwrap_err();
            assert!(error.to_string().contains("shutdown"), "{error}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_runtime_without_io_is_an_error_that_says_so() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let error = IOLoop::attach().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("enable_io"), "{error}");
        drop(_entered);

        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        let own = IOLoop::builder().host(TokioBackend::with_runtime(runtime));
        let io_loop = own.build().unwrap();
        let Err(RunError::Io(error)) = io_loop.start() else { panic!("it ran without I/O") };
        assert!(error.to_string().contains("enable_io"), "{error}");
        io_loop.close().unwrap();
    }

    // B34
    #[test]
    fn a_loop_that_is_made_half_way_shuts_its_runtime_down() {
        if !is_isolated("tokio::a_loop_that_is_made_half_way_shuts_its_runtime_down") {
            return;
        }
        fn test() {
            let before = open_descriptors();
            // The loop opens three descriptors. Each time there is room for one less.
            for room in [2, 1, 0] {
                let runtime = local_runtime();
                let handle = runtime.handle().clone();
                let builder = IOLoop::builder().host(TokioBackend::with_runtime(runtime));
                assert!(with_room_for(room, || builder.build()).is_err());
                assert!(is_shut_down(&handle));
                drop(handle);
                assert_eq!(open_descriptors(), before);
            }
            // Nor is one left that could not be attached, or was not used at all.
            let runtime =
                Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
            let handle = runtime.handle().clone();
            let builder = IOLoop::builder().host(TokioBackend::with_runtime(runtime));
            assert!(builder.attach().is_err());
            assert!(is_shut_down(&handle));
            let unused = IOLoop::builder().host(TokioBackend::own().unwrap());
            drop(unused);
        }
        let _watchdog = watchdog();
        // The first runtime of a process opens what tokio keeps for signals.
        drop(local_runtime());
        test();
        current_thread().block_on(async { test() });
    }

    // Where a loop may be started.

    // B205
    #[test]
    fn starting_in_an_async_context_is_refused_and_changes_nothing() {
        fn refused(io_loop: &IOLoop) {
            let ran = Rc::new(Cell::new(false));
            let run = Rc::clone(&ran);
            io_loop.call_soon(move || run.set(true));
            io_loop.call_later(Duration::ZERO, || ());
            let before = state(io_loop);
            let polled = Rc::clone(&ran);
            for refused in [io_loop.start(), io_loop.run_sync(async { polled.set(true) })] {
                assert!(matches!(refused, Err(RunError::InAsyncContext)), "{refused:?}");
            }
            assert_eq!(state(io_loop), before);
            assert!(!ran.get());
            // Finding out takes nothing of the task's budget, and does not depend on it.
            let mut cx = Context::from_waker(Waker::noop());
            let mut proceed = || match coop::poll_proceed(&mut cx) {
                Poll::Ready(step) => {
                    step.made_progress();
                    true
                }
                Poll::Pending => false,
            };
            assert!((0..100).all(|_| proceed()));
            while proceed() {}
            assert!(matches!(io_loop.start(), Err(RunError::InAsyncContext)));
        }
        in_every_async_context(|| refused(&own()));
        in_every_async_context(|| refused(&own_in_multi_thread()));
    }

    // B205
    #[test]
    fn starting_is_refused_also_in_what_tokio_polls_without_a_budget() {
        let _watchdog = watchdog();
        let io_loop = own();
        current_thread().block_on(coop::unconstrained(async {
            assert!(matches!(io_loop.start(), Err(RunError::InAsyncContext)));
            assert!(!io_loop.is_running());
            let other = own();
            other.close().unwrap();
            assert!(other.is_closed());
        }));
        run_and_close(&io_loop, || io_loop.start());
    }

    #[test]
    fn a_refused_start_can_be_made_up_for_outside() {
        let _watchdog = watchdog();
        let io_loop = own();
        let runtime = current_thread();
        runtime.block_on(async {
            assert!(matches!(io_loop.start(), Err(RunError::InAsyncContext)));
        });
        run_and_close(&io_loop, || io_loop.start());
    }

    #[test]
    fn starting_works_where_blocking_is_allowed() {
        fn run() {
            for io_loop in [own(), own_in_multi_thread()] {
                assert_eq!(io_loop.run_sync(async { 7 }).unwrap(), 7);
                run_and_close(&io_loop, || io_loop.start());
            }
        }
        let _watchdog = watchdog();
        for runtime in [current_thread(), multi_thread()] {
            runtime.block_on(async { spawn_blocking(run).await.unwrap() });
            let _entered = runtime.enter();
            run();
        }
        let runtime = multi_thread();
        runtime.block_on(async { block_in_place(run) });
        runtime.block_on(async {
            ::tokio::spawn(async { block_in_place(run) }).await.unwrap();
        });
        // In the context of a loop that does not run.
        own().enter(run);
    }

    #[test]
    fn an_own_loop_cannot_be_embedded() {
        let io_loop = own();
        let before = state(&io_loop);
        for timeout in [None, Some(Duration::ZERO)] {
            assert!(matches!(io_loop.turn(timeout), Err(RunError::NotEmbeddable)));
        }
        assert_eq!(state(&io_loop), before);
    }

    /// Nobody drives the runtime while the loop's thread sleeps: what is spawned there would wait
    /// for ever.
    #[test]
    fn an_own_loop_slept_in_the_context_of_a_runtime_that_nobody_drives() {
        let runtime = current_thread();
        let io_loop = own_in(&runtime);
        let before = state(&io_loop);
        assert!(matches!(io_loop.start(), Err(RunError::Attached)));
        assert!(matches!(io_loop.turn(None), Err(RunError::NotEmbeddable)));
        assert_eq!(state(&io_loop), before);
        assert!(own_in_multi_thread().is_embeddable());
    }

    // B300
    #[test]
    fn an_own_loop_in_a_multi_thread_runtime_was_bound_to_its_thread() {
        let _watchdog = watchdog();
        let sendable = own_in_multi_thread().into_sendable().unwrap();
        let there = thread::spawn(move || {
            let io_loop = sendable.into_loop();
            io_loop.run_sync(async { ::tokio::spawn(async { 7 }).await.unwrap() }).unwrap()
        });
        assert_eq!(there.join().unwrap(), 7);
    }

    // What works inside.

    #[test]
    fn tokios_spawn_and_spawn_local_work_in_callbacks() {
        let _watchdog = watchdog();
        let io_loop = own();
        let (sender, mut receiver) = unbounded_channel();
        let (spawned, local, blocking) = (sender.clone(), sender.clone(), sender);
        io_loop.call_soon(move || {
            ::tokio::spawn(async move {
                sleep(Duration::from_millis(1)).await;
                spawned.send("spawn").unwrap();
            });
            let not_send = Rc::new(local);
            spawn_local(async move {
                sleep(Duration::from_millis(1)).await;
                not_send.send("spawn_local").unwrap();
            });
        });
        io_loop.call_later(Duration::ZERO, move || {
            spawn_blocking(move || blocking.send("spawn_blocking").unwrap());
        });
        let mut seen = io_loop
            .run_sync(async {
                let mut seen = Vec::new();
                while let Some(name) = receiver.recv().await {
                    seen.push(name);
                }
                seen
            })
            .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, ["spawn", "spawn_blocking", "spawn_local"]);
    }

    #[test]
    fn tokios_budget_does_not_limit_a_turn() {
        let runtime = current_thread();
        runtime.block_on(async {
            let io_loop = attached();
            for _ in 0..1000 {
                let (sender, receiver) = oneshot::channel();
                sender.send(()).unwrap();
                io_loop.spawn(async move { receiver.await.unwrap() }).detach();
            }
            io_loop.stop();
            io_loop.run().await.unwrap();
            assert_eq!(io_loop.metrics().turns, 1);
            assert_eq!(io_loop.metrics().tasks, 0);
        });
    }

    #[test]
    fn the_handle_of_an_own_loop_spawns_from_any_thread_while_the_loop_sleeps() {
        let _watchdog = watchdog();
        let io_loop = own();
        let (tokio, handle) = (tokio_handle(&io_loop), io_loop.handle());
        let here = thread::current().id();
        let spawning = thread::spawn(move || {
            for _ in 0..20 {
                let ran = block_on(tokio.spawn(async {
                    ::tokio::task::yield_now().await;
                    thread::current().id()
                }));
                assert_eq!(ran.unwrap(), here, "it runs on the loop's thread");
            }
            handle.stop().unwrap();
        });
        io_loop.start().unwrap();
        spawning.join().unwrap();
    }

    // B204
    #[test]
    fn tokios_futures_and_the_loops_nest() {
        async fn both_worlds(io_loop: IOLoop) -> u32 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            // A task of the loop serves, a task of tokio asks.
            let serving = io_loop.spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let byte = stream.read_u8().await.unwrap();
                stream.write_u8(byte + 1).await.unwrap();
            });
            let asking = ::tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_u8(6).await.unwrap();
                stream.read_u8().await.unwrap()
            });
            let (sender, receiver) = oneshot::channel();
            io_loop.call_later(Duration::from_millis(1), || sender.send(10).unwrap());
            sleep(Duration::from_millis(1)).await;
            serving.await.unwrap();
            u32::from(asking.await.unwrap()) + receiver.await.unwrap()
        }
        let _watchdog = watchdog();
        for io_loop in [own(), own_in_multi_thread()] {
            assert_eq!(io_loop.run_sync(both_worlds(io_loop.clone())).unwrap(), 17);
        }
        for runtime in [current_thread(), multi_thread()] {
            let value = runtime.block_on(async {
                let io_loop = attached();
                io_loop.run_until(both_worlds(io_loop.clone())).await
            });
            assert_eq!(value.unwrap(), 17);
        }
    }

    #[test]
    fn a_loop_is_attached_under_a_local_set() {
        let _watchdog = watchdog();
        LocalSet::new().block_on(&current_thread(), async {
            let io_loop = IOLoop::attach().unwrap();
            assert!(io_loop.is_attached());
            assert_eq!(io_loop.backend_name(), "tokio");
            // The loop is a task among others, and its callbacks make more of them.
            let running = spawn_local(io_loop.run());
            let (sender, receiver) = oneshot::channel();
            io_loop.call_later(Duration::from_millis(1), || {
                spawn_local(async { sender.send(thread::current().id()).unwrap() });
            });
            assert_eq!(receiver.await.unwrap(), thread::current().id());
            assert!(!running.is_finished());
            io_loop.stop();
            running.await.unwrap().unwrap();
        });
    }

    // B254
    #[test]
    fn a_run_that_times_out_can_be_followed_by_another() {
        let _watchdog = watchdog();
        let fired = Rc::new(Cell::new(0));
        current_thread().block_on(async {
            let io_loop = attached();
            for n in 1..=10 {
                let gave_up = timeout(Duration::from_micros(100), io_loop.run()).await;
                assert!(gave_up.is_err());
                let gave_up = timeout(Duration::ZERO, io_loop.run_until(pending::<()>())).await;
                assert!(gave_up.is_err());
                assert!(!io_loop.is_running());
                let fire = Rc::clone(&fired);
                io_loop.call_later(Duration::from_micros(100), move || {
                    fire.set(fire.get() + 1);
                    stop();
                });
                io_loop.run().await.unwrap();
                assert_eq!(fired.get(), n);
            }
        });
    }

    // The end of a runtime.

    // B29
    #[test]
    fn a_host_that_has_gone_ends_the_run_with_an_error_that_says_so() {
        let _watchdog = watchdog();
        let runtime = current_thread();
        let io_loop = runtime.block_on(async { attached() });
        let captured = Arc::new(());
        let held = Arc::clone(&captured);
        io_loop.call_later(Duration::from_secs(3600), || drop(held));
        // The run is asleep when its host goes, and is woken by that.
        let (asleep, gone) = channel();
        io_loop.call_soon(move || asleep.send(()).unwrap());
        let ending = thread::spawn(move || {
            gone.recv().unwrap();
            drop(runtime);
        });
        for _ in 0..2 {
            let ended = block_on(io_loop.run());
            let Err(RunError::Io(error)) = ended else { panic!("{ended:?}") };
            assert!(error.to_string().contains("shutdown"), "{error}");
            assert!(!io_loop.is_running());
        }
        ending.join().unwrap();
        assert_eq!(Arc::strong_count(&captured), 2, "the timer is still there");
        io_loop.close().unwrap();
        assert_eq!(Arc::strong_count(&captured), 1);
    }

    // B33
    #[test]
    fn close_shuts_an_own_runtime_down_and_waits_for_it() {
        let _watchdog = watchdog();
        let io_loop = own();
        let (tokio, handle) = (tokio_handle(&io_loop), io_loop.handle());
        let captured = Arc::new(());
        let (spawned, local) = (Arc::clone(&captured), Arc::clone(&captured));
        let done = Arc::new(AtomicBool::new(false));
        let finish = Arc::clone(&done);
        io_loop.call_soon(move || {
            ::tokio::spawn(async move {
                pending::<()>().await;
                drop(spawned);
            });
            spawn_local(async move {
                pending::<()>().await;
                drop(local);
            });
            spawn_blocking(move || {
                // Not done before close has begun.
                while !handle.is_closed() {
                    thread::yield_now();
                }
                (0..100).for_each(|_| thread::yield_now());
                finish.store(true, Ordering::Relaxed);
            });
            stop();
        });
        io_loop.start().unwrap();
        assert!(!is_shut_down(&tokio));
        assert_eq!(Arc::strong_count(&captured), 3);
        io_loop.close().unwrap();
        assert!(done.load(Ordering::Relaxed), "close did not wait");
        assert_eq!(Arc::strong_count(&captured), 1);
        assert!(is_shut_down(&tokio));
    }

    /// A loop with something pending of each kind, and what ends the blocking job among them.
    fn with_work_pending(captured: &Arc<()>) -> (IOLoop, Sender<()>) {
        let io_loop = own();
        let held = || {
            let held = Arc::clone(captured);
            move || drop(held)
        };
        io_loop.call_soon(held());
        io_loop.call_later(Duration::ZERO, held());
        let (task, spawned, local, blocking) = (held(), held(), held(), held());
        io_loop.spawn(async move { task() }).detach();
        let (release, released) = channel();
        io_loop.enter(|| {
            ::tokio::spawn(async move {
                sleep(Duration::from_secs(3600)).await;
                spawned();
            });
            spawn_local(async move { local() });
            spawn_blocking(move || {
                let _ = released.recv();
                blocking();
            });
        });
        (io_loop, release)
    }

    /// What is left once a loop with work pending has gone: the job, which ends when it is
    /// released.
    fn assert_only_the_job_is_left(captured: &Arc<()>, release: Sender<()>, threads_before: usize) {
        assert_eq!(Arc::strong_count(captured), 2);
        drop(release);
        while Arc::strong_count(captured) > 1 || threads() > threads_before {
            thread::yield_now();
        }
    }

    // B265
    #[test]
    fn a_loop_ends_in_an_async_context_without_waiting() {
        if !is_isolated("tokio::a_loop_ends_in_an_async_context_without_waiting") {
            return;
        }
        let _watchdog = watchdog();
        in_every_async_context(|| {
            let before = threads();
            let captured = Arc::new(());
            let (dropped, release) = with_work_pending(&captured);
            drop(dropped);
            assert_only_the_job_is_left(&captured, release, before);
            let (closed, release) = with_work_pending(&captured);
            closed.close().unwrap();
            assert!(is_shut_down(&tokio_handle(&closed)));
            assert_only_the_job_is_left(&captured, release, before);
        });
    }

    #[test]
    fn a_loop_ends_in_anothers_callback_without_waiting() {
        if !is_isolated("tokio::a_loop_ends_in_anothers_callback_without_waiting") {
            return;
        }
        let _watchdog = watchdog();
        let ended = Rc::new(Cell::new(0));
        let end_another = |outer: &IOLoop| {
            let ended = Rc::clone(&ended);
            outer.call_soon(move || {
                stop();
                let before = threads();
                let captured = Arc::new(());
                let (dropped, release) = with_work_pending(&captured);
                drop(dropped);
                assert_only_the_job_is_left(&captured, release, before);
                let (closed, release) = with_work_pending(&captured);
                closed.close().unwrap();
                assert_only_the_job_is_left(&captured, release, before);
                ended.set(ended.get() + 1);
            });
        };
        let bare = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        for outer in [bare, own()] {
            end_another(&outer);
            outer.start().unwrap();
        }
        for runtime in [current_thread(), multi_thread()] {
            runtime.block_on(async {
                let outer = attached();
                end_another(&outer);
                outer.run().await.unwrap();
            });
        }
        assert_eq!(ended.get(), 4);
    }

    // B265
    #[test]
    fn a_loop_starts_no_thread() {
        if !is_isolated("tokio::a_loop_starts_no_thread") {
            return;
        }
        let before = threads();
        let io_loop = own();
        io_loop.call_soon(move || assert_eq!(threads(), before));
        run_and_close(&io_loop, || io_loop.start());
        assert_eq!(threads(), before);
        let runtime = current_thread();
        let host = threads();
        runtime.block_on(async {
            let io_loop = attached();
            let mut run = Some(io_loop.run());
            io_loop.call_later(Duration::from_micros(100), stop);
            run.take().unwrap().await.unwrap();
            io_loop.close().unwrap();
        });
        assert_eq!(threads(), host);
    }

    // B30
    #[test]
    fn loops_are_attached_on_several_threads_at_once() {
        async fn run() {
            let io_loop = attached();
            io_loop.call_later(Duration::from_micros(100), stop);
            io_loop.run().await.unwrap();
            io_loop.close().unwrap();
        }
        // To a host each, and to one that all share.
        on_several_threads(|| current_thread().block_on(run()));
        let shared = multi_thread();
        on_several_threads(move || shared.block_on(run()));
    }
}

/// What is the same for the backends on async-io's reactor.
#[cfg(any(feature = "async-io", feature = "smol"))]
macro_rules! on_the_reactor {
    ($module:ident, $runtime:ident, $kind:ident) => {
        mod $module {
            use ::$runtime::{Timer, block_on};

            use super::*;

            fn own() -> IOLoop {
                let own = IOLoop::builder().backend(BackendKind::$kind).build();
                own.unwrap()
            }

            fn attached() -> IOLoop {
                let attached = IOLoop::builder().backend(BackendKind::$kind).attach();
                attached.unwrap()
            }

            // B204
            #[test]
            fn its_futures_and_the_loops_nest() {
                async fn both_worlds(io_loop: IOLoop) -> u32 {
                    let task = io_loop.spawn(async {
                        Timer::after(Duration::from_millis(1)).await;
                        7
                    });
                    Timer::after(Duration::from_millis(1)).await;
                    task.await.unwrap()
                }
                let _watchdog = watchdog();
                let io_loop = own();
                assert_eq!(io_loop.run_sync(both_worlds(io_loop.clone())).unwrap(), 7);
                let io_loop = attached();
                let value = block_on(io_loop.run_until(both_worlds(io_loop.clone())));
                assert_eq!(value.unwrap(), 7);
            }

            // B205
            #[test]
            fn an_own_loop_started_in_an_async_function_blocks_it() {
                let _watchdog = watchdog();
                block_on(async {
                    let io_loop = own();
                    assert_eq!(io_loop.run_sync(async { 7 }).unwrap(), 7);
                    run_and_close(&io_loop, || io_loop.start());
                });
            }

            // B265
            #[test]
            fn the_reactors_thread_is_the_only_one() {
                let name = concat!(stringify!($module), "::the_reactors_thread_is_the_only_one");
                if !is_isolated(name) {
                    return;
                }
                let before = threads();
                let io_loop = own();
                run_and_close(&io_loop, || io_loop.start());
                assert_eq!(threads(), before, "an own loop leaves the reactor alone");
                for _ in 0..2 {
                    let io_loop = attached();
                    run_and_close(&io_loop, || block_on(io_loop.run()));
                    assert_eq!(threads(), before + 1);
                }
            }

            // B30
            #[test]
            fn loops_are_attached_on_several_threads_at_once() {
                on_several_threads(|| {
                    let io_loop = attached();
                    run_and_close(&io_loop, || block_on(io_loop.run()));
                });
            }
        }
    };
}

#[cfg(feature = "async-io")]
on_the_reactor!(async_io, async_io, AsyncIo);
#[cfg(feature = "smol")]
on_the_reactor!(smol, smol, Smol);
