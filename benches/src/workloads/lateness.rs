//! How late a timer is: one after the other is set, in a loop that has nothing else to do, and in
//! one in which bytes go round a ring of pipes meanwhile.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::EventLoop;
use calloop::timer::{TimeoutAction, Timer};
use ioloop::Reactor;
use rustix::event::Timespec;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::ring;
use crate::harness::{Contender, Countdown, Picture, Random, Workload, columns};
use crate::loops::{self, WAYS, current};
use crate::peers;
use crate::pipes::Ring;
use crate::raw::Raw;

const PIPES: usize = 100;

/// `load`: how many bytes go round.
pub(crate) fn workload(name: &'static str, load: &'static [u64; 1]) -> Workload {
    let active = load[0] as usize;
    let contender = |name, run: fn(Timers, Option<Ring>) -> Timers| {
        Contender::with_values(name, move |operations| {
            run(Timers::new(operations), ring_of(active)).values()
        })
    };
    let mut contenders = vec![contender("raw timerfd", raw_timerfd)];
    contenders.extend(WAYS.map(|way| {
        Contender::with_values(way.name, move |operations| {
            let hosted = way.open();
            if let Some(ring) = ring_of(active) {
                ring.watch(&hosted.io_loop, u64::MAX);
            }
            let timers = Rc::new(RefCell::new(Timers::new(operations)));
            let callback = Rc::clone(&timers);
            hosted.io_loop.call_soon(|| set(callback));
            hosted.run();
            timers.take().values()
        })
    }));
    contenders.extend([
        contender("calloop", on_calloop),
        contender("tokio current-thread", sleeps),
        contender("tokio multi-thread", sleeps_on_two_threads),
        contender("async-io", timers_of_async_io),
    ]);
    contenders.extend(peers::contenders(&peers::C, "lateness", load));
    contenders.extend(peers::contenders(&peers::PYTHON, "lateness", load));
    let what = if active == 0 { "a timer in an idle loop" } else { "a timer in a busy loop" };
    Workload {
        columns: columns(&["median µs late", "p99 µs late"], true),
        picture: Picture::Bars(0),
        warm_up: 20,
        counted: if active == 0 { 100 } else { 0 },
        ..Workload::new(name, what, 600, contenders)
    }
}

fn ring_of(active: usize) -> Option<Ring> {
    (active > 0).then(|| Ring::of_pipes(PIPES, active))
}

/// The timers to come, and how late those were that have been.
#[derive(Default)]
struct Timers {
    left: u64,
    random: Random,
    deadline: Option<Instant>,
    late: Vec<Duration>,
}

impl Timers {
    fn new(operations: u64) -> Self {
        Timers { left: operations, ..Timers::default() }
    }

    /// Called when a timer fires: the deadline of the next.
    fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if let Some(deadline) = self.deadline.take() {
            assert!(now >= deadline, "a timer was early");
            self.late.push(now - deadline);
        }
        self.left = self.left.checked_sub(1)?;
        let micros = 200 + self.random.below(800);
        self.deadline = Some(now + Duration::from_micros(micros));
        self.deadline
    }

    fn values(mut self) -> Vec<f64> {
        self.late.sort();
        let at = |share: usize| self.late[self.late.len() * share / 100].as_nanos() as f64 / 1000.0;
        vec![at(50), at(99)]
    }
}

fn set(timers: Rc<RefCell<Timers>>) {
    let deadline = timers.borrow_mut().next();
    match deadline {
        Some(deadline) => {
            current().call_at(deadline, || set(timers));
        }
        None => current().stop(),
    }
}

/// The kernel's own wake-up.
fn raw_timerfd(mut timers: Timers, ring: Option<Ring>) -> Timers {
    const TIMER: u64 = u64::MAX;
    let timer =
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .expect("a timerfd");
    let mut raw = Raw::new();
    raw.add(&timer, TIMER);
    for (index, reader) in ring.iter().flat_map(|ring| &ring.readers).enumerate() {
        raw.add(reader, index as u64);
    }
    let start = Instant::now();
    let clock = clock_gettime(ClockId::Monotonic);
    let set = |deadline: Instant| {
        let time = Duration::new(clock.tv_sec as u64, clock.tv_nsec as u32) + (deadline - start);
        let it_value =
            Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once).expect("setting a timerfd");
    };
    set(timers.next().expect("a first timer"));
    loop {
        for key in raw.wait() {
            match &ring {
                Some(ring) if key != TIMER => ring.pass(key),
                _ => match timers.next() {
                    // Setting it clears its readiness.
                    Some(deadline) => set(deadline),
                    None => return timers,
                },
            }
        }
    }
}

fn on_calloop(mut timers: Timers, ring: Option<Ring>) -> Timers {
    let mut event_loop = EventLoop::<()>::try_new().expect("a loop");
    if let Some(ring) = ring {
        ring::watch_on_calloop(&event_loop, ring, u64::MAX);
    }
    let signal = event_loop.get_signal();
    let timers = {
        let first = timers.next().expect("a first timer");
        let timers = Rc::new(RefCell::new(timers));
        let inner = Rc::clone(&timers);
        let inserted =
            event_loop.handle().insert_source(Timer::from_deadline(first), move |_, _, ()| {
                match inner.borrow_mut().next() {
                    Some(deadline) => TimeoutAction::ToInstant(deadline),
                    None => {
                        signal.stop();
                        TimeoutAction::Drop
                    }
                }
            });
        inserted.expect("inserting a timer");
        timers
    };
    event_loop.run(None, &mut (), |()| {}).expect("running the loop");
    timers.take()
}

async fn sleep_again_and_again(mut timers: Timers) -> Timers {
    while let Some(deadline) = timers.next() {
        tokio::time::sleep_until(deadline.into()).await;
    }
    timers
}

fn sleeps(timers: Timers, ring: Option<Ring>) -> Timers {
    let (runtime, tasks) = (loops::current_thread(), tokio::task::LocalSet::new());
    let _entered = runtime.enter();
    for (reader, writer) in ring.into_iter().flat_map(Ring::links) {
        tasks.spawn_local(ring::forward(ring::register(reader), writer, Countdown::new(u64::MAX)));
    }
    tasks.block_on(&runtime, sleep_again_and_again(timers))
}

fn sleeps_on_two_threads(timers: Timers, ring: Option<Ring>) -> Timers {
    let runtime = loops::multi_thread();
    let _entered = runtime.enter();
    for (reader, writer) in ring.into_iter().flat_map(Ring::links) {
        runtime.spawn(ring::forward(ring::register(reader), writer, Countdown::new(u64::MAX)));
    }
    let task = runtime.spawn(sleep_again_and_again(timers));
    runtime.block_on(task).expect("the task of the timers")
}

fn timers_of_async_io(mut timers: Timers, ring: Option<Ring>) -> Timers {
    let executor = async_executor::LocalExecutor::new();
    for (reader, writer) in ring.into_iter().flat_map(Ring::links) {
        let forward = ring::forward_on_async_io(reader, writer, Countdown::new(u64::MAX));
        executor.spawn(forward).detach();
    }
    async_io::block_on(executor.run(async {
        while let Some(deadline) = timers.next() {
            async_io::Timer::at(deadline).await;
        }
        timers
    }))
}
