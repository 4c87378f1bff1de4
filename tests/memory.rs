//! After a burst the loop gives back what the burst took: bytes are counted.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor, TimerHandle, Watch};

/// Counts the bytes that are allocated in this process.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated() -> usize {
    BYTES.load(Ordering::Relaxed)
}

/// What a loop may keep of a burst,
const ALLOWANCE: usize = 1 << 20;
/// and what a burst that means something takes at the least.
const BURST: usize = 4 << 20;

/// What a burst is of: `IOLOOP_BURST`, as many as RELIABILITY.md says, or as a quick test can afford.
fn many() -> usize {
    std::env::var("IOLOOP_BURST").map_or(200_000, |many| many.parse().unwrap())
}

/// What a loop is filled with. What it returns is dropped, and ends what it is the handle of, when the burst is over.
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

fn posts(io_loop: &IOLoop) -> Box<dyn FnOnce()> {
    let handle = io_loop.handle();
    let post = move || (0..many()).for_each(|_| handle.add_callback(|| ()).unwrap());
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

/// As many as the limit of descriptors allows without asking for more: each takes two, and this process has others.
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
    // One after the other: the bytes are those of the whole process.
    check("callbacks", BURST, callbacks);
    check("posts", BURST, posts);
    check("timers that fire", BURST, timers_that_fire);
    check("timers that are cancelled", BURST, timers_that_are_cancelled);
    check("timers that are cancelled backwards", BURST, timers_that_are_cancelled_backwards);
    check("timers that are moved and fire", BURST, timers_that_are_moved_and_fire);
    check("tasks", BURST, tasks);
    check("tasks that are cancelled", BURST, tasks_that_are_cancelled);
    check("watches", 1 << 16, watches);
}
