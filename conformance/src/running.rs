//! Running for a future, tasks, and what happens when either is given up half way.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use super::rig::{Rig, wait_readable};
use super::tools::{
    Drops, Log, assert_blocks, block_on, exceptions, is_current, one_turn, poll_once, stop,
    yield_now,
};
use ioloop::backends::BackendKind;
use ioloop::observe::Origin;
use ioloop::{IOLoop, JoinError, Reactor, RunError, Task, timeout};

/// Long enough that a timer which must not fire does not.
const NEVER: Duration = Duration::from_secs(3600);

/// Drives a loop for a future that borrows, in the way of an own or an attached rig.
fn run_for<F: Future>(rig: &Rig, io_loop: &IOLoop, future: F) -> Result<F::Output, RunError> {
    if rig.is_attached() {
        rig.block_on(io_loop.run_until(future))
    } else {
        io_loop.run_sync(future)
    }
}

// The future that a loop is run for.

pub(super) fn a_run_gives_the_futures_value(rig: &Rig) {
    let io_loop = rig.io_loop();
    assert_eq!(rig.run_until(&io_loop, async { 7 }).unwrap(), 7);
    // One that is pending meanwhile, and a value that is not `Copy`.
    let slow = async {
        yield_now().await;
        String::from("value")
    };
    assert_eq!(rig.run_until(&io_loop, slow).unwrap(), "value");
    // Its error is a value, not an error of the run.
    let failing = async { Err::<(), _>("its own error") };
    assert_eq!(rig.run_until(&io_loop, failing).unwrap(), Err("its own error"));
    assert!(!io_loop.is_running());
}

pub(super) fn the_future_may_borrow_and_is_dropped_before_the_run_returns(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let borrowed = Cell::new(0);
    let (item, count) = (drops.item(), &borrowed);
    let value = run_for(rig, &io_loop, async move {
        let _item = &item;
        for _ in 0..3 {
            count.set(count.get() + 1);
            yield_now().await;
        }
        "done"
    });
    assert_eq!((value.unwrap(), drops.count()), ("done", 1));
    assert_eq!(borrowed.get(), 3);
}

pub(super) fn the_loop_is_current_and_running_while_it_runs_for_a_future(rig: &Rig) {
    let io_loop = rig.io_loop();
    let weak = io_loop.downgrade();
    let seen = rig.run_until(&io_loop, async move {
        let io_loop = weak.upgrade().unwrap();
        let before = (is_current(&io_loop), io_loop.is_running());
        yield_now().await;
        (before, (is_current(&io_loop), io_loop.is_running()))
    });
    assert_eq!(seen.unwrap(), ((true, true), (true, true)));
    assert!(!io_loop.is_running());
}

pub(super) fn a_loop_can_run_for_one_future_after_the_other(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    for n in 0..100 {
        let noted = log.clone();
        // Queued in the run, behind its last poll: the next run has it.
        let value = rig.run_until(&io_loop, async move {
            let io_loop = IOLoop::current().unwrap();
            io_loop.call_soon(move || noted.push(n));
            n
        });
        assert_eq!(value.unwrap(), n);
    }
    one_turn(rig, &io_loop);
    assert!(log.take().into_iter().eq(0..100));
}

pub(super) fn tasks_timers_calls_and_callbacks_nest(rig: &Rig) {
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let value = rig.run_until(&io_loop, async move {
        let io_loop = IOLoop::current().unwrap();
        let inner = io_loop.clone();
        let outer = io_loop.spawn(async move {
            let innermost = inner.spawn(async {
                yield_now().await;
                1
            });
            innermost.await.unwrap() + 1
        });
        // What another thread asks for, and waits for there.
        let (answer, answered) = mpsc::channel();
        let asking = thread::spawn(move || {
            let called = block_on(handle.call(|| 10)).unwrap();
            let spawned = block_on(handle.spawn(|| async {
                yield_now().await;
                20
            }));
            answer.send(called + spawned.unwrap()).unwrap();
        });
        let (fired, slot) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let set = Rc::clone(&fired);
        io_loop.call_later(Duration::from_millis(1), move || set.set(100));
        let set = Rc::clone(&slot);
        io_loop.call_soon(move || set.set(1000));
        let tasks = outer.await.unwrap();
        let asked = loop {
            match answered.try_recv() {
                Ok(answer) => break answer,
                Err(_) => yield_now().await,
            }
        };
        asking.join().unwrap();
        while fired.get() == 0 || slot.get() == 0 {
            yield_now().await;
        }
        tasks + asked + fired.get() + slot.get()
    });
    assert_eq!(value.unwrap(), 1132);
}

pub(super) fn a_stop_ends_a_run_for_a_future_with_an_error_of_its_own(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let never_done = || {
        let item = drops.item();
        async move {
            pending::<()>().await;
            drop(item);
        }
    };
    io_loop.call_later(Duration::from_millis(1), stop);
    let stopped = rig.run_until(&io_loop, never_done());
    assert!(matches!(stopped, Err(RunError::Stopped)), "{stopped:?}");
    assert_eq!(drops.count(), 1);
    // A stop from before gives it one turn: too few for this one, enough for that.
    io_loop.stop();
    let stopped = rig.run_until(&io_loop, never_done());
    assert!(matches!(stopped, Err(RunError::Stopped)), "{stopped:?}");
    assert_eq!(drops.count(), 2);
    if rig.is_own() {
        io_loop.call_soon(stop);
        let stopped = io_loop.run_sync(timeout(&io_loop, NEVER, never_done()));
        assert!(matches!(stopped, Err(RunError::Stopped)), "{stopped:?}");
        assert_eq!((drops.count(), io_loop.next_deadline()), (3, None));
    }
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_future_that_is_done_wins_over_a_stop(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.stop();
    assert_eq!(run_for(rig, &io_loop, async { 7 }).unwrap(), 7);
    assert_blocks(rig, &io_loop);
    let stops = async {
        stop();
        8
    };
    assert_eq!(run_for(rig, &io_loop, stops).unwrap(), 8);
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_panic_comes_out_of_the_run_and_leaves_the_loop_usable(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let (log, drops) = (Log::new(), Drops::new());
    let (noted, item) = (log.clone(), drops.item());
    let payload = catch_unwind(AssertUnwindSafe(|| {
        run_for(rig, &io_loop, async move {
            let _item = &item;
            yield_now().await;
            // Left for the next run, the queue and no stop.
            let io_loop = IOLoop::current().unwrap();
            io_loop.call_soon(move || noted.push("what was queued"));
            io_loop.stop();
            panic_any(42);
        })
    }));
    assert_eq!(payload.unwrap_err().downcast_ref(), Some(&42));
    assert_eq!(drops.count(), 1);
    assert!(!io_loop.is_running() && !io_loop.is_closed());
    assert_eq!(panicked.take(), [], "what comes out is not reported");
    assert_eq!(log.len(), 0);
    assert_blocks(rig, &io_loop);
    assert_eq!(log.take(), ["what was queued"]);

    // Any other panic is reported, and does not come out.
    io_loop.call_soon(|| panic!("of a callback"));
    let value = run_for(rig, &io_loop, async {
        yield_now().await;
        7
    });
    assert_eq!(value.unwrap(), 7);
    assert_eq!(panicked.take(), [(Origin::Callback, "of a callback".to_owned())]);
}

pub(super) fn a_run_in_a_callback_is_refused_without_a_trace(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let (log, drops) = (Log::new(), Drops::new());
    let never_polled = {
        let (item, polled) = (drops.item(), log.clone());
        async move {
            polled.push("polled");
            drop(item);
        }
    };
    let (noted, is_attached) = (log.clone(), rig.is_attached());
    io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        let refused = if is_attached {
            match poll_once(pin!(io_loop.run_until(never_polled))) {
                Poll::Ready(refused) => refused,
                Poll::Pending => unreachable!(),
            }
        } else {
            io_loop.run_sync(never_polled)
        };
        assert!(matches!(refused, Err(RunError::AlreadyRunning)), "{refused:?}");
        assert!(io_loop.is_running());
        noted.push("refused");
    });
    assert_blocks(rig, &io_loop);
    assert_eq!(panicked.take(), []);
    assert_eq!((log.take(), drops.count()), (vec!["refused"], 1));
}

// Time-outs.

pub(super) fn a_time_out_drops_the_future_and_leaves_nothing(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let item = drops.item();
    let begun = Instant::now();
    let slow = async move {
        pending::<()>().await;
        drop(item);
    };
    let timed_out = io_loop.run_sync(timeout(&io_loop, Duration::from_millis(5), slow));
    assert!(begun.elapsed() >= Duration::from_millis(5), "it came early");
    assert!(timed_out.unwrap().unwrap_err().is_elapsed());
    assert_eq!(drops.count(), 1);
    assert_eq!((io_loop.next_deadline(), io_loop.metrics().queued), (None, 0));
    assert!(!io_loop.is_running());
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_future_done_in_the_first_turn_wins_over_a_time_out_of_zero(rig: &Rig) {
    let io_loop = rig.io_loop();
    let done = io_loop.run_sync(timeout(&io_loop, Duration::ZERO, async { 7 }));
    assert_eq!(done.unwrap(), Ok(7));
    assert_eq!(io_loop.next_deadline(), None);
    assert_blocks(rig, &io_loop);
    let later = io_loop.run_sync(timeout(&io_loop, Duration::ZERO, pending::<()>()));
    assert!(later.unwrap().unwrap_err().is_elapsed());
    assert_blocks(rig, &io_loop);
}

pub(super) fn nothing_of_a_time_out_is_left_after_success(rig: &Rig) {
    let io_loop = rig.io_loop();
    for limit in [NEVER, Duration::MAX] {
        let quick = async {
            yield_now().await;
            7
        };
        let done = io_loop.run_sync(timeout(&io_loop, limit, quick));
        assert_eq!(done.unwrap(), Ok(7));
        let metrics = io_loop.metrics();
        assert_eq!((metrics.timers, metrics.queued, metrics.tasks), (0, 0, 0));
        assert_eq!(io_loop.next_deadline(), None);
    }
    // Nor after a panic.
    let panics = || io_loop.run_sync(timeout(&io_loop, NEVER, async { panic!() }));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(io_loop.next_deadline(), None);
    assert_blocks(rig, &io_loop);
}

// Being a future.

pub(super) fn a_run_dropped_half_way_loses_nothing(rig: &Rig) {
    const LINKS: usize = 500;
    /// Runs one turn for each number up to `LINKS`.
    fn chain(io_loop: &IOLoop, n: usize, log: Log<usize>) {
        io_loop.call_soon(move || {
            log.push(n);
            if n + 1 < LINKS {
                chain(&IOLoop::current().unwrap(), n + 1, log);
            }
        });
    }
    let io_loop = rig.io_loop();
    let links = Log::new();
    chain(&io_loop, 0, links.clone());
    let waits = Log::new();
    let (waited, linked) = (waits.clone(), links.clone());
    let task = io_loop.spawn(async move {
        while linked.len() < LINKS {
            waited.push(());
            yield_now().await;
        }
    });
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let read = Log::new();
    let noted = read.clone();
    let watch = io_loop.add_reader(ours, move |_| noted.push(())).unwrap();
    let drops = Drops::new();
    let item = drops.item();
    let timer = io_loop.call_later(NEVER, move || drop(item));

    // Not polled at all, it has begun nothing.
    let unpolled = io_loop.run();
    assert!(!io_loop.is_running());
    drop(unpolled);
    assert_eq!(io_loop.metrics().turns, 0);
    // Polled once, it returns to its host half way.
    let mut run = Box::pin(io_loop.run());
    assert!(poll_in_host(rig, run.as_mut()).is_pending());
    assert!(io_loop.is_running());
    drop(run);
    assert!(!io_loop.is_running());
    let half = links.len();
    assert!(0 < half && half < LINKS, "{half} turns in one poll");
    // What is left makes itself known, and nobody takes the loop to be in a callback.
    assert!(wait_readable(&io_loop.descriptor().unwrap(), Some(Duration::ZERO)));
    let other = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    other.stop();
    io_loop.enter(|| other.start().unwrap());

    // In between everything is where it was, and takes more.
    theirs.write_all(b"x").unwrap();
    let between = Log::new();
    let noted = between.clone();
    io_loop.call_soon(move || noted.push(()));
    let handle = io_loop.handle();
    let call = thread::spawn(move || handle.call(|| 7)).join().unwrap();
    assert_eq!((links.len(), between.len(), read.len()), (half, 0, 0));
    assert_eq!(drops.count(), 0);

    let seen = read.clone();
    let value = rig.run_until(&io_loop, async move {
        task.await.unwrap();
        while seen.len() == 0 {
            yield_now().await;
        }
        call.await.unwrap()
    });
    assert_eq!(value.unwrap(), 7);
    assert!(links.take().into_iter().eq(0..LINKS));
    assert_eq!((between.len(), waits.len()), (1, LINKS - 1));
    assert!(watch.remove() && timer.cancel());
    assert_eq!(drops.count(), 1);
}

pub(super) fn a_sleeping_run_that_is_dropped_can_be_followed_by_another(rig: &Rig) {
    let io_loop = rig.io_loop();
    for _ in 0..20 {
        // Asleep: the host was asked to wake the first one.
        let mut run = Box::pin(io_loop.run());
        assert!(poll_in_host(rig, run.as_mut()).is_pending());
        drop(run);
        let handle = io_loop.handle();
        let stopper = thread::spawn(move || handle.stop().unwrap());
        rig.run(&io_loop).unwrap();
        stopper.join().unwrap();
    }
}

pub(super) fn a_run_that_moves_to_another_waker_is_woken_there(rig: &Rig) {
    let io_loop = rig.io_loop();
    let mut run = Box::pin(io_loop.run());
    // The last waker counts, and not the first, which does nothing.
    assert!(poll_with_another_waker(rig, run.as_mut()).is_pending());
    let handle = io_loop.handle();
    let mut stopper = None;
    let first = poll_fn(|_| {
        stopper.get_or_insert_with(|| {
            let handle = handle.clone();
            thread::spawn(move || handle.stop().unwrap())
        });
        Poll::Ready(())
    });
    rig.block_on(async {
        first.await;
        run.as_mut().await.unwrap();
    });
    stopper.unwrap().join().unwrap();
}

pub(super) fn a_descriptor_wakes_a_run_that_moved_to_another_waker(rig: &Rig) {
    /// In some of them the data is there before the run sleeps; not in all of them.
    const ROUNDS: u32 = 50;
    let io_loop = rig.io_loop();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let (ask, asked) = mpsc::channel();
    let send = move |()| peer.write_all(b"x").unwrap();
    let sender = thread::spawn(move || asked.into_iter().for_each(send));
    let (left, reads) = (Cell::new(ROUNDS), ask.clone());
    let reader = move |mut stream: &UnixStream| {
        stream.read_exact(&mut [0]).unwrap();
        left.set(left.get() - 1);
        match left.get() {
            0 => stop(),
            _ => reads.send(()).unwrap(),
        }
    };
    let watch = io_loop.add_reader(ours, reader).unwrap();
    let mut run = Box::pin(io_loop.run());
    assert!(poll_with_another_waker(rig, run.as_mut()).is_pending());
    ask.send(()).unwrap();
    drop(ask);
    rig.block_on(run.as_mut()).unwrap();
    assert!(watch.remove());
    sender.join().unwrap();
}

pub(super) fn dropping_run_until_drops_its_future(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let item = drops.item();
    let mut run = Box::pin(io_loop.run_until(async move {
        pending::<()>().await;
        drop(item);
    }));
    assert!(poll_in_host(rig, run.as_mut()).is_pending());
    assert_eq!(drops.count(), 0);
    drop(run);
    assert_eq!(drops.count(), 1);
    assert!(!io_loop.is_running());
    assert_eq!(run_for(rig, &io_loop, async { 7 }).unwrap(), 7);
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_second_run_is_refused_and_the_first_goes_on(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let item = drops.item();
    let mut first = Box::pin(io_loop.run());
    assert!(poll_in_host(rig, first.as_mut()).is_pending());
    for _ in 0..2 {
        let second = rig.block_on(io_loop.run());
        assert!(matches!(second, Err(RunError::AlreadyRunning)), "{second:?}");
        assert!(io_loop.is_running(), "the first was ended by the second");
    }
    let second = rig.block_on(io_loop.run_until(async move { drop(item) }));
    assert!(matches!(second, Err(RunError::AlreadyRunning)), "{second:?}");
    assert_eq!(drops.count(), 1);
    io_loop.call_later(Duration::from_millis(1), stop);
    rig.block_on(first.as_mut()).unwrap();
    assert!(!io_loop.is_running());
    // Done, it does not stand in the way of the next, even while it is held.
    assert_blocks(rig, &io_loop);
    drop(first);
}

/// Polls a future once under the executor of an attached rig, with a waker that wakes nobody.
fn poll_with_another_waker<F: Future>(rig: &Rig, mut future: Pin<&mut F>) -> Poll<F::Output> {
    rig.block_on(poll_fn(|_| Poll::Ready(poll_once(future.as_mut()))))
}

/// Polls a future once under the executor of an attached rig.
fn poll_in_host<F: Future>(rig: &Rig, mut future: Pin<&mut F>) -> Poll<F::Output> {
    rig.block_on(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))))
}

// Tasks.

pub(super) fn dropping_a_task_or_a_call_lets_it_run_on(rig: &Rig) {
    let io_loop = rig.io_loop();
    let log = Log::new();
    let noted = log.clone();
    drop(io_loop.spawn(async move {
        yield_now().await;
        noted.push(());
    }));
    let noted = log.clone();
    io_loop.spawn(async move { noted.push(()) }).detach();
    let ran = Arc::new(AtomicUsize::new(0));
    let (called, made) = (Arc::clone(&ran), Arc::clone(&ran));
    let handle = io_loop.handle();
    drop(handle.call(move || called.fetch_add(1, Ordering::Relaxed)));
    drop(handle.spawn(move || async move {
        yield_now().await;
        made.fetch_add(1, Ordering::Relaxed);
    }));
    // One whose await was given up half way.
    let (third, noted) = (Arc::clone(&ran), log.clone());
    let mut call = handle.call(move || third.fetch_add(1, Ordering::Relaxed));
    assert!(poll_once(Pin::new(&mut call)).is_pending());
    drop(call);
    rig.run_until(&io_loop, async move {
        for _ in 0..10 {
            yield_now().await;
        }
        noted.push(());
    })
    .unwrap();
    assert_eq!(log.len(), 3);
    assert_eq!(ran.load(Ordering::Relaxed), 3);
    assert_eq!(Arc::strong_count(&ran), 1, "what ran is gone");
    assert_blocks(rig, &io_loop);
}

pub(super) fn a_tasks_value_waits_and_is_taken_once(rig: &Rig) {
    let io_loop = rig.io_loop();
    let mut task = io_loop.spawn(async {
        yield_now().await;
        yield_now().await;
        String::from("value")
    });
    assert!(!task.is_finished());
    // Awaited and given up, again and again.
    for _ in 0..3 {
        assert!(poll_once(Pin::new(&mut task)).is_pending());
        one_turn(rig, &io_loop);
    }
    assert!(task.is_finished());
    // Cancelling comes too late.
    task.cancel();
    one_turn(rig, &io_loop);
    assert_eq!(block_on(&mut task).unwrap(), "value");
    assert!(block_on(&mut task).unwrap_err().is_closed());
    assert_eq!(io_loop.metrics().tasks, 0);
}

pub(super) fn a_cancelled_task_is_dropped_in_the_next_turn_and_not_reported(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let (drops, polled) = (Drops::new(), Log::new());
    let never_done = || {
        let (item, polled) = (drops.item(), polled.clone());
        async move {
            polled.push(());
            pending::<()>().await;
            drop(item);
        }
    };
    let (begun, guarded) = (io_loop.spawn(never_done()), io_loop.spawn(never_done()));
    let guarded = guarded.cancel_on_drop();
    let kept = io_loop.spawn(never_done()).cancel_on_drop().keep();
    one_turn(rig, &io_loop);
    assert_eq!((polled.take().len(), drops.count()), (3, 0));
    begun.cancel();
    drop(guarded);
    assert_eq!(drops.count(), 0, "its destructor runs in the loop");
    one_turn(rig, &io_loop);
    assert_eq!(drops.count(), 2);
    assert!(block_on(begun).unwrap_err().is_cancelled());
    assert!(!kept.is_finished());

    // From another thread, and twice.
    let cancelling = thread::spawn(move || {
        kept.cancel();
        kept.cancel();
        kept
    });
    let kept = cancelling.join().unwrap();
    one_turn(rig, &io_loop);
    assert!(block_on(kept).unwrap_err().is_cancelled());
    assert_eq!(drops.count(), 3);

    // By itself, while it is polled: dropped once it is pending.
    let slot = Rc::new(Cell::new(None));
    let (own, item) = (Rc::clone(&slot), drops.item());
    let task = io_loop.spawn(async move {
        let _item = &item;
        let task: Task<()> = own.take().unwrap();
        task.cancel();
        own.set(Some(task));
        pending().await
    });
    slot.set(Some(task));
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    assert_eq!(drops.count(), 4);
    let task = slot.take().unwrap();
    assert!(block_on(task).unwrap_err().is_cancelled());
    assert_eq!(io_loop.metrics().tasks, 0);
    assert_eq!(panicked.take(), []);
}

pub(super) fn a_cancelled_task_is_not_polled_again(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (drops, polled) = (Drops::new(), Log::new());
    let busy = || {
        let (item, polled) = (drops.item(), polled.clone());
        async move {
            let _item = &item;
            for _ in 0..2 {
                polled.push(());
                yield_now().await;
            }
        }
    };
    // Queued for its first poll, and for its second.
    let first = io_loop.spawn(busy());
    first.cancel();
    one_turn(rig, &io_loop);
    assert_eq!((polled.len(), drops.count()), (0, 1));
    let second = io_loop.spawn(busy());
    one_turn(rig, &io_loop);
    second.cancel();
    one_turn(rig, &io_loop);
    assert_eq!((polled.len(), drops.count()), (1, 2));
    for task in [first, second] {
        assert!(block_on(task).unwrap_err().is_cancelled());
    }
    assert_eq!(io_loop.metrics().tasks, 0);
}

pub(super) fn a_call_that_is_cancelled_before_it_ran_does_not_run(rig: &Rig) {
    let io_loop = rig.io_loop();
    let handle = io_loop.handle();
    let ran = Arc::new(());
    let (called, made) = (Arc::clone(&ran), Arc::clone(&ran));
    let call = handle.call(move || std::mem::forget(called));
    let spawn = handle.spawn(move || async move { std::mem::forget(made) });
    let (cancelled, guarded) = (call, spawn.cancel_on_drop());
    cancelled.cancel();
    guarded.cancel();
    for _ in 0..3 {
        one_turn(rig, &io_loop);
    }
    assert!(block_on(cancelled).unwrap_err().is_cancelled());
    assert!(block_on(guarded).unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&ran), 1, "dropped, and not run");
}

pub(super) fn the_error_of_a_task_never_reaches_the_spawner(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let log = Log::new();
    let (noted, weak) = (log.clone(), io_loop.downgrade());
    let handle = io_loop.handle();
    io_loop.call_soon(move || {
        let io_loop = weak.upgrade().unwrap();
        drop(io_loop.spawn(async { panic!("a task") }));
        drop(handle.call(|| panic!("a call")));
        drop(handle.spawn(|| -> std::future::Ready<()> { panic!("a maker") }));
        drop(handle.spawn(|| async { panic!("what it made") }));
        noted.push("the spawner goes on");
    });
    let noted = log.clone();
    io_loop.spawn(async move {
        let io_loop = IOLoop::current().unwrap();
        drop(io_loop.spawn(async { panic!("an inner task") }));
        yield_now().await;
        noted.push("and so does a task");
    });
    for _ in 0..4 {
        one_turn(rig, &io_loop);
    }
    assert_eq!(log.take(), ["the spawner goes on", "and so does a task"]);
    let mut reported = panicked.take();
    reported.sort_by(|one, other| one.1.cmp(&other.1));
    let expected = ["a call", "a maker", "a task", "an inner task", "what it made"];
    assert_eq!(reported, expected.map(|name| (Origin::Task, name.to_owned())));
    assert_eq!(io_loop.metrics().tasks, 0);
}

pub(super) fn the_panic_of_a_task_goes_to_whoever_awaits_it(rig: &Rig) {
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let handle = io_loop.handle();
    let tasks: [Task<()>; 3] = [
        io_loop.spawn(async { panic_any(42) }),
        handle.call(|| panic_any(42)),
        handle.spawn(|| async { panic_any(42) }),
    ];
    one_turn(rig, &io_loop);
    one_turn(rig, &io_loop);
    for task in tasks {
        let error: JoinError = block_on(task).unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled() && !error.is_closed());
        let payload = error.try_into_panic().unwrap();
        assert_eq!(payload.downcast_ref(), Some(&42));
    }
    assert_eq!(panicked.take(), [], "it is reported once, there");
}

pub(super) fn a_destructor_that_panics_does_not_take_the_tasks_value_along(rig: &Rig) {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("a destructor");
        }
    }
    /// Done at once, and panics when it is dropped.
    struct Done(#[allow(dead_code, reason = "dropped")] Panics);
    impl Future for Done {
        type Output = u8;
        fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<u8> {
            Poll::Ready(7)
        }
    }
    let io_loop = rig.io_loop();
    let panicked = exceptions(&io_loop);
    let task = io_loop.spawn(Done(Panics));
    one_turn(rig, &io_loop);
    assert_eq!(panicked.take(), [(Origin::Destructor, "a destructor".to_owned())]);
    assert_eq!(block_on(task).unwrap(), 7);
}
