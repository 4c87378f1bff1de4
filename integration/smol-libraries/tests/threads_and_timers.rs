//! smol's pool of blocking threads and async-io's timers, in tasks of a loop on tokio.

mod hosts;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::{StreamExt, future};
use hosts::{cancel, everywhere};
use ioloop::deferred;

const MS: Duration = Duration::from_millis(1);

#[test]
fn blocking_calls_run_on_other_threads_and_their_values_arrive() {
    everywhere(async |io_loop, way| {
        let calling = async {
            let calls = (0..10).map(|n| smol::unblock(move || (n, thread::current().id())));
            let mut values = Vec::new();
            for call in calls.collect::<Vec<_>>() {
                values.push(call.await);
            }
            values
        };
        let (numbers, threads): (Vec<i32>, Vec<_>) =
            way.run(io_loop, calling).await.into_iter().unzip();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        assert!(!threads.contains(&thread::current().id()));
    });
}

#[test]
fn a_blocking_call_that_panics_is_an_error_of_who_polls_it() {
    everywhere(async |io_loop, way| {
        let calling = async { smol::unblock(|| -> () { panic!("no luck") }).await };
        // The loop's task panics itself, or it gets the panic as an error from smol.
        let error = match way.start(io_loop, calling).await.await {
            Ok(answer) => answer.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.is_panic());
        assert_eq!(error.to_string(), "the task panicked: no luck");
    });
}

#[test]
fn a_blocking_call_that_is_given_up_runs_to_its_end() {
    everywhere(async |io_loop, way| {
        let ((begun, begins), (ended, ends)) = (deferred(), deferred());
        let (gate, wait) = mpsc::channel();
        let calling = smol::unblock(move || {
            let _ = begun.resolve(());
            wait.recv().unwrap();
            let _ = ended.resolve("to its end");
        });
        cancel(way.start(io_loop, calling).await, begins).await;
        gate.send(()).unwrap();
        assert_eq!(ends.await.unwrap(), "to its end");
    });
}

#[test]
fn timers_fire_at_their_time_and_in_their_order() {
    everywhere(async |io_loop, way| {
        let start = Instant::now();
        let waiting = async move {
            let timers = future::zip(Timer::at(start + 3 * MS), Timer::at(start + 2 * MS));
            let fired = timers.await;
            (fired, Instant::now())
        };
        let ((late, early), now) = way.run(io_loop, waiting).await;
        assert!(early >= start + 2 * MS && late >= start + 3 * MS && now >= late.max(early));

        let ticking = async { Timer::interval(MS).take(3).collect::<Vec<_>>().await };
        let ticks = way.run(io_loop, ticking).await;
        assert!(ticks.len() == 3 && ticks.is_sorted(), "{ticks:?}");
    });
}

#[test]
fn a_timer_wins_over_what_never_comes_and_one_that_is_given_up_is_gone() {
    everywhere(async |io_loop, way| {
        let racing = async {
            let never = async { Timer::never().await.elapsed() };
            let soon = async { Timer::after(MS).await.elapsed() };
            future::or(never, soon).await
        };
        assert!(way.run(io_loop, racing).await < Duration::from_secs(3600));

        let (begun, begins) = deferred();
        let waiting = async move {
            let mut timer = Timer::after(Duration::from_secs(3600));
            assert!(future::poll_once(&mut timer).await.is_none());
            let _ = begun.resolve(());
            timer.await
        };
        cancel(way.start(io_loop, waiting).await, begins).await;
    });
}
