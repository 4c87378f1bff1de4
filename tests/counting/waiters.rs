//! Those who wait for a source: what they keep, what they are told, and that their wakers may do
//! anything.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use ioloop::{Async, IOLoop, Reactor, Readiness, sleep, timeout};

use testkit::counting::counts;
use testkit::ways::every_way;

const ATTEMPTS: usize = 3_000;

/// What a few objects of the loop may take, and no attempt does.
const FEW_BYTES: isize = 4 * 1024;

struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker of its own, as each task and each `FuturesUnordered` has.
fn fresh(wakes: &mut Vec<std::sync::Weak<Counts>>) -> Waker {
    let counts = Arc::new(Counts(AtomicUsize::new(0)));
    wakes.push(Arc::downgrade(&counts));
    counts.into()
}

fn poll_with<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

fn quiet_pair(io_loop: &IOLoop) -> (Async<UnixStream>, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    (Async::new(io_loop, ours).unwrap(), peer)
}

/// One task that reads by the trait is the rule, and needs no list of those who are woken.
#[test]
fn a_source_that_one_task_reads_kept_room_for_four_wakers() {
    let io_loop = IOLoop::new().unwrap();
    let task = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&task));
    // The first has the loop make what it makes once.
    let kept = [(); 3].map(|()| {
        let (mut stream, mut peer) = quiet_pair(&io_loop);
        let mut byte = [0];
        assert!(poll_with(pin!(stream.read(&mut byte)), &waker).is_pending());
        let before = counts().bytes;
        peer.write_all(b".").unwrap();
        io_loop.call_soon(|| IOLoop::current().unwrap().stop());
        io_loop.start().unwrap();
        counts().bytes - before
    });
    assert_eq!(task.0.load(Ordering::Relaxed), 3, "each was told");
    assert_eq!(kept[1..], [0, 0]);
}

// B271: as an idle connection is read that a time-out ends, again and again, each time by another
// task.
#[test]
fn reads_that_were_given_up_piled_up_wakers() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, mut peer) = quiet_pair(&io_loop);
        let attempt = || {
            let task = Arc::new(Counts(AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&task));
            let mut byte = [0];
            let mut reading = pin!(async { (&stream).read(&mut byte).await });
            assert!(poll_with(reading.as_mut(), &waker).is_pending());
            Arc::downgrade(&task)
        };
        attempt();
        let before = counts().bytes;
        let mut alive = 0;
        for _ in 0..ATTEMPTS {
            let task = attempt();
            alive += usize::from(task.upgrade().is_some());
        }
        assert_eq!(alive, ATTEMPTS, "the last one is kept, and would be woken");
        assert!(counts().bytes - before <= FEW_BYTES, "{} bytes grew", counts().bytes - before);
        // One byte wakes one task, and not as many as there were attempts.
        let callbacks = io_loop.metrics().callbacks;
        peer.write_all(b"x").unwrap();
        let mut byte = [0];
        way.run(&io_loop, async { (&stream).read(&mut byte).await }).unwrap();
        assert!(io_loop.metrics().callbacks - callbacks <= 10);
    });
}

// B271: the same by tasks of the loop and time-outs, as users do it.
#[test]
fn an_idle_connection_that_was_read_with_time_outs_grew() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, peer) = quiet_pair(&io_loop);
        let stream = Rc::new(stream);
        let attempts = |rounds: usize| {
            let (stream, me) = (Rc::clone(&stream), io_loop.clone());
            async move {
                for _ in 0..rounds {
                    let task_stream = Rc::clone(&stream);
                    let task = me.spawn(async move { (&*task_stream).read(&mut [0]).await });
                    sleep(&me, Duration::ZERO).await.unwrap();
                    task.cancel();
                    let _ = task.await;
                    let readable = timeout(&me, Duration::ZERO, stream.readable()).await;
                    assert!(readable.is_err());
                }
            }
        };
        way.run(&io_loop, attempts(50));
        let before = counts().bytes;
        way.run(&io_loop, attempts(ATTEMPTS / 10));
        assert!(counts().bytes - before <= FEW_BYTES, "{} bytes grew", counts().bytes - before);
        drop(peer);
    });
}

// B271
#[test]
fn any_number_wait_by_readable_and_those_given_up_are_forgotten() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, mut peer) = quiet_pair(&io_loop);
        // What the loop needs for its first run is no part of this.
        assert!(way.run(&io_loop, timeout(&io_loop, Duration::ZERO, stream.readable())).is_err());
        let before = counts().bytes;
        let mut tasks = Vec::new();
        let mut waiting: Vec<Pin<Box<Readiness<'_>>>> = Vec::new();
        for _ in 0..ATTEMPTS {
            let mut readable = Box::pin(stream.readable());
            assert!(poll_with(readable.as_mut(), &fresh(&mut tasks)).is_pending());
            waiting.push(readable);
        }
        let alive = |tasks: &[std::sync::Weak<Counts>]| {
            tasks.iter().filter(|t| t.strong_count() > 0).count()
        };
        assert_eq!(alive(&tasks), ATTEMPTS);
        // Every second one gives up; all others are told.
        let mut index = 0;
        waiting.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        assert_eq!(alive(&tasks), ATTEMPTS / 2);
        peer.write_all(b"x").unwrap();
        way.run(&io_loop, stream.readable()).unwrap();
        for mut readable in waiting.drain(..) {
            assert!(poll_with(readable.as_mut(), Waker::noop()).is_ready());
        }
        assert_eq!(alive(&tasks), 0);
        drop((tasks, waiting));
        let grown = counts().bytes - before;
        assert!(grown <= FEW_BYTES, "{grown} bytes stayed after the burst");
    });
}

/// What a waker of [`meddling`] does whenever it is cloned, woken or dropped.
type Meddle = Rc<dyn Fn()>;

/// A waker that runs `meddle` in its clone, its wake and its drop. To be used on this thread alone.
fn meddling(meddle: Meddle) -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, release);

    fn borrowed(data: *const ()) -> Meddle {
        let pointer = data.cast::<Meddle>();
        // SAFETY: every data pointer of this table comes from `Box::into_raw` below, and is freed
        // by `release` or `wake` alone, after which it is not used.
        Rc::clone(unsafe { &*pointer })
    }

    fn raw(meddle: Meddle) -> RawWaker {
        RawWaker::new(Box::into_raw(Box::new(meddle)).cast(), &TABLE)
    }

    fn clone(data: *const ()) -> RawWaker {
        let meddle = borrowed(data);
        meddle();
        raw(meddle)
    }

    fn wake(data: *const ()) {
        wake_by_ref(data);
        release(data);
    }

    fn wake_by_ref(data: *const ()) {
        borrowed(data)();
    }

    fn release(data: *const ()) {
        // SAFETY: as above; this is the one place that frees it.
        let meddle = unsafe { Box::from_raw(data.cast_mut().cast::<Meddle>()) };
        meddle();
    }

    // SAFETY: the table keeps the contract of a waker, but for being thread-safe: it never leaves
    // this thread.
    unsafe { Waker::from_raw(raw(meddle)) }
}

// B271: an executor may poll inside of `wake`, and drop a task inside of a waker's drop.
#[test]
fn wakers_may_use_the_source_in_their_clone_wake_and_drop() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, mut peer) = quiet_pair(&io_loop);
        let stream = Rc::new(stream);
        let (calls, inside) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let meddle: Meddle = {
            let (stream, calls) = (Rc::clone(&stream), Rc::clone(&calls));
            Rc::new(move || {
                calls.set(calls.get() + 1);
                if inside.replace(true) {
                    return;
                }
                let cx = &mut Context::from_waker(Waker::noop());
                // One that comes and goes, and one of each poll trait.
                assert!(pin!(stream.readable()).poll(cx).is_pending());
                let _ = pin!(stream.writable()).poll(cx);
                let _ = stream.poll_writable(cx);
                let _ = futures_lite::AsyncWrite::poll_flush(Pin::new(&mut &*stream), cx);
                inside.set(false);
            })
        };
        let mut byte = [0];
        {
            let waker = meddling(Rc::clone(&meddle));
            let mut waiting = [Box::pin(stream.readable()), Box::pin(stream.readable())];
            for readable in &mut waiting {
                assert!(poll_with(readable.as_mut(), &waker).is_pending());
                // With another waker, whose forerunner is dropped.
                assert!(poll_with(readable.as_mut(), &meddling(Rc::clone(&meddle))).is_pending());
            }
            for _ in 0..2 {
                let another = meddling(Rc::clone(&meddle));
                let mut reading = pin!(async { (&*stream).read(&mut byte).await });
                assert!(poll_with(reading.as_mut(), &another).is_pending());
                assert!(stream.poll_readable(&mut Context::from_waker(&another)).is_pending());
            }
            let [first, second] = waiting;
            drop(first);
            peer.write_all(b"x").unwrap();
            way.run(&io_loop, second).unwrap();
        }
        assert!(calls.get() > 10);
        way.run(&io_loop, async { (&*stream).read(&mut byte).await }).unwrap();
        drop(meddle);
    });
}

/// A stream of bytes over one's own descriptor, which knows no future but the polls of its source.
struct Bytes<'a>(&'a Async<UnixStream>);

impl futures_lite::Stream for Bytes<'_> {
    type Item = u8;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u8>> {
        let mut byte = [0];
        loop {
            match self.0.get_ref().read(&mut byte) {
                Ok(0) => return Poll::Ready(None),
                Ok(_) => return Poll::Ready(Some(byte[0])),
                Err(_) => std::task::ready!(self.0.poll_readable(cx)).unwrap(),
            }
        }
    }
}

#[test]
fn a_stream_over_ones_own_descriptor_took_a_box_for_each_wait() {
    use futures_lite::StreamExt;
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, peer) = quiet_pair(&io_loop);
        let peer = Rc::new(RefCell::new(Some(peer)));
        let me = io_loop.downgrade();
        fn send_next(
            me: ioloop::WeakIOLoop,
            peer: Rc<RefCell<Option<UnixStream>>>,
            mut left: std::ops::Range<u8>,
        ) {
            let Some(io_loop) = me.upgrade() else { return };
            io_loop.call_later(Duration::from_micros(100), move || match left.next() {
                Some(byte) => {
                    peer.borrow_mut().as_mut().unwrap().write_all(&[byte]).unwrap();
                    send_next(me, peer, left);
                }
                None => drop(peer.take()),
            });
        }
        send_next(me, peer, 0..10);
        let bytes: Vec<u8> = way.run(&io_loop, Bytes(&stream).collect());
        assert_eq!(bytes, Vec::from_iter(0..10));
    });
}

#[test]
fn a_poll_that_was_told_says_so_once() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, mut peer) = quiet_pair(&io_loop);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(stream.poll_readable(cx).is_pending());
        assert!(stream.poll_writable(cx).is_pending());
        peer.write_all(b"x").unwrap();
        way.run(&io_loop, stream.readable()).unwrap();
        assert!(stream.poll_readable(cx).is_ready());
        assert!(stream.poll_writable(cx).is_ready(), "there was room all the while");
        assert!(stream.poll_readable(cx).is_pending());
        // A read that finds nothing takes back what was said.
        way.run(&io_loop, stream.readable()).unwrap();
        let mut bytes = [0; 2];
        let mut read = || pin!(async { (&stream).read(&mut bytes).await }).poll(cx);
        assert!(matches!(read(), Poll::Ready(Ok(1))));
        assert!(read().is_pending());
        assert!(stream.poll_readable(cx).is_pending());
    });
}

#[test]
fn the_source_can_be_had_back() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (stream, mut peer) = quiet_pair(&io_loop);
        assert!(pin!(stream.readable()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut stream = stream.into_inner().unwrap();
        assert_eq!(io_loop.metrics().watches, 0);
        peer.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        // It can go to another loop.
        let other = way.io_loop();
        let stream = Async::new(&other, stream).unwrap();
        peer.write_all(b"y").unwrap();
        way.run(&other, stream.readable()).unwrap();
    });
}
