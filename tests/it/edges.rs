//! A host says once that the loop's descriptor has become readable. Whenever it says so, the loop
//! polls.

// B268

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ioloop::backends::{Backend, Descriptor, Registration};
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, Lent, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A host, which sends the loop a byte just before it answers for the nth time.
struct Host {
    answers: Cell<u32>,
    sends_before: u32,
    peer: UnixStream,
    /// The descriptor has become readable, and the loop was not told yet.
    edge: Cell<bool>,
    is_exact: bool,
}

struct Hosting(Rc<Host>);

impl Backend for Hosting {
    fn name(&self) -> &str {
        "edges"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        let now = Timespec::default();
        let readable = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&now))? == 1;
        self.0.edge.set(readable);
        Ok(Box::new(Hosting(Rc::clone(&self.0))))
    }
}

impl Registration for Hosting {
    fn poll_ready(&mut self, _: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
        let Host { answers, sends_before, peer, edge, .. } = &*self.0;
        if answers.replace(answers.get() + 1) == *sends_before {
            (&mut &*peer).write_all(b"x")?;
            edge.set(true);
        }
        if edge.replace(false) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn is_exact(&self) -> bool {
        self.0.is_exact
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Wakes a sleeping loop for some work, with a byte that comes at any of the moments at which it
/// asks its host.
fn reads_whenever_it_comes(prepare: impl Fn(&IOLoop) -> Box<dyn FnOnce()>) {
    let queue = |io_loop: &IOLoop, work| drop(io_loop.call_soon(work));
    for is_exact in [true, false] {
        reads_each_byte(is_exact, &prepare, queue);
    }
}

fn reads_each_byte<W>(
    is_exact: bool,
    prepare: impl Fn(&IOLoop) -> W,
    hand_in: impl Fn(&IOLoop, W),
) {
    let mut moments = 0;
    loop {
        let (ours, peer) = UnixStream::pair().unwrap();
        let (answers, edge) = (Cell::new(0), Cell::new(false));
        let host = Rc::new(Host { answers, sends_before: moments, peer, edge, is_exact });
        let io_loop = IOLoop::builder().host(Hosting(Rc::clone(&host))).attach().unwrap();
        let read = Rc::new(Cell::new(0));
        let reads = Rc::clone(&read);
        let reader = io_loop.add_reader(ours, move |mut ours: &UnixStream| {
            reads.set(reads.get() + ours.read(&mut [0]).unwrap());
        });
        reader.unwrap();
        let work = prepare(&io_loop);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut run = pin!(io_loop.run());
        let mut until_asleep = || {
            while woken.0.swap(false, Ordering::Relaxed) || host.edge.get() {
                assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
        };
        until_asleep();
        hand_in(&io_loop, work);
        until_asleep();
        if host.answers.get() <= moments {
            break;
        }
        assert_eq!(read.get(), 1, "sent before answer {moments}");
        moments += 1;
    }
    assert!(moments > 1, "it was asked for a byte that it had not sent yet");
}

#[test]
fn a_byte_that_came_beside_a_post_is_read() {
    for is_exact in [true, false] {
        let post = |io_loop: &IOLoop, ()| io_loop.handle().add_callback(|| ()).unwrap();
        reads_each_byte(is_exact, |_| (), post);
    }
}

#[test]
fn a_loop_that_was_posted_to_asked_its_host_twice() {
    let (answers, edge) = (Cell::new(0), Cell::new(false));
    let (peer, _) = UnixStream::pair().unwrap();
    let host = Rc::new(Host { answers, sends_before: u32::MAX, peer, edge, is_exact: true });
    let io_loop = IOLoop::builder().host(Hosting(Rc::clone(&host))).attach().unwrap();
    let mut run = pin!(io_loop.run());
    let mut poll_run = || run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll_run().is_pending());
    let (asleep, polls) = (host.answers.get(), io_loop.metrics().polls);
    io_loop.handle().add_callback(|| ()).unwrap();
    assert!(poll_run().is_pending());
    assert_eq!(host.answers.get(), asleep + 1, "before it slept again");
    let metrics = io_loop.metrics();
    assert_eq!((metrics.callbacks, metrics.polls), (1, polls));
}

#[test]
fn a_byte_that_came_while_a_callback_ran_is_read() {
    reads_whenever_it_comes(|_| Box::new(|| ()));
}

#[test]
fn a_byte_that_came_while_the_host_was_told_a_deadline_was_lost() {
    reads_whenever_it_comes(|io_loop| {
        io_loop.call_later(HOUR, || ());
        Box::new(|| ())
    });
}

#[test]
fn a_byte_that_came_while_the_host_was_told_the_deadline_of_a_hook_was_lost() {
    reads_whenever_it_comes(|io_loop| {
        let weak = io_loop.downgrade();
        io_loop.before_sleep(move || {
            weak.upgrade().unwrap().call_later(HOUR, || ());
            BeforeSleep::Sleep
        });
        Box::new(|| ())
    });
}

/// A descriptor was closed behind the loop's back while a duplicate lives: its set is made anew,
/// and registered.
#[test]
fn a_byte_that_came_while_a_new_set_was_registered_was_lost() {
    reads_whenever_it_comes(|io_loop| {
        let (closed, peer) = UnixStream::pair().unwrap();
        let duplicate = closed.try_clone().unwrap();
        // SAFETY: that the number stays the same file is not true, on purpose; the loop does
        // nothing with it but watch.
        #[allow(unsafe_code)]
        let lent = unsafe { Lent::new(closed.as_raw_fd()) };
        let orphan = io_loop.add_reader(lent, |_| ()).unwrap();
        let io_loop = io_loop.downgrade();
        Box::new(move || {
            drop(closed);
            assert!(orphan.remove());
            (&peer).write_all(b"x").unwrap();
            // Has the loop poll in this turn, find the orphan, and be rid of it.
            let writer = io_loop.upgrade().unwrap().add_writer(duplicate, |_| ()).unwrap();
            writer.pause();
            drop(peer);
        })
    });
}

/// A host that polls the loop again without having kept why: its answer is never `Ready`.
struct Forgets {
    is_exact: bool,
}

impl Backend for Forgets {
    fn name(&self) -> &str {
        "forgets"
    }

    fn register(&self, _: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Forgets { is_exact: self.is_exact }))
    }
}

impl Registration for Forgets {
    fn poll_ready(&mut self, _: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn is_exact(&self) -> bool {
        self.is_exact
    }
}

#[test]
fn a_host_that_answered_pending_to_its_own_wake_lost_an_event() {
    for is_exact in [false, true] {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let io_loop = IOLoop::builder().host(Forgets { is_exact }).attach().unwrap();
        let read = Rc::new(Cell::new(0));
        let reads = Rc::clone(&read);
        let reader = io_loop.add_reader(ours, move |mut ours: &UnixStream| {
            reads.set(reads.get() + ours.read(&mut [0]).unwrap());
        });
        reader.unwrap();
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut run = pin!(io_loop.run());
        while woken.0.swap(false, Ordering::Relaxed) {
            assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        peer.write_all(b"x").unwrap();
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // One that says what is not true is believed.
        assert_eq!(read.get(), usize::from(!is_exact));
    }
}

/// An event arrives in the same round of the reactor in which the loop had asked for it, which is
/// what `poll_readable` of async-io does not tell of.
#[cfg(any(feature = "async-io", feature = "smol"))]
#[test]
fn an_event_woke_a_loop_on_async_ios_thread_four_times() {
    use std::thread;

    use ioloop::backends::BackendKind;

    const EVENTS: u64 = 100;
    for kind in [BackendKind::AsyncIo, BackendKind::Smol] {
        if !kind.is_compiled() {
            continue;
        }
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
        let (weak, left) = (io_loop.downgrade(), Cell::new(EVENTS));
        let answer = move |mut ours: &UnixStream| {
            assert_eq!(ours.read(&mut [0]).unwrap(), 1);
            left.set(left.get() - 1);
            match left.get() {
                0 => weak.upgrade().unwrap().stop(),
                _ => ours.write_all(b".").unwrap(),
            }
        };
        let watch = io_loop.add_reader(ours, answer).unwrap();
        let asking = thread::spawn(move || {
            for _ in 1..EVENTS {
                peer.write_all(b".").unwrap();
                assert_eq!(peer.read(&mut [0]).unwrap(), 1);
            }
            peer.write_all(b".").unwrap();
        });
        futures_lite::future::block_on(io_loop.run()).unwrap();
        asking.join().unwrap();
        watch.remove();
        let metrics = io_loop.metrics();
        assert_eq!(metrics.events, EVENTS);
        // Twice for some of them: where the byte arrives while the loop asks.
        assert!(metrics.wakeups <= EVENTS + EVENTS / 2, "{metrics:?}");
    }
}
