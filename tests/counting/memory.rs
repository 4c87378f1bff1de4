//! After a burst the loop gives back what the burst took: bytes are counted.

use std::cell::RefCell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::{Async, IOLoop, Reactor, TimerHandle, Watch, deferred, sleep};
use testkit::alone::{again, assert_passed, is_child};

fn allocated() -> usize {
    testkit::counting::allocated().bytes
}

/// What a loop may keep of a burst,
const ALLOWANCE: usize = 1 << 20;
/// and what a burst that means something takes at the least.
const BURST: usize = 4 << 20;

/// So many take long enough to be removed one by one: the list of hooks is looked through.
const FEW_HOOKS: usize = 4000;

/// What a burst is of: `IOLOOP_BURST`, as many as RELIABILITY.md says, or as a quick test can
/// afford.
fn many() -> usize {
    std::env::var("IOLOOP_BURST").map_or(200_000, |many| many.parse().unwrap())
}

/// What a loop is filled with. What it returns is dropped, and ends what it is the handle of, when
/// the burst is over.
type Fill = fn(&IOLoop) -> Box<dyn FnOnce()>;

/// Turns until there is nothing left to do.
fn settle(io_loop: &IOLoop) {
    while io_loop.turn(Some(Duration::ZERO)).unwrap().work_left {}
}

fn check(what: &str, least: usize, fill: Fill) {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    settle(&io_loop);
    let before = allocated();
    for round in 0..2 {
        let end = fill(&io_loop);
        let taken = allocated() - before;
        assert!(taken >= least, "{what}: a burst of {taken} bytes");
        end();
        settle(&io_loop);
        let kept = allocated().saturating_sub(before);
        assert!(kept <= ALLOWANCE, "{what}, {round}: of {taken} bytes {kept} were kept");
    }
    let metrics = io_loop.metrics();
    assert_eq!((metrics.queued, metrics.timers, metrics.tasks, metrics.watches), (0, 0, 0, 0));
}

fn none() -> Box<dyn FnOnce()> {
    Box::new(|| ())
}

fn callbacks(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    (0..many()).for_each(|n| _ = io_loop.call_soon(move || assert!(n < usize::MAX)));
    none()
}

fn callbacks_that_are_cancelled(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let queued: Vec<_> = (0..many()).map(|_| io_loop.call_soon(|| ())).collect();
    Box::new(move || queued.iter().for_each(|callback| assert!(callback.cancel())))
}

fn posts(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let handle = io_loop.handle();
    let post = move || {
        let post = |n| handle.add_callback(move || assert!(n < usize::MAX)).unwrap();
        (0..many()).for_each(post);
    };
    thread::spawn(post).join().unwrap();
    none()
}

fn timers_that_fire(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    (0..many()).for_each(|_| _ = io_loop.call_later(Duration::ZERO, || ()));
    none()
}

/// Near, in the next seconds, or days away.
fn set(io_loop: &IOLoop, step: Duration) -> Vec<TimerHandle> {
    let first = io_loop.now() + Duration::from_secs(1);
    (0..many() as u32).map(|n| io_loop.call_at(first + step * n, || ())).collect()
}

fn timers_that_are_cancelled(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let timers = set(io_loop, Duration::from_millis(100));
    Box::new(move || timers.iter().for_each(|timer| assert!(timer.cancel())))
}

fn timers_that_are_cancelled_backwards(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let timers = set(io_loop, Duration::from_nanos(100));
    Box::new(move || timers.iter().rev().for_each(|timer| assert!(timer.cancel())))
}

fn timers_that_are_moved_and_fire(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let timers = set(io_loop, Duration::from_micros(10));
    let now = io_loop.now();
    Box::new(move || timers.iter().for_each(|timer| assert!(timer.reset(now))))
}

fn tasks(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    (0..many()).for_each(|_| io_loop.spawn(async {}).detach());
    none()
}

fn tasks_that_are_cancelled(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let spawn = |_| io_loop.spawn(std::future::pending::<()>()).cancel_on_drop();
    let tasks: Vec<_> = (0..many()).map(spawn).collect();
    Box::new(move || drop(tasks))
}

fn sleeps_that_are_given_up(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let spawn = |_| io_loop.spawn(sleep(io_loop, Duration::from_secs(60))).cancel_on_drop();
    let tasks: Vec<_> = (0..many()).map(spawn).collect();
    settle(io_loop);
    assert_eq!(io_loop.metrics().timers, many());
    Box::new(move || drop(tasks))
}

/// Of tasks, which another thread wakes.
fn wakes(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let (resolvers, deferreds): (Vec<_>, Vec<_>) = (0..many()).map(|_| deferred::<()>()).unzip();
    deferreds.into_iter().for_each(|deferred| io_loop.spawn(deferred).detach());
    settle(io_loop);
    assert_eq!(io_loop.metrics().tasks, many());
    let wake = move || resolvers.into_iter().for_each(|resolver| resolver.resolve(()).unwrap());
    Box::new(move || thread::spawn(wake).join().unwrap())
}

/// Of one source, which stays: half of them give up, and the others are told.
fn waiters(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let before = allocated();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let source = Rc::new(Async::new(io_loop, ours).unwrap());
    let mut tasks: Vec<_> = (0..many())
        .map(|_| {
            let source = Rc::clone(&source);
            io_loop.spawn(async move { source.readable().await.unwrap() }).cancel_on_drop()
        })
        .collect();
    settle(io_loop);
    let io_loop = io_loop.clone();
    Box::new(move || {
        tasks.truncate(many() / 2);
        peer.write_all(b"x").unwrap();
        while io_loop.metrics().tasks > 0 {
            settle(&io_loop);
        }
        drop(tasks);
        let kept = allocated().saturating_sub(before);
        assert!(kept <= ALLOWANCE, "waiters: {kept} bytes were kept by their source");
        drop(source);
    })
}

fn hooks(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let add = |_| io_loop.before_sleep(|| BeforeSleep::Sleep).remove_on_drop();
    let hooks: Vec<_> = (0..FEW_HOOKS).map(add).collect();
    Box::new(move || hooks.into_iter().rev().for_each(drop))
}

fn what_other_threads_hold(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let portables: Vec<_> = (0..many()).map(|n| io_loop.portable(n)).collect();
    Box::new(|| thread::spawn(move || drop(portables)).join().unwrap())
}

/// As many as the limit of descriptors allows without asking for more: each takes two, and this
/// process has others.
fn watches(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let watches: RefCell<Vec<(Watch, Watch)>> = RefCell::default();
    let pairs = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    for _ in 0..(pairs.unwrap_or(1 << 14).min(1 << 14) / 2 - 100) {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, other) = (Rc::new(one), Rc::new(other));
        let reader = io_loop.add_reader(Rc::clone(&one), |_| ()).unwrap();
        let writer = io_loop.add_reader(other, move |_| _ = &one).unwrap();
        watches.borrow_mut().push((reader, writer));
    }
    Box::new(move || {
        for (one, other) in watches.into_inner() {
            assert!(one.remove() && other.remove());
        }
    })
}

// B270
#[test]
fn what_a_burst_took_was_kept_until_the_loop_was_closed() {
    // Alone, and one after the other: the bytes are those of the whole process.
    const TEST: &str = "what_a_burst_took_was_kept_until_the_loop_was_closed";
    if !is_child(module_path!(), TEST) {
        return assert_passed(&again(None, module_path!(), TEST));
    }
    check("callbacks", BURST, callbacks);
    check("callbacks that are cancelled", BURST, callbacks_that_are_cancelled);
    check("posts", BURST, posts);
    check("timers that fire", BURST, timers_that_fire);
    check("timers that are cancelled", BURST, timers_that_are_cancelled);
    check("timers that are cancelled backwards", BURST, timers_that_are_cancelled_backwards);
    check("timers that are moved and fire", BURST, timers_that_are_moved_and_fire);
    check("tasks", BURST, tasks);
    check("tasks that are cancelled", BURST, tasks_that_are_cancelled);
    check("sleeps that are given up", BURST, sleeps_that_are_given_up);
    check("wakes", BURST, wakes);
    check("waiters", BURST, waiters);
    check("hooks", 1 << 16, hooks);
    check("what other threads hold", BURST, what_other_threads_hold);
    check("watches", 1 << 16, watches);
}
