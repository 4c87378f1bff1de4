//! Sleeping, time-outs, intervals and `Async`: what they promise, and what they leave behind.

use std::future::{Future, pending};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ioloop::{Async, IOLoop, ManualClock, Reactor, sleep, sleep_until, timeout};

const MS: Duration = Duration::from_millis(1);

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_sleep_counts_from_its_call_and_never_ends_early() {
    let io_loop = IOLoop::new().unwrap();
    let start = Instant::now();
    let first = sleep(&io_loop, 4 * MS);
    let second = sleep_until(&io_loop, start + 2 * MS);
    io_loop
        .run_sync(async {
            second.await.unwrap();
            assert!(Instant::now() >= start + 2 * MS);
            first.await.unwrap();
            assert!(Instant::now() >= start + 4 * MS);
        })
        .unwrap();
}

#[test]
fn a_sleep_that_is_dropped_leaves_no_timer() {
    let io_loop = IOLoop::new().unwrap();
    let mut sleep = Box::pin(sleep(&io_loop, Duration::from_secs(60)));
    assert!(poll_once(sleep.as_mut()).is_pending());
    assert_eq!(io_loop.metrics().timers, 1);
    drop(sleep);
    assert_eq!(io_loop.metrics().timers, 0);
}

#[test]
fn a_sleep_on_a_loop_that_is_closed_ends_with_an_error() {
    let io_loop = IOLoop::new().unwrap();
    let mut before = pin!(sleep(&io_loop, Duration::from_secs(60)));
    assert!(poll_once(before.as_mut()).is_pending());
    io_loop.close().unwrap();
    assert_eq!(poll_once(before), Poll::Ready(Err(ioloop_closed())));
    assert_eq!(poll_once(pin!(sleep(&io_loop, MS))), Poll::Ready(Err(ioloop_closed())));
}

/// `Closed` cannot be made outside the library: one that it gives.
fn ioloop_closed() -> ioloop::Closed {
    let io_loop = IOLoop::new().unwrap();
    let handle = io_loop.handle();
    io_loop.close().unwrap();
    handle.stop().unwrap_err()
}

#[test]
fn a_timeout_drops_its_future_and_removes_its_timer() {
    let io_loop = IOLoop::new().unwrap();
    let held = Rc::new(());
    let inner = Rc::clone(&held);
    let slow = timeout(&io_loop, MS, async move {
        let _inner = inner;
        pending::<()>().await;
    });
    assert!(io_loop.run_sync(slow).unwrap().unwrap_err().is_elapsed());
    assert_eq!(Rc::strong_count(&held), 1);
    let quick = timeout(&io_loop, Duration::from_secs(60), async { 7 });
    assert_eq!(io_loop.run_sync(quick).unwrap().unwrap(), 7);
    assert_eq!(io_loop.metrics().timers, 0);
    let ready = timeout(&io_loop, Duration::ZERO, async { 8 });
    assert_eq!(io_loop.run_sync(ready).unwrap().unwrap(), 8, "ready in the first poll wins");
}

#[test]
fn a_timeout_had_room_for_its_future_twice() {
    async fn large() -> [u8; 4096] {
        let bytes = [7; 4096];
        futures_lite::future::yield_now().await;
        bytes
    }
    let io_loop = IOLoop::new().unwrap();
    let limited = timeout(&io_loop, Duration::from_secs(60), large());
    let limits = size_of_val(&limited) - size_of_val(&large());
    assert!(limits <= 128, "{limits} bytes beside the future");
    // Both are gone as soon as it is over, and not only when it is dropped.
    let mut limited = pin!(limited);
    assert!(poll_once(limited.as_mut()).is_pending());
    assert!(matches!(poll_once(limited.as_mut()), Poll::Ready(Ok(bytes)) if bytes == [7; 4096]));
    assert_eq!(io_loop.metrics().timers, 0);
}

#[test]
fn an_interval_skips_what_it_missed_and_stays_on_its_grid() {
    let clock = ManualClock::new();
    let io_loop = IOLoop::builder().clock(&clock).build().unwrap();
    let start = clock.now();
    let mut ticks = ioloop::interval(&io_loop, 2 * MS).unwrap();
    io_loop
        .run_sync(async {
            assert_eq!(ticks.tick().await.unwrap(), start + 2 * MS);
            clock.advance(7 * MS);
            assert_eq!(ticks.tick().await.unwrap(), start + 4 * MS, "one that was due meanwhile");
            assert_eq!(clock.now(), start + 9 * MS, "at once");
            let next = ticks.tick().await.unwrap();
            assert_eq!(next, start + 10 * MS, "the others that were due are skipped");
            assert_eq!(clock.now(), next);
        })
        .unwrap();
    assert!(ioloop::interval(&io_loop, Duration::ZERO).is_err());
}

#[test]
fn a_pending_readiness_that_is_dropped_leaves_no_waker_and_an_idle_loop() {
    let io_loop = IOLoop::new().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Async::new(&io_loop, theirs).unwrap();
    {
        let mut readable = pin!(theirs.readable());
        assert!(poll_once(readable.as_mut()).is_pending());
    }
    ours.write_all(b"x").unwrap();
    let polls = io_loop.metrics().polls;
    io_loop.call_later(2 * MS, || IOLoop::current().unwrap().stop());
    io_loop.start().unwrap();
    assert!(io_loop.metrics().polls - polls <= 4, "what nobody waits for does not spin");
    assert_eq!(io_loop.metrics().events, 0);
    drop(theirs);
    assert_eq!(io_loop.metrics().watches, 0);
}

#[test]
fn many_tasks_wait_for_one_direction() {
    let io_loop = IOLoop::new().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Rc::new(Async::new(&io_loop, theirs).unwrap());
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let theirs = Rc::clone(&theirs);
            io_loop.spawn(async move { theirs.readable().await.unwrap() })
        })
        .collect();
    io_loop.call_later(MS, move || {
        ours.write_all(b"x").unwrap();
        std::mem::forget(ours);
    });
    io_loop
        .run_sync(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
}

#[test]
fn both_directions_of_one_source_are_used_by_two_tasks_at_once() {
    const BYTES: usize = 1 << 20;
    let io_loop = IOLoop::new().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Rc::new(Async::new(&io_loop, ours).unwrap());
    let theirs = Rc::new(Async::new(&io_loop, theirs).unwrap());
    let send = |stream: Rc<Async<UnixStream>>| async move {
        let chunk = [7; 8192];
        let mut left = BYTES;
        while left > 0 {
            let part = &chunk[..left.min(chunk.len())];
            left -= stream.write_with(|mut stream| stream.write(part)).await.unwrap();
        }
    };
    let receive = |stream: Rc<Async<UnixStream>>| async move {
        let (mut chunk, mut received) = ([0; 8192], 0);
        while received < BYTES {
            received += stream.read_with(|mut stream| stream.read(&mut chunk)).await.unwrap();
        }
    };
    let tasks = [
        io_loop.spawn(send(Rc::clone(&ours))),
        io_loop.spawn(receive(ours)),
        io_loop.spawn(send(Rc::clone(&theirs))),
        io_loop.spawn(receive(theirs)),
    ];
    io_loop
        .run_sync(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    assert_eq!(io_loop.metrics().watches, 0);
}

#[test]
fn waiting_on_a_closed_loop_is_an_error_and_does_not_hang() {
    let io_loop = IOLoop::new().unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Async::new(&io_loop, theirs).unwrap();
    let mut readable = pin!(theirs.readable());
    assert!(poll_once(readable.as_mut()).is_pending());
    io_loop.close().unwrap();
    let Poll::Ready(Err(error)) = poll_once(readable) else { panic!("it hangs") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let Poll::Ready(Err(_)) = poll_once(pin!(theirs.writable())) else { panic!("it hangs") };
}

#[test]
fn a_listener_accepts_many_connections() {
    let io_loop = IOLoop::new().unwrap();
    let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0").unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    io_loop
        .run_sync(async {
            for _ in &clients {
                let (stream, peer) = listener.accept(&io_loop).await.unwrap();
                assert_eq!(stream.get_ref().peer_addr().unwrap(), peer);
            }
        })
        .unwrap();
    let _: &TcpListener = listener.get_ref();
}
