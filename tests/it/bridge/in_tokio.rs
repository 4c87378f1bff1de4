//! Futures that are polled in tokio's context.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, bridge};
use tokio::runtime::{Builder, Handle as TokioHandle};

use super::sides::{Far, Runner, nears};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A `!Send` future that needs tokio's timer, and notes in which runtimes it was polled and
/// dropped.
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
