//! Futures across runtimes: every pair of a side that awaits and a side that runs.

mod by_hand;
mod in_tokio;
mod sides;

use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;
use std::{fmt, io};

use futures_lite::future::block_on;
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, JoinError, bridge, deferred, timeout};
use tokio::runtime::Builder;

use self::sides::{Far, Near, Runner, mortals, nears};

const MS: Duration = Duration::from_millis(1);

fn for_every_pair(test: impl Fn(&Near, &Far)) {
    let mut fars = mortals();
    fars.push(Far::Smol);
    for near in nears() {
        for far in &fars {
            println!("{} awaits {far:?}", near.name);
            test(&near, far);
        }
    }
}

/// Says on which thread it is dropped.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

fn here() -> ThreadId {
    thread::current().id()
}

/// Pending until another thread has made it true.
async fn until(is_true: impl Fn() -> bool) {
    poll_fn(|cx| {
        if is_true() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        thread::yield_now();
        Poll::Pending
    })
    .await;
}

// B226, B229, B230, B296
#[test]
fn a_value_crosses_from_every_runtime_to_every_other() {
    for_every_pair(|near, far| {
        let (before, there, after) = near.block_on(async {
            let before = here();
            let ready = far.run(ready(7)).await.unwrap();
            assert_eq!(ready, 7);
            // Woken from here while it waits over there.
            let (resolver, gate) = deferred();
            let there = far.run(async {
                gate.await.unwrap();
                here()
            });
            resolver.resolve(()).unwrap();
            (before, there.await.unwrap(), here())
        });
        assert_ne!(there, here(), "it ran here");
        assert_eq!((before, after), (here(), here()), "and was awaited elsewhere");
    });
}

// B227
#[test]
fn an_error_crosses_unchanged() {
    #[derive(Debug)]
    struct Mine(Arc<()>);
    impl fmt::Display for Mine {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("mine")
        }
    }
    impl std::error::Error for Mine {}
    for_every_pair(|near, far| {
        let mark = Arc::new(());
        let sent = Mine(Arc::clone(&mark));
        let error = far.run(async { Err::<(), _>(io::Error::other(sent)) });
        let error = near.block_on(error).unwrap().unwrap_err();
        let mine = error.get_ref().unwrap().downcast_ref::<Mine>().unwrap();
        assert!(Arc::ptr_eq(&mine.0, &mark));
    });
}

// B237, B296
#[test]
fn a_panic_over_there_is_an_error_here_that_can_be_resumed() {
    for_every_pair(|near, far| {
        let error = near.block_on(far.run(async { panic!("over there") }));
        let error: JoinError = Result::<(), _>::unwrap_err(error);
        assert!(error.is_panic());
        let payload = catch_unwind(AssertUnwindSafe(|| error.resume_panic())).unwrap_err();
        assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "over there");
    });
}

// B232
#[test]
fn dropping_the_guard_frees_the_future_over_there() {
    for_every_pair(|near, far| {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let (begun, has_begun) = mpsc::channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let guard = far.run(async move {
            let _told = told;
            poll_fn(|_| {
                counted.fetch_add(1, Ordering::Relaxed);
                begun.send(()).unwrap();
                Poll::<()>::Pending
            })
            .await;
        });
        let there = near.block_on(async {
            let mut guard = pin!(guard);
            assert!(poll_fn(|cx| Poll::Ready(guard.as_mut().poll(cx))).await.is_pending());
            has_begun.recv().unwrap();
            // Dropped here, by its pin.
            guard.set(bridge::to_smol(ready(())));
            dropped.recv().unwrap()
        });
        assert_ne!(there, here(), "it was dropped here");
        assert_eq!(polls.load(Ordering::Relaxed), 1, "it was polled once more to be dropped");
    });
}

// B232, B296
#[test]
fn cancelling_frees_the_future_over_there_and_answers_cancelled() {
    for_every_pair(|near, far| {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let guard = far.run(async move {
            let _told = told;
            pending::<()>().await;
        });
        // At whatever moment: before its first poll, in it, or after.
        guard.cancel();
        assert!(near.block_on(guard).unwrap_err().is_cancelled());
        assert_ne!(dropped.try_recv().unwrap(), here(), "freed before the answer, and over there");
    });
}

// B233
#[test]
fn cancelling_after_the_end_leaves_the_value() {
    for_every_pair(|near, far| {
        let guard = far.run(ready(7));
        near.block_on(until(|| guard.is_finished()));
        guard.cancel();
        assert_eq!(near.block_on(guard).unwrap(), 7);
    });
}

// B234
#[test]
fn a_task_that_was_given_up_runs_on_and_its_value_is_dropped_over_there() {
    for_every_pair(|near, far| {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let (resolver, gate) = deferred();
        let guard = far.run(async move {
            gate.await.unwrap();
            told
        });
        near.block_on(async {
            drop(guard.keep());
            assert!(dropped.try_recv().is_err(), "giving it up cancels nothing");
            resolver.resolve(()).unwrap();
            assert_ne!(dropped.recv().unwrap(), here());
        });
    });
}

// B228
#[test]
fn a_chain_of_three_hops() {
    let tokio = Far::tokio();
    let handle = tokio.runner();
    let far_loop = Far::own(BackendKind::Bare);
    let on_loop = far_loop.runner();
    for near in nears() {
        let one = handle.run(async { (vec![here()], Ok::<_, JoinError>(())) });
        let two = bridge::to_smol(async {
            let (mut threads, error) = one.await.unwrap();
            threads.push(here());
            (threads, error)
        });
        let three = on_loop.run(async {
            let (mut threads, error) = two.await.unwrap();
            threads.push(here());
            (threads, error)
        });
        let (mut threads, _) = near.block_on(three).unwrap();
        threads.push(here());
        let mut distinct = threads.clone();
        distinct.sort_by_key(|id| format!("{id:?}"));
        distinct.dedup();
        assert_eq!(distinct.len(), 4, "{threads:?}");
    }
}

// B231
#[test]
fn a_chain_is_cancelled_and_ends_as_one() {
    let (sender, dropped) = mpsc::channel();
    let told = Told(sender);
    let tokio = Far::tokio();
    let one = tokio.run(async move {
        let _told = told;
        pending::<()>().await;
    });
    let two = bridge::to_smol(async { one.await.unwrap_err().is_closed() });
    drop(tokio);
    dropped.recv().unwrap();
    assert!(block_on(two).unwrap(), "the first's end is the second's value");
}

// B231, B296
#[test]
fn a_far_side_that_is_gone_answers_closed() {
    for near in nears() {
        for far in mortals() {
            println!("{} awaits {far:?}", near.name);
            let runner = far.runner();
            drop(far);
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let guard = runner.run(async move { drop(held) });
            assert!(near.block_on(guard).unwrap_err().is_closed());
            assert_eq!(Arc::strong_count(&captured), 1);
        }
    }
}

// B231, B296
#[test]
fn a_far_side_that_goes_while_it_is_awaited_answers_closed() {
    for near in nears() {
        for far in mortals() {
            println!("{} awaits {far:?}", near.name);
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let (begun, has_begun) = mpsc::channel();
            let guard = far.run(async move {
                begun.send(()).unwrap();
                pending::<()>().await;
                drop(held);
            });
            let end = thread::spawn(move || {
                has_begun.recv().unwrap();
                drop(far);
            });
            assert!(near.block_on(guard).unwrap_err().is_closed());
            assert_eq!(Arc::strong_count(&captured), 1, "freed before the answer");
            end.join().unwrap();
        }
    }
}

// B231
#[test]
fn nothing_hangs_at_whatever_moment_the_far_side_goes() {
    for round in 0..20 {
        for far in mortals() {
            let runner = far.runner();
            let end = thread::spawn(move || drop(far));
            for _ in 0..round {
                thread::yield_now();
            }
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let guard = runner.run(async move {
                let _held = held;
                futures_lite::future::yield_now().await;
            });
            match block_on(guard) {
                Ok(()) => {}
                Err(error) => assert!(error.is_closed(), "{error}"),
            }
            assert_eq!(Arc::strong_count(&captured), 1);
            end.join().unwrap();
        }
    }
}

// B231
#[test]
fn a_future_that_was_never_polled_is_freed_before_the_answer() {
    let captured = Arc::new(());
    let runtime = Builder::new_current_thread().build().unwrap();
    let held = Arc::clone(&captured);
    let guard = bridge::to_tokio(runtime.handle(), async move { drop(held) });
    let count = Arc::clone(&captured);
    let awaiting = thread::spawn(move || {
        let error = block_on(guard).unwrap_err();
        (error.is_closed(), Arc::strong_count(&count))
    });
    drop(runtime);
    assert_eq!(awaiting.join().unwrap(), (true, 2));

    let io_loop = IOLoop::new().unwrap();
    let held = Arc::clone(&captured);
    let guard = bridge::to_loop(&io_loop.handle(), move || async move { drop(held) });
    let count = Arc::clone(&captured);
    let awaiting = thread::spawn(move || {
        let error = block_on(guard).unwrap_err();
        (error.is_closed(), Arc::strong_count(&count))
    });
    io_loop.close().unwrap();
    assert_eq!(awaiting.join().unwrap(), (true, 2));
}

// B235
#[test]
fn a_loop_that_is_closed_while_it_awaits_cancels_and_is_left_alone() {
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let guard = bridge::to_smol(async move {
            let _told = told;
            pending::<()>().await;
        });
        // What is kept goes on, and comes to its end after the loop's.
        let (resolver, gate) = deferred();
        let (sender, kept_value) = mpsc::channel();
        let told = Told(sender);
        let kept = bridge::to_smol(async move {
            gate.await.unwrap();
            told
        });
        io_loop.add_future(guard, |_| panic!("it was called"));
        io_loop.add_future(kept.keep(), |_| panic!("it was called"));
        io_loop.stop();
        io_loop.start().unwrap();
        io_loop.close().unwrap();
        assert_ne!(dropped.recv().unwrap(), here());
        resolver.resolve(()).unwrap();
        kept_value.recv().unwrap();
    }
}

// B235
#[test]
fn a_task_outlives_the_loop_that_awaited_it_first() {
    let (resolver, gate) = deferred();
    let mut guard = bridge::to_smol(async move { gate.await.unwrap() });
    let io_loop = IOLoop::new().unwrap();
    let first = io_loop.run_sync(timeout(&io_loop, Duration::ZERO, &mut guard));
    assert!(first.unwrap().is_err());
    io_loop.close().unwrap();
    resolver.resolve(7).unwrap();
    assert_eq!(block_on(guard).unwrap(), 7);
}

// B236
#[test]
fn to_the_loop_itself_there_is_no_hop() {
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        let handle = io_loop.handle();
        let turns = || IOLoop::current().unwrap().metrics().turns;
        let (asked, polled) = io_loop
            .run_sync(async {
                let asked = turns();
                let polled = bridge::to_loop(&handle, move || async move { turns() });
                (asked, polled.await.unwrap())
            })
            .unwrap();
        assert_eq!(polled, asked + 1, "in the next turn, as `IOLoop::spawn`");
    }
}

// B226
#[test]
fn what_is_made_on_the_loop_need_not_be_send() {
    let far = Far::own(BackendKind::Bare);
    let Runner::Loop(handle) = far.runner() else { unreachable!() };
    let guard = bridge::to_loop(&handle, || {
        let local = Rc::new(7);
        async move {
            ioloop::sleep(&IOLoop::current().unwrap(), MS).await.unwrap();
            *local
        }
    });
    assert_eq!(block_on(guard).unwrap(), 7);
    let guard = bridge::to_loop(&handle, || -> std::future::Ready<()> { panic!("no future") });
    assert!(block_on(guard).unwrap_err().is_panic());
}

// B231
#[test]
fn what_a_spawner_drops_answers_closed_and_its_panic_is_the_callers() {
    let captured = Arc::new(());
    let held = Arc::clone(&captured);
    let refused = bridge::to(drop, async move { drop(held) });
    assert_eq!(Arc::strong_count(&captured), 1);
    assert!(block_on(refused).unwrap_err().is_closed());
    let held = Arc::clone(&captured);
    let spawned = AssertUnwindSafe(|| bridge::to(|_| panic!("no room"), async move { drop(held) }));
    let payload = catch_unwind(spawned).unwrap_err();
    assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "no room");
    assert_eq!(Arc::strong_count(&captured), 1);
}

#[test]
fn a_spawner_may_poll_at_once_or_keep_what_is_not_send() {
    let here = bridge::to(block_on, async { 7 });
    assert_eq!(block_on(here).unwrap(), 7);
    let local = async_executor::LocalExecutor::new();
    let value = Rc::new(7);
    let borrowed = Rc::clone(&value);
    let task = bridge::to(|future| local.spawn(future).detach(), async move { *borrowed });
    assert_eq!(block_on(local.run(task)).unwrap(), 7);
    assert_eq!(Rc::strong_count(&value), 1);
}

/// A payload whose destructor panics with another one, `0` times.
struct Payload(u32);

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            std::panic::panic_any(Payload(left));
        }
    }
}

/// Where no loop has run the task, nobody is told of its panic. The payload is dropped there.
#[test]
fn the_payload_of_a_detached_panic_ended_the_executor_that_ran_it() {
    use self::by_hand::{Message, drive};
    for depth in [0, 1, 3, 100] {
        let panics = move || async move { std::panic::panic_any(Payload(depth)) };
        let (messages, queue) = mpsc::channel();
        let wakes = messages.clone();
        let executor = thread::spawn(move || drive(queue, wakes));
        let spawn =
            |future: bridge::Run<_>| messages.send(Message::Spawn(Box::pin(future))).unwrap();
        bridge::to::<_>(spawn, panics()).keep().detach();
        let spawn =
            |future: bridge::Run<_>| messages.send(Message::Spawn(Box::pin(future))).unwrap();
        assert_eq!(block_on(bridge::to(spawn, ready(7))).unwrap(), 7);
        messages.send(Message::End).unwrap();
        executor.join().unwrap();

        bridge::to_smol(panics()).keep().detach();
        assert_eq!(block_on(bridge::to_smol(ready(7))).unwrap(), 7);

        let io_loop = IOLoop::new().unwrap();
        let told = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&told);
        io_loop.set_exception_handler(move |_| count.set(count.get() + 1));
        io_loop.run_in_executor(move || std::panic::panic_any(Payload(depth))).detach();
        let jobs = io_loop.shutdown_default_executor();
        io_loop.run_sync(jobs).unwrap();
        io_loop.run_sync(async {}).unwrap();
        assert_eq!(told.get(), 1, "the job's loop hears of it");
    }
}
