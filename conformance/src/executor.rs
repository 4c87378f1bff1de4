//! Blocking jobs on other threads.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;

use super::rig::Rig;
use super::tools::{Drops, Log, current, exceptions, poll_once, yield_now};
use ioloop::IOLoop;
use ioloop::backends::Job;
use ioloop::hooks::BeforeSleep;
use ioloop::observe::Origin;

pub(super) fn a_jobs_value_comes_back_from_a_thread_with_a_name(rig: &Rig) {
    let io_loop = rig.io_loop();
    let job = io_loop.run_in_executor(|| {
        let thread = thread::current();
        (thread.id(), thread.name().map(str::to_owned))
    });
    let (id, name) = rig.run_until(&io_loop, job).unwrap().unwrap();
    assert_ne!(id, thread::current().id());
    assert!(name.is_some_and(|name| !name.is_empty()), "a thread without a name");
}

pub(super) fn two_jobs_that_wait_for_each_other_finish(rig: &Rig) {
    let io_loop = rig.io_loop();
    let both = Arc::new(Barrier::new(2));
    let jobs = [0, 1].map(|number| {
        let both = Arc::clone(&both);
        io_loop.run_in_executor(move || {
            both.wait();
            number
        })
    });
    for (number, job) in jobs.into_iter().enumerate() {
        assert_eq!(rig.run_until(&io_loop, job).unwrap().unwrap(), number);
    }
}

pub(super) fn the_panic_of_a_job_comes_out_of_its_task(rig: &Rig) {
    let io_loop = rig.io_loop();
    let reported = exceptions(&io_loop);
    let job = io_loop.run_in_executor(|| panic!("the job fails"));
    let error = rig.run_until(&io_loop, job).unwrap().unwrap_err();
    assert_eq!(error.try_into_panic().unwrap().downcast_ref(), Some(&"the job fails"));
    let job = io_loop.run_in_executor(|| Err::<(), _>("an error"));
    assert_eq!(rig.run_until(&io_loop, job).unwrap().unwrap(), Err("an error"));
    assert_eq!(reported.take(), [], "whoever awaits it has heard of it");
}

pub(super) fn ten_jobs_give_their_values_to_the_right_tasks(rig: &Rig) {
    let io_loop = rig.io_loop();
    let jobs: Vec<_> = (0..10).map(|n| io_loop.run_in_executor(move || n * n)).collect();
    let values = rig.run_until(&io_loop, async move {
        let mut values = Vec::new();
        for job in jobs {
            values.push(job.await.unwrap());
        }
        values
    });
    assert_eq!(values.unwrap(), (0..10).map(|n| n * n).collect::<Vec<_>>());
}

pub(super) fn a_cancelled_job_that_has_begun_runs_to_its_end(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (begun, beginning) = channel();
    let (release, released) = channel();
    let job = io_loop.run_in_executor(move || {
        begun.send(()).unwrap();
        released.recv().unwrap();
        7
    });
    beginning.recv().unwrap();
    job.cancel();
    release.send(()).unwrap();
    assert_eq!(rig.run_until(&io_loop, job).unwrap().unwrap(), 7);
}

pub(super) fn a_job_that_ends_after_its_loop_was_closed_is_discarded(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (begun, beginning) = channel();
    let (release, released) = channel::<()>();
    let (ended, end) = channel();
    let mut job = Box::pin(io_loop.run_in_executor(move || {
        begun.send(()).unwrap();
        let _ = released.recv();
        ended.send(()).unwrap();
    }));
    beginning.recv().unwrap();
    assert!(poll_once(job.as_mut()).is_pending());
    drop(job);
    // From another thread, since an own loop on tokio waits for the job when it is closed.
    let closing = thread::spawn(move || drop(release));
    io_loop.close().unwrap();
    closing.join().unwrap();
    end.recv().unwrap();
}

pub(super) fn an_executor_that_is_set_gets_the_jobs(rig: &Rig) {
    let io_loop = rig.io_loop();
    let drops = Drops::new();
    let (queue, held) = (Rc::new(RefCell::new(Vec::<Job>::new())), drops.item());
    let jobs = Rc::clone(&queue);
    io_loop.set_default_executor(move |job| {
        let _ = &held;
        jobs.borrow_mut().push(job);
    });
    let (first, second) = (io_loop.run_in_executor(|| 1), io_loop.run_in_executor(|| 2));
    assert_eq!(queue.borrow().len(), 2);
    let cancelled = io_loop.run_in_executor(|| unreachable!("it has not begun"));
    cancelled.cancel();
    for job in queue.take() {
        // It could go to any thread.
        thread::spawn(job).join().unwrap();
    }
    assert_eq!(rig.run_until(&io_loop, first).unwrap().unwrap(), 1);
    assert_eq!(rig.run_until(&io_loop, second).unwrap().unwrap(), 2);
    let error: ioloop::JoinError = rig.run_until(&io_loop, cancelled).unwrap().unwrap_err();
    assert!(error.is_cancelled());

    // One that drops a job, and one that panics.
    io_loop.set_default_executor(drop);
    assert_eq!(drops.count(), 1, "the one before is not needed any more");
    let job = io_loop.run_in_executor(|| unreachable!());
    assert!(rig.run_until::<ioloop::Task<()>>(&io_loop, job).unwrap().unwrap_err().is_closed());
    let reported = exceptions(&io_loop);
    io_loop.set_default_executor(|_| panic!("no more"));
    let job = io_loop.run_in_executor(|| ());
    assert!(rig.run_until(&io_loop, job).unwrap().unwrap_err().is_closed());
    assert_eq!(reported.take(), [(Origin::Executor, "no more".into())]);

    let held = drops.item();
    io_loop.set_default_executor(move |_| _ = &held);
    io_loop.close().unwrap();
    assert_eq!(drops.count(), 2, "closing drops it");
    let held = drops.item();
    io_loop.set_default_executor(move |_| _ = &held);
    assert_eq!(drops.count(), 3, "a closed loop takes none");
}

pub(super) fn a_job_on_a_closed_loop_is_refused(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.close().unwrap();
    let (ran, run) = channel::<()>();
    let mut job = pin!(io_loop.run_in_executor(move || drop(ran)));
    let std::task::Poll::Ready(Err(error)) = poll_once(job.as_mut()) else { panic!("it hangs") };
    assert!(error.is_closed());
    assert!(run.recv().is_err(), "its captures are dropped");
}

pub(super) fn shutting_the_executor_down_waits_for_its_jobs(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (release, released) = channel::<()>();
    let job = io_loop.run_in_executor(move || released.recv());
    let shutdown = io_loop.shutdown_default_executor();
    let weak = io_loop.downgrade();
    rig.run_until(&io_loop, async move {
        let mut shutdown = pin!(shutdown);
        for _ in 0..10 {
            assert!(poll_once(shutdown.as_mut()).is_pending(), "a job is running");
            yield_now().await;
        }
        let late = weak.upgrade().as_ref().map(|io_loop| io_loop.run_in_executor(|| ()));
        assert!(late.unwrap().await.unwrap_err().is_closed(), "it takes no more");
        release.send(()).unwrap();
        shutdown.await;
        assert!(job.is_finished());
    })
    .unwrap();
    let nothing: IOLoop = rig.io_loop();
    rig.run_until(&nothing, nothing.shutdown_default_executor()).unwrap();
}

/// Has the loop stopped once nothing is left that could call anything, as the guide has it.
fn stop_when_nothing_is_left(io_loop: &IOLoop, first: impl FnOnce() + 'static) -> Log<usize> {
    let jobs = Log::new();
    let (log, mut first) = (jobs.clone(), Some(first));
    io_loop.before_sleep(move || {
        let io_loop = current();
        let left = io_loop.metrics();
        log.push(left.jobs);
        if (left.watches, left.timers, left.tasks, left.jobs) == (0, 0, 0, 0) {
            io_loop.stop();
        }
        if let Some(first) = first.take() {
            first();
        }
        BeforeSleep::Sleep
    });
    jobs
}

pub(super) fn jobs_are_counted_and_the_end_of_the_last_wakes_the_loop(rig: &Rig) {
    let io_loop = rig.io_loop();
    let (release, released) = channel::<()>();
    assert_eq!(io_loop.metrics().jobs, 0);
    // Nobody awaits it: nothing else would wake the loop.
    io_loop.run_in_executor(move || released.recv().is_ok()).detach();
    assert_eq!(io_loop.metrics().jobs, 1);
    let seen = stop_when_nothing_is_left(&io_loop, move || release.send(()).unwrap());
    rig.run(&io_loop).unwrap();
    let seen = seen.take();
    assert_eq!((seen[0], seen.last()), (1, Some(&0)), "{seen:?}");

    // One that its executor drops has ended too, and so has one that panicked.
    io_loop.set_default_executor(drop);
    io_loop.run_in_executor(|| ()).detach();
    assert_eq!(io_loop.metrics().jobs, 0);
    io_loop.set_default_executor(|job| job());
    io_loop.run_in_executor(|| panic!("the job fails")).detach();
    assert_eq!(io_loop.metrics().jobs, 0);
}
