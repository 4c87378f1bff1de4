//! Links to a loop that do not keep it, and what a loop that is dropped with work pending leaves.

use std::future::pending;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::rig::Rig;
use super::tools::{Drops, block_on, one_turn};
use ioloop::{
    Async, Closed, IOLoop, ManualClock, PeriodicCallback, Reactor, Task, WeakIOLoop, deferred,
    interval, process, sleep, timeout,
};

const LONG: Duration = Duration::from_secs(3600);

/// What a reactor answers that takes no work any more.
fn assert_closed<R: Reactor>(reactor: &R, name: &str) {
    let drops = Drops::new();
    let (first, second, third) = (drops.item(), drops.item(), drops.item());
    let callback = reactor.call_soon(move || drop(first));
    let timer = reactor.call_later(LONG, move || drop(second));
    assert!(callback.is_cancelled() && timer.is_cancelled(), "{name}");
    assert!(!callback.cancel() && !timer.cancel() && !timer.reset(reactor.now()), "{name}");
    assert!(timer.deadline() >= reactor.now() + LONG - Duration::from_secs(60), "{name}");

    let (ours, theirs) = UnixStream::pair().unwrap();
    let watched = reactor.add_reader(ours, move |_| _ = &third);
    let error = watched.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{name}");
    assert!(error.to_string().contains("closed"), "{name}: {error}");
    assert!(!reactor.remove_reader(&theirs) && !reactor.remove_writer(&theirs), "{name}");
    assert_eq!(drops.count(), 3, "{name}: what was refused is dropped at once");
    assert_eq!((&theirs).read(&mut [0]).unwrap(), 0, "{name}: the source is closed");

    assert_eq!(reactor.poster().post(|| ()), Err(Closed), "{name}");
    assert_eq!(block_on(sleep(reactor, LONG)), Err(Closed), "{name}");
    let late = block_on(timeout(reactor, LONG, pending::<()>())).unwrap_err();
    assert!(late.is_closed(), "{name}: {late}");
    let bound = Async::<TcpListener>::bind(reactor, "127.0.0.1:0");
    assert_eq!(bound.unwrap_err().kind(), ErrorKind::BrokenPipe, "{name}");
}

pub(super) fn a_link_to_a_loop_that_has_gone_is_a_closed_reactor(rig: &Rig) {
    let io_loop = rig.io_loop();
    let weak = io_loop.downgrade();
    let kept = weak.clone();
    io_loop.call_soon(|| assert!(WeakIOLoop::current().is_some()));
    one_turn(rig, &io_loop);
    let poster = weak.poster();
    io_loop.close().unwrap();
    assert_closed(&io_loop, "closed");
    assert_closed(&weak, "a link to a closed loop");
    drop(io_loop);
    assert!(weak.upgrade().is_none() && WeakIOLoop::current().is_none());
    assert_closed(&weak, "a link to a loop that was closed, and has gone");
    assert_closed(&kept, "its clone");
    assert_eq!(poster.post(|| ()), Err(Closed));

    let io_loop = rig.io_loop();
    let weak = io_loop.downgrade();
    drop(io_loop);
    assert_closed(&weak, "a link to a loop that was dropped");
}

pub(super) fn a_link_goes_by_the_clock_of_its_loop(_rig: &Rig) {
    let clock = ManualClock::new();
    let io_loop = IOLoop::builder().clock(&clock).build().unwrap();
    let weak = io_loop.downgrade();
    clock.advance(LONG);
    assert_eq!(weak.now(), io_loop.now());
    drop(io_loop);
    clock.advance(LONG);
    assert_eq!(weak.now(), clock.now());
}

/// Spawns one of each task that waits by means of this library.
fn leave_everything_pending(io_loop: &IOLoop) -> Vec<Task<()>> {
    let weak = io_loop.downgrade();
    let tcp = Async::<TcpListener>::bind(&weak, "127.0.0.1:0").unwrap();
    let address = tcp.get_ref().local_addr().unwrap();
    let mut tasks = Vec::new();
    macro_rules! leave {
        ($weak:ident, $work:expr) => {{
            let $weak = weak.clone();
            tasks.push(io_loop.spawn(async move {
                let _ended = $work;
                unreachable!("it was to be left pending");
            }));
        }};
    }
    leave!(weak, {
        // The first is the connection made below.
        let _first = tcp.accept(&weak).await.unwrap();
        tcp.accept(&weak).await.unwrap()
    });
    let (ours, _theirs) = UnixStream::pair().unwrap();
    leave!(weak, {
        let stream = Async::new(&weak, ours).unwrap();
        stream.readable().await.unwrap();
        _theirs
    });
    leave!(weak, sleep(&weak, LONG).await.unwrap());
    leave!(weak, timeout(&weak, LONG, pending::<()>()).await.unwrap());
    leave!(weak, interval(&weak, LONG).unwrap().tick().await.unwrap());
    leave!(weak, {
        let stream = Async::<TcpStream>::connect(&weak, address).await.unwrap();
        stream.read_with(|mut stream| stream.read(&mut [0])).await.unwrap()
    });
    leave!(weak, {
        let socket = Async::<UdpSocket>::bind(&weak, "127.0.0.1:0").unwrap();
        socket.recv_from(&mut [0]).await.unwrap()
    });
    leave!(weak, {
        let periodic = PeriodicCallback::new(&weak, LONG, || ()).unwrap();
        periodic.start();
        pending::<()>().await;
        drop(periodic)
    });
    leave!(weak, {
        // Ends when its input does, which goes with the task.
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let _input = cat.stdin.take();
        process::wait(&weak, cat).unwrap().await.unwrap()
    });
    let (resolver, mut answer) = deferred::<()>();
    answer.add_done_callback(io_loop, |_| ());
    leave!(_weak, {
        let _held = resolver;
        answer.await.unwrap()
    });
    let far = io_loop.handle().spawn(pending::<()>);
    leave!(_weak, far.await.unwrap());
    let shutdown = io_loop.shutdown(LONG);
    leave!(_weak, {
        // Not begun: it would refuse what is spawned above. It is held like one that was.
        pending::<()>().await;
        shutdown.await
    });
    tasks
}

pub(super) fn a_loop_dropped_with_everything_pending_releases_its_descriptors(rig: &Rig) {
    let round = || {
        let io_loop = rig.io_loop();
        let weak = io_loop.downgrade();
        let tasks = leave_everything_pending(&io_loop);
        let own = tasks.len();
        // Long enough for each to wait for what never comes.
        (0..20).for_each(|_| one_turn(rig, &io_loop));
        assert!(tasks.iter().all(|task| !task.is_finished()), "{}", io_loop.listing());
        assert!(io_loop.metrics().tasks >= own);
        drop(io_loop);
        assert!(weak.upgrade().is_none(), "something keeps the loop");
        for task in tasks {
            assert!(block_on(task).unwrap_err().is_closed());
        }
    };
    // What the runtime opens once for the process is open from here on.
    round();
    let before = rig.open_descriptors();
    (0..10).for_each(|_| round());
    assert_eq!(rig.open_descriptors(), before);
}

pub(super) fn a_shutdown_under_way_keeps_no_loop(rig: &Rig) {
    let io_loop = rig.io_loop();
    io_loop.spawn(pending::<()>());
    let shutdown = io_loop.shutdown(LONG);
    let task = io_loop.spawn(shutdown);
    one_turn(rig, &io_loop);
    assert!(!task.is_finished());
    let weak = io_loop.downgrade();
    drop(io_loop);
    assert!(weak.upgrade().is_none(), "the task keeps its loop");
    assert!(block_on(task).unwrap_err().is_closed());
}
