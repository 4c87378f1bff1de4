//! What is left of any reactor that was closed: nothing, and it takes nothing more.

use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::tools::{Drops, Log};
use super::{ReactorRig, pair};
use ioloop::{Closed, Reactor};

/// Counts its clones, wherever they are.
type Counted = Arc<()>;

fn clones(counted: &Counted) -> usize {
    Arc::strong_count(counted) - 1
}

pub(in super::super) fn close_drops_everything_once_and_runs_nothing(rig: &ReactorRig) {
    let (drops, ran, posted) = (Drops::new(), Log::new(), Counted::default());
    let run = |what| {
        let (item, ran) = (drops.item(), ran.clone());
        move || {
            let _held = &item;
            ran.push(what);
        }
    };
    let reactor = rig.reactor();
    let callback = reactor.call_soon(run("callback"));
    let timer = reactor.call_later(Duration::ZERO, run("timer"));
    let held = Counted::clone(&posted);
    reactor.poster().post(move || drop(held)).unwrap();
    let ((mut ours, theirs), (paused, mut peer)) = (pair(), pair());
    ours.write_all(b"x").unwrap();
    let reads = run("reader");
    let reader = reactor.add_reader(theirs, move |_| reads()).unwrap();
    let writes = run("paused writer");
    let writer = reactor.add_writer(paused, move |_| writes()).unwrap();
    assert!(writer.pause());
    // A source that somebody else has a share in stays open.
    let (shared, other) = pair();
    let shared = Rc::new(shared);
    reactor.add_writer(Rc::clone(&shared), |_| ()).unwrap();

    rig.close();
    assert_eq!((drops.count(), clones(&posted)), (4, 0));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "its source was closed");
    assert_eq!((&*shared).write(b"x").unwrap(), 1);
    drop(other);
    assert!(!callback.cancel() && !timer.cancel() && !timer.reset(reactor.now()));
    assert!(!reader.remove() && !writer.pause() && !writer.resume().unwrap());
    rig.close();
    assert_eq!(ran.take(), [""; 0]);
    assert_eq!(drops.count(), 4, "and each once");
}

pub(in super::super) fn a_closed_reactor_takes_nothing(rig: &ReactorRig) {
    let (drops, posted) = (Drops::new(), Counted::default());
    let reactor = rig.reactor();
    let before = reactor.poster();
    rig.close();
    let hold = || {
        let item = drops.item();
        move || drop(item)
    };
    let callback = reactor.call_soon(hold());
    assert!(callback.is_cancelled() && !callback.cancel());
    assert_eq!(drops.count(), 1, "the callback");
    let timer = reactor.call_later(Duration::ZERO, hold());
    assert!(timer.is_cancelled() && !timer.cancel() && !timer.reset(reactor.now()));
    assert_eq!(drops.count(), 2, "the timer");
    let (ours, mut theirs) = pair();
    let ours = Rc::new(ours);
    for watched in
        [reactor.add_reader(Rc::clone(&ours), |_| ()), reactor.add_writer(Rc::clone(&ours), |_| ())]
    {
        assert_eq!(watched.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    assert!(!reactor.remove_reader(&ours) && !reactor.remove_writer(&ours));
    drop(ours);
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the source is given up");
    for poster in [before, reactor.poster()] {
        let held = Counted::clone(&posted);
        assert_eq!(poster.post(move || drop(held)), Err(Closed));
        assert_eq!(clones(&posted), 0, "the post");
    }
}

pub(in super::super) fn posts_that_race_with_close_are_called_or_dropped(rig: &ReactorRig) {
    const UNDER_WAY: usize = 1000;
    let held = Counted::default();
    let [begun, closed] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let posters = [(); 4].map(|()| {
        let (poster, held) = (rig.reactor().poster(), Counted::clone(&held));
        let (begun, closed) = (Arc::clone(&begun), Arc::clone(&closed));
        std::thread::spawn(move || {
            loop {
                let late = closed.load(Ordering::Acquire);
                // Without a bound, on a busy machine, the loop would have more and more to do.
                if !late && clones(&held) > UNDER_WAY {
                    std::thread::yield_now();
                    continue;
                }
                let held = Counted::clone(&held);
                let posted = poster.post(move || drop(held));
                begun.store(true, Ordering::Relaxed);
                if late || posted.is_err() {
                    return posted;
                }
            }
        })
    });
    while !begun.load(Ordering::Relaxed) {
        rig.turns(1);
    }
    rig.close();
    closed.store(true, Ordering::Release);
    for poster in posters {
        assert_eq!(poster.join().unwrap(), Err(Closed), "it was closed before this post");
    }
    assert_eq!(clones(&held), 0, "neither called nor dropped");
}
