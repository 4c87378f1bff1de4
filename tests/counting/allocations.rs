//! In the steady state, with no new watch, timer or callback, the loop allocates nothing.
//!
//! What is allocated while the loop is polled counts as its own, what is allocated between two
//! polls as its host's. What is not the steady state is that an attached loop that has had no rest
//! for thousands of events puts its descriptor back into its host's reactor, which makes an object
//! for it. Of the hosts, `async_io::block_on` and `smol::block_on` allocate: their reactor makes a
//! list of wakers in each of its rounds. The others allocate nothing either.
// B264

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::observe::Exception;
use ioloop::{IOLoop, Reactor};
use testkit::counting::counts;

thread_local! {
    /// What this thread had allocated when it began with code whose allocations count as the
    /// loop's.
    static BEGAN: Cell<Option<u64>> = const { Cell::new(None) };
    /// What such code has allocated before.
    static OURS: Cell<u64> = const { Cell::new(0) };
}

/// What such code has allocated on this thread.
fn ours() -> u64 {
    OURS.get() + BEGAN.get().map_or(0, |began| allocations() - began)
}

/// What all other code has allocated on it.
fn hosts() -> u64 {
    allocations() - ours()
}

fn allocations() -> u64 {
    counts().allocations as u64
}

/// Runs code whose allocations count as the loop's.
fn as_loop<T>(code: impl FnOnce() -> T) -> T {
    if BEGAN.get().is_some() {
        return code();
    }
    BEGAN.set(Some(allocations()));
    let value = code();
    OURS.set(ours());
    BEGAN.set(None);
    value
}

/// Rounds until buffers have grown to what is needed, and rounds that are measured.
const WARM_UP: u32 = 300;
const MEASURED: u32 = 1000;

/// Measures from the end of the warm-up to the end of the rounds.
#[derive(Default)]
struct Meter {
    round: Cell<u32>,
    begin: Cell<Allocated>,
    allocated: Cell<Option<Allocated>>,
}

/// Allocations of the loop, and of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allocated {
    ours: u64,
    hosts: u64,
    /// How often the descriptor was put into the host's reactor.
    registrations: u64,
}

impl Allocated {
    /// By this thread so far.
    fn so_far() -> Self {
        let registrations = IOLoop::current().map_or(0, |io_loop| io_loop.metrics().registrations);
        Allocated { ours: ours(), hosts: hosts(), registrations }
    }
}

impl Meter {
    /// Called in each round, by the loop; true in the last.
    fn round(&self) -> bool {
        let round = self.round.get() + 1;
        self.round.set(round);
        if round == WARM_UP {
            self.begin.set(Allocated::so_far());
        }
        let over = round == WARM_UP + MEASURED;
        if over {
            let (begin, end) = (self.begin.get(), Allocated::so_far());
            self.allocated.set(Some(Allocated {
                ours: end.ours - begin.ours,
                hosts: end.hosts - begin.hosts,
                registrations: end.registrations - begin.registrations,
            }));
        }
        over
    }
}

/// A loop and how to drive it until it is stopped.
struct Driven {
    name: &'static str,
    io_loop: IOLoop,
    drive: Box<dyn Fn(&IOLoop)>,
    host_allocates: bool,
}

fn own(name: &'static str, kind: BackendKind) -> Driven {
    Driven {
        name,
        io_loop: IOLoop::builder().backend(kind).build().unwrap(),
        drive: Box::new(|io_loop| as_loop(|| io_loop.start()).unwrap()),
        host_allocates: false,
    }
}

fn every_loop() -> Vec<Driven> {
    let loops = [
        vec![own("bare", BackendKind::Bare)],
        #[cfg(feature = "async-io")]
        hosted::by_async_io(),
        #[cfg(feature = "smol")]
        hosted::by_smol(),
        #[cfg(feature = "tokio")]
        hosted::by_tokio(),
    ];
    loops.into_iter().flatten().collect()
}

#[cfg(any(feature = "async-io", feature = "smol", feature = "tokio"))]
mod hosted {
    use std::future::Future;
    use std::pin::{Pin, pin};

    use super::*;

    type Main<'a> = Pin<&'a mut dyn Future<Output = ()>>;

    fn attached(
        name: &'static str,
        io_loop: IOLoop,
        block_on: impl Fn(Main<'_>) + 'static,
    ) -> Driven {
        let drive = move |io_loop: &IOLoop| {
            let mut run = pin!(io_loop.run());
            let run = poll_fn(|cx| as_loop(|| run.as_mut().poll(cx)));
            block_on(pin!(async { run.await.unwrap() }));
        };
        Driven { name, io_loop, drive: Box::new(drive), host_allocates: false }
    }

    /// Under a `block_on` that drives async-io's reactor.
    #[cfg(any(feature = "async-io", feature = "smol"))]
    fn in_reactor(
        name: &'static str,
        kind: BackendKind,
        block_on: impl Fn(Main<'_>) + 'static,
    ) -> Driven {
        let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
        Driven { host_allocates: true, ..attached(name, io_loop, block_on) }
    }

    #[cfg(feature = "async-io")]
    pub(super) fn by_async_io() -> Vec<Driven> {
        let kind = BackendKind::AsyncIo;
        let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
        vec![
            own("own on async-io", kind),
            in_reactor("async_io::block_on", kind, |main| async_io::block_on(main)),
            in_reactor("LocalExecutor", kind, |main| {
                async_io::block_on(async_executor::LocalExecutor::new().run(main));
            }),
            attached("plain block_on", io_loop, |main| futures_lite::future::block_on(main)),
        ]
    }

    #[cfg(feature = "smol")]
    pub(super) fn by_smol() -> Vec<Driven> {
        let kind = BackendKind::Smol;
        vec![
            own("own on smol", kind),
            in_reactor("smol::block_on", kind, |main| smol::block_on(main)),
        ]
    }

    #[cfg(feature = "tokio")]
    pub(super) fn by_tokio() -> Vec<Driven> {
        use ioloop::backends::tokio::TokioBackend;
        use tokio::runtime::{Builder, Handle, LocalOptions};
        use tokio::task::LocalSet;

        let attach = |host: &Handle| {
            let host = TokioBackend::attached(host.clone());
            IOLoop::builder().host(host).attach().unwrap()
        };
        let mut current_thread = Builder::new_current_thread();
        current_thread.enable_all();
        let mut multi_thread = Builder::new_multi_thread();
        multi_thread.worker_threads(1).enable_all();

        let host = current_thread.build().unwrap();
        let io_loop = attach(host.handle());
        let in_block_on =
            attached("tokio current-thread", io_loop, move |main| host.block_on(main));
        let host = multi_thread.build().unwrap();
        let io_loop = attach(host.handle());
        let beside_workers =
            attached("tokio multi-thread", io_loop, move |main| host.block_on(main));
        let host = current_thread.build().unwrap();
        let io_loop = attach(host.handle());
        let in_local_set = attached("tokio LocalSet", io_loop, move |main| {
            LocalSet::new().block_on(&host, main);
        });
        let host = current_thread.build_local(LocalOptions::default()).unwrap();
        let io_loop = attach(host.handle());
        let in_local_runtime =
            attached("tokio LocalRuntime", io_loop, move |main| host.block_on(main));
        vec![
            own("own on tokio", BackendKind::Tokio),
            in_block_on,
            beside_workers,
            in_local_set,
            in_local_runtime,
        ]
    }
}

/// Queues callbacks one after another.
fn busy_spell(io_loop: &IOLoop, left: u32) {
    if left > 0 {
        io_loop.call_soon(move || busy_spell(&IOLoop::current().unwrap(), left - 1));
    }
}

/// Drives a loop until the meter has measured, and says what was allocated.
fn measure(driven: &Driven, meter: &Meter) {
    // A panic in a callback would be caught, and the loop run for ever.
    let stop = |_: &Exception| IOLoop::current().unwrap().stop();
    driven.io_loop.set_exception_handler(stop);
    // Part of the warm-up: on a busy machine the loop may yield to its host, and the host grow a
    // buffer for that, at any time; it does now.
    busy_spell(&driven.io_loop, 200);
    (driven.drive)(&driven.io_loop);
    let allocated = meter.allocated.get().expect("a loop that ran to the last round");
    // One for the loop, one for the host, one for what the host's reactor wakes.
    assert!(allocated.ours <= 3 * allocated.registrations, "{}: {allocated:?}", driven.name);
    assert!(allocated.registrations <= u64::from(MEASURED / 500), "{}", driven.name);
    if !driven.host_allocates {
        assert_eq!(allocated.hosts, 0, "the host of {}", driven.name);
    }
}

#[test]
fn the_meter_sees_an_allocation() {
    let driven = own("bare", BackendKind::Bare);
    let meter = Rc::new(Meter::default());
    let rounds = Rc::clone(&meter);
    let (stream, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b".").unwrap();
    driven
        .io_loop
        .add_reader(stream, move |_| {
            drop(std::hint::black_box(Box::new(7)));
            if rounds.round() {
                IOLoop::current().unwrap().stop();
            }
        })
        .unwrap();
    (driven.drive)(&driven.io_loop);
    let allocated = meter.allocated.get().unwrap();
    assert_eq!(allocated.ours, u64::from(MEASURED));
}

#[test]
fn events_of_a_busy_loop_allocate_nothing() {
    for driven in every_loop() {
        let meter = Rc::new(Meter::default());
        let rounds = Rc::clone(&meter);
        let timer = driven.io_loop.call_later(Duration::from_secs(60), || ());
        let (stream, peer) = UnixStream::pair().unwrap();
        (&peer).write_all(b".").unwrap();
        let reader = move |mut stream: &UnixStream| {
            // Its own next event, and a timer put off, which is no new one.
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            (&peer).write_all(b".").unwrap();
            let io_loop = IOLoop::current().unwrap();
            assert!(timer.reset(io_loop.now() + Duration::from_secs(60)));
            if rounds.round() {
                io_loop.stop();
            }
        };
        driven.io_loop.add_reader(stream, reader).unwrap();
        measure(&driven, &meter);
    }
}

#[test]
fn events_that_end_a_sleep_allocate_nothing() {
    for driven in every_loop() {
        let meter = Rc::new(Meter::default());
        let rounds = Rc::clone(&meter);
        let (stream, mut peer) = UnixStream::pair().unwrap();
        let reader = move |mut stream: &UnixStream| {
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            stream.write_all(b".").unwrap();
            if rounds.round() {
                IOLoop::current().unwrap().stop();
            }
        };
        driven.io_loop.add_reader(stream, reader).unwrap();
        // Each byte is sent when the one before was answered.
        let thread = thread::spawn(move || {
            for _ in 0..WARM_UP + MEASURED {
                peer.write_all(b".").unwrap();
                assert_eq!(peer.read(&mut [0]).unwrap(), 1);
            }
        });
        measure(&driven, &meter);
        thread.join().unwrap();
    }
}

/// A future that is polled once a round: it hands out its waker first, and then answers each poll
/// by a byte.
async fn polled_each_round(wakers: Sender<Waker>, mut answer: UnixStream, meter: Rc<Meter>) {
    poll_fn(|cx| {
        if meter.round.get() == 0 {
            wakers.send(cx.waker().clone()).unwrap();
        }
        answer.write_all(b".").unwrap();
        if meter.round() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    IOLoop::current().unwrap().stop();
}

#[test]
fn wakes_from_another_thread_allocate_nothing() {
    for driven in every_loop() {
        let meter = Rc::new(Meter::default());
        let (answer, mut answers) = UnixStream::pair().unwrap();
        let (sender, wakers) = channel();
        let future = polled_each_round(sender, answer, Rc::clone(&meter));
        driven.io_loop.spawn(future).detach();
        let thread = thread::spawn(move || {
            let waker: Waker = wakers.recv().unwrap();
            let mut warm = 0;
            for round in 1..WARM_UP + MEASURED {
                assert_eq!(answers.read(&mut [0]).unwrap(), 1);
                if round == WARM_UP {
                    warm = hosts();
                }
                waker.wake_by_ref();
            }
            (hosts() - warm, answers)
        });
        measure(&driven, &meter);
        let (allocated, _answers) = thread.join().unwrap();
        assert_eq!(allocated, 0, "{}, in the thread that wakes", driven.name);
    }
}

#[test]
fn wakes_from_the_loops_own_thread_allocate_nothing() {
    for driven in every_loop() {
        let meter = Rc::new(Meter::default());
        let rounds = Rc::clone(&meter);
        let task = poll_fn(move |cx| {
            if rounds.round() {
                IOLoop::current().unwrap().stop();
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        driven.io_loop.spawn(task).detach();
        measure(&driven, &meter);
    }
}

#[test]
fn turns_of_an_embedded_loop_allocate_nothing() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (stream, mut peer) = UnixStream::pair().unwrap();
    let read = |mut stream: &UnixStream| assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    io_loop.add_reader(stream, read).unwrap();
    io_loop.call_later(Duration::from_secs(60), || ());
    let meter = Meter::default();
    as_loop(|| {
        // An idle turn, and one with an event.
        while !meter.round() {
            let turn = io_loop.turn(Some(Duration::ZERO)).unwrap();
            assert!(!turn.work_left);
            peer.write_all(b".").unwrap();
            io_loop.turn(None).unwrap();
        }
    });
    assert_eq!(meter.allocated.get(), Some(Allocated::default()));
    let rounds = u64::from(WARM_UP + MEASURED - 1);
    let metrics = io_loop.metrics();
    assert_eq!((metrics.turns, metrics.events), (2 * rounds, rounds));
}
