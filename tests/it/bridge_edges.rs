//! Bridges at their edges: one inside another, and what ends while something waits in it.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, yield_now};
use ioloop::backends::BackendKind;
use ioloop::backends::tokio::TokioBackend;
use ioloop::{IOLoop, Task, bridge};
use tokio::net::{TcpListener, UdpSocket, UnixStream};
use tokio::runtime::{Builder, Handle, Id, Runtime};

const HOUR: Duration = Duration::from_secs(3600);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The runtime whose context this is.
fn entered() -> Option<Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

// B226, B238
#[test]
fn one_inside_another_finds_the_context_as_it_left_it() {
    let (ours, other) = (runtime(), runtime());
    let (ours, other) = (ours.handle().clone(), other.handle().clone());
    let (our_id, other_id) = (ours.id(), other.id());
    // In no runtime's context.
    let bare = || IOLoop::builder().backend(BackendKind::Bare).build();
    let worker = IOLoop::spawn_thread("worker", bare).unwrap();
    let on_loop = bridge::to_loop(&worker.handle(), move || async move {
        let on_smol = bridge::to_smol(async move {
            let again = ours.clone();
            let outer = bridge::in_tokio(&ours, async move {
                let middle = bridge::in_tokio(&other, async move {
                    let inner = bridge::in_tokio(&again, async move {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        let spawned = tokio::spawn(async { entered() });
                        (entered(), spawned.await.unwrap())
                    });
                    let inner = inner.await;
                    (entered(), inner)
                });
                let middle = middle.await;
                (entered(), middle)
            });
            let outer = outer.await;
            (entered(), outer)
        });
        let on_smol = on_smol.await.unwrap();
        (entered(), on_smol)
    });
    let (on_loop, (on_smol, (outer, (middle, (inner, spawned))))) = block_on(on_loop).unwrap();
    assert_eq!((on_loop, on_smol), (None, None));
    assert_eq!((outer, middle, inner), (Some(our_id), Some(other_id), Some(our_id)));
    assert_eq!(spawned, Some(our_id), "by the innermost");
    worker.handle().stop().unwrap();
    worker.join().unwrap();
}

/// A runtime's handle, and what shuts it down.
type Mortal = (Handle, Box<dyn FnOnce()>);

/// Each way in which a runtime can be shut down.
fn mortals() -> [(&'static str, Mortal); 4] {
    let (dropped, left) = (runtime(), runtime());
    let undriven = Builder::new_current_thread().enable_all().build().unwrap();
    let io_loop = IOLoop::builder().backend(BackendKind::Tokio).build().unwrap();
    let loops = io_loop.backend::<TokioBackend>().unwrap().handle().clone();
    [
        ("dropped", (dropped.handle().clone(), Box::new(move || drop(dropped)))),
        ("left", (left.handle().clone(), Box::new(move || left.shutdown_background()))),
        ("undriven", (undriven.handle().clone(), Box::new(move || drop(undriven)))),
        ("a loop's", (loops, Box::new(move || io_loop.close().unwrap()))),
    ]
}

/// Makes what needs a runtime, and is true if it ends as it should.
type Wait = fn() -> Pin<Box<dyn Future<Output = bool> + Send>>;

// B231
#[test]
fn a_runtime_that_is_shut_down_ends_what_waits_in_its_context() {
    let all: [(&str, Wait); 4] = [
        ("a listener", || {
            Box::pin(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                listener.accept().await.is_err()
            })
        }),
        ("a datagram socket", || {
            Box::pin(async {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.recv(&mut [0; 8]).await.is_err()
            })
        }),
        ("a stream", || {
            Box::pin(async {
                let (ours, _theirs) = UnixStream::pair().unwrap();
                ours.readable().await.is_err()
            })
        }),
        ("a task", || {
            Box::pin(async { tokio::spawn(pending::<()>()).await.unwrap_err().is_cancelled() })
        }),
    ];
    for (name, make) in all {
        for (how, (handle, shut_down)) in mortals() {
            println!("{name}, of a runtime that is {how}");
            let (begun, has_begun) = mpsc::channel();
            let waiting = thread::spawn(move || {
                let mut future = pin!(bridge::in_tokio(&handle, make()));
                block_on(poll_fn(|cx| {
                    let polled = future.as_mut().poll(cx);
                    // Told once; later nobody listens any more.
                    let _ = begun.send(());
                    polled
                }))
            });
            has_begun.recv().unwrap();
            drop(has_begun);
            shut_down();
            assert!(waiting.join().unwrap(), "{name}, {how}");
        }
    }
}

// B231
#[test]
fn the_runtime_of_a_loop_that_is_closed_or_dropped_answers_closed() {
    for (driven, closed) in [(false, false), (false, true), (true, false), (true, true)] {
        let io_loop = IOLoop::builder().backend(BackendKind::Tokio).build().unwrap();
        let handle = io_loop.backend::<TokioBackend>().unwrap().handle().clone();
        let on_tokio = bridge::to_tokio(&handle, pending::<()>());
        if driven {
            io_loop.run_sync(yield_now()).unwrap();
        }
        let waiting = thread::spawn(|| block_on(on_tokio).unwrap_err().is_closed());
        if closed {
            io_loop.close().unwrap();
        }
        drop(io_loop);
        assert!(waiting.join().unwrap());
        let late = bridge::to_tokio(&handle, pending::<()>());
        assert!(block_on(late).unwrap_err().is_closed());
    }
}

/// Panics when it is dropped, without a word on standard error.
struct Angry;

impl Drop for Angry {
    fn drop(&mut self) {
        resume_unwind(Box::new("a destructor"));
    }
}

// B231
#[test]
fn a_destructor_that_panics_while_the_far_side_goes_takes_no_answer_along() {
    let angry = || {
        let angry = Angry;
        async move {
            pending::<()>().await;
            drop(angry);
        }
    };
    for polled in [false, true] {
        let runtime = Builder::new_current_thread().build().unwrap();
        let on_tokio = bridge::to_tokio(runtime.handle(), angry());
        let io_loop = IOLoop::new().unwrap();
        let captured = angry();
        let on_loop = bridge::to_loop(&io_loop.handle(), move || captured);
        let executor = async_executor::Executor::new();
        let on_executor = bridge::to_executor(&executor, angry());
        if polled {
            assert!(executor.try_tick());
            runtime.block_on(tokio::task::yield_now());
            io_loop.run_sync(async { yield_now().await }).unwrap();
        }
        drop((runtime, io_loop, executor));
        assert!(block_on(on_tokio).unwrap_err().is_closed());
        // async-executor by itself would abort the process.
        assert!(block_on(on_executor).unwrap_err().is_closed());
        assert!(block_on(on_loop).unwrap_err().is_closed());
    }
}

// B232
#[test]
fn a_task_that_cancels_itself_ends_after_that_poll() {
    let tokio = runtime();
    let worker = IOLoop::spawn_thread("worker", IOLoop::new).unwrap();
    for place in 0..3 {
        let (sender, receiver) = mpsc::channel::<Arc<Task<()>>>();
        let own = async move {
            let own = receiver.recv().unwrap();
            own.cancel();
            drop(own);
            pending::<()>().await;
        };
        let task = match place {
            0 => bridge::to_tokio(tokio.handle(), own),
            1 => bridge::to_smol(own),
            _ => bridge::to_loop(&worker.handle(), move || own),
        };
        let mut task = Arc::new(task.keep());
        sender.send(Arc::clone(&task)).unwrap();
        let mut task = loop {
            // It drops its share before it waits.
            match Arc::try_unwrap(task) {
                Ok(task) => break task,
                Err(shared) => task = shared,
            }
            thread::yield_now();
        };
        assert!(block_on(&mut task).unwrap_err().is_cancelled());
    }
    worker.handle().stop().unwrap();
    worker.join().unwrap();
}

// B232, B238
#[test]
fn what_a_thread_keeps_to_its_end_is_cancelled_and_dropped_there() {
    thread_local! {
        static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    }
    let tokio = runtime();
    let worker = IOLoop::spawn_thread("worker", IOLoop::new).unwrap();
    let (handle, io_loop) = (tokio.handle().clone(), worker.handle());
    let (sender, dropped) = mpsc::channel();
    let ending = thread::spawn(move || {
        // Told by the end of the channel's sender.
        let waits = |sender: &mpsc::Sender<()>| {
            let sender = sender.clone();
            async move {
                pending::<()>().await;
                drop(sender);
            }
        };
        // The list's destructor is registered before tokio's thread-local, and so runs after it.
        KEPT.with_borrow_mut(Vec::clear);
        let sleep = async { tokio::time::sleep(HOUR).await };
        let mut polled = Box::pin(bridge::in_tokio(&handle, sleep));
        assert!(poll_once(polled.as_mut()).is_pending());
        let fresh = bridge::in_tokio(&handle, waits(&sender));
        let on_tokio = bridge::to_tokio(&handle, waits(&sender));
        let on_smol = bridge::to_smol(waits(&sender));
        let again = sender.clone();
        let on_loop = bridge::to_loop(&io_loop, move || waits(&again));
        KEPT.with_borrow_mut(|kept| {
            kept.push(Box::new(polled));
            kept.push(Box::new(fresh));
            kept.push(Box::new(on_tokio));
            kept.push(Box::new(on_smol));
            kept.push(Box::new(on_loop));
        });
    });
    ending.join().unwrap();
    assert!(dropped.recv().is_err(), "the last of them is gone");
    worker.handle().stop().unwrap();
    worker.join().unwrap();
}

// B238
#[test]
fn tokio_makes_no_future_yield_where_none_of_its_tasks_is_polled() {
    let runtime = runtime();
    let count = async || {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        (0..1000).for_each(|n| sender.send(n).unwrap());
        for _ in 0..1000 {
            receiver.recv().await.unwrap();
        }
    };
    let here = pin!(bridge::in_tokio(runtime.handle(), count()));
    assert!(poll_once(here).is_ready());
    let there = bridge::to_tokio(runtime.handle(), async move {
        let mut counting = pin!(count());
        poll_fn(|cx| Poll::Ready(counting.as_mut().poll(cx).is_ready())).await
    });
    assert!(!block_on(there).unwrap(), "in a task it yields");
}

/// A waker whose shares are counted.
struct Shared;

impl Wake for Shared {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_future_over_there_held_its_waker_twice() {
    let mut spawned = None;
    let far = bridge::to(|future| spawned = Some(Box::pin(future)), pending::<()>());
    let mut spawned = spawned.unwrap();
    let shares = Arc::new(Shared);
    let waker = Waker::from(Arc::clone(&shares));
    for _ in 0..3 {
        assert!(spawned.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // This one, the waker's, and the one that a cancellation wakes.
        assert_eq!(Arc::strong_count(&shares), 3);
    }
    // Another waker takes its place.
    assert!(poll_once(spawned.as_mut()).is_pending());
    assert_eq!(Arc::strong_count(&shares), 2);
    drop(far);
    assert!(poll_once(spawned.as_mut()).is_ready());
}
