//! Either loop inside the other: what goes to and fro, and what is left when one of them ends half
//! way.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use calloop::channel::{self, Event, Sender, channel};
use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, Interest, Mode, PostAction, RegistrationToken};
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Lent, Reactor};
use ioloop_calloop::{IOLoopSource, add_calloop};

const MILLISECOND: Duration = Duration::from_millis(1);
/// What hangs fails after this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What calloop's callbacks get.
#[derive(Default)]
struct Log {
    messages: Vec<u32>,
    turns: u32,
    stopped: bool,
}

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// Puts a loop into calloop, until it is stopped.
fn insert(io_loop: &IOLoop, event_loop: &EventLoop<'static, Log>) -> RegistrationToken {
    let source = IOLoopSource::new(io_loop).unwrap();
    let inserted = event_loop.handle().insert_source(source, |turn, _, log: &mut Log| {
        log.turns += 1;
        log.stopped |= turn.stopped;
        if turn.stopped { PostAction::Remove } else { PostAction::Continue }
    });
    inserted.unwrap()
}

/// A way to send to calloop's callbacks.
fn sender(event_loop: &EventLoop<'static, Log>) -> Sender<u32> {
    let (sender, receiver) = channel();
    let kept = event_loop.handle().insert_source(receiver, |event, _, log: &mut Log| {
        if let Event::Msg(message) = event {
            log.messages.push(message);
        }
    });
    kept.unwrap();
    sender
}

/// Dispatches until something is so.
fn dispatch_until(event_loop: &mut EventLoop<'static, Log>, is: impl Fn(&Log) -> bool) -> Log {
    let mut log = Log::default();
    let start = std::time::Instant::now();
    while !is(&log) {
        assert!(start.elapsed() < PATIENCE, "it hangs");
        event_loop.dispatch(PATIENCE, &mut log).unwrap();
    }
    log
}

/// Whether calloop finds nothing to do for the loop in it.
fn rests(event_loop: &mut EventLoop<'static, Log>) -> bool {
    let mut log = Log::default();
    event_loop.dispatch(Duration::ZERO, &mut log).unwrap();
    log.turns == 0
}

#[test]
fn messages_go_both_ways() {
    let mut event_loop = EventLoop::try_new().unwrap();
    let io_loop = bare();
    insert(&io_loop, &event_loop);
    let to_calloop = sender(&event_loop);

    // From a timer of calloop's into the loop, and back from a task, a timer and another thread.
    let (inner, outwards) = (io_loop.clone(), to_calloop.clone());
    let timer = event_loop.handle().insert_source(Timer::from_duration(MILLISECOND), {
        move |_, _, _: &mut Log| {
            let outwards = outwards.clone();
            inner.call_soon(move || outwards.send(1).unwrap());
            TimeoutAction::Drop
        }
    });
    timer.unwrap();
    let outwards = to_calloop.clone();
    io_loop.call_later(MILLISECOND, move || outwards.send(2).unwrap());
    let outwards = to_calloop.clone();
    let handle = io_loop.handle();
    let far = thread::spawn(move || handle.add_callback(move || outwards.send(3).unwrap()));
    let (outwards, inner) = (to_calloop, io_loop.clone());
    io_loop.spawn(async move {
        ioloop::sleep(&inner, MILLISECOND).await.unwrap();
        outwards.send(4).unwrap();
    });
    let mut log = dispatch_until(&mut event_loop, |log| log.messages.len() == 4);
    log.messages.sort();
    assert_eq!(log.messages, [1, 2, 3, 4]);
    far.join().unwrap().unwrap();
    while !rests(&mut event_loop) {}
    assert!(rests(&mut event_loop));
}

#[test]
fn a_loop_that_was_stopped_is_out_and_can_be_put_in_again() {
    let mut event_loop = EventLoop::try_new().unwrap();
    let io_loop = bare();
    insert(&io_loop, &event_loop);
    io_loop.call_soon(stop);
    assert!(dispatch_until(&mut event_loop, |log| log.stopped).turns > 0);
    io_loop.call_soon(stop);
    assert!(rests(&mut event_loop), "nobody drives it");
    insert(&io_loop, &event_loop);
    dispatch_until(&mut event_loop, |log| log.stopped);
}

#[test]
fn a_descriptor_that_is_renewed_is_registered_again() {
    let mut event_loop = EventLoop::try_new().unwrap();
    let io_loop = bare();
    let token = insert(&io_loop, &event_loop);
    for last in [false, true] {
        // It is closed behind the loop's back, while a duplicate of it lives.
        let (mut peer, ours) = UnixStream::pair().unwrap();
        let _duplicate = ours.try_clone().unwrap();
        #[expect(unsafe_code, reason = "the promise is broken on purpose")]
        // SAFETY: it is not: the loop has to survive that, and does.
        let lent = unsafe { Lent::new(ours.as_raw_fd()) };
        let watch = io_loop.add_reader(lent, |_| unreachable!()).unwrap();
        drop(ours);
        watch.remove();
        peer.write_all(b"x").unwrap();
        if last {
            // The turn that renews it is also its last.
            io_loop.stop();
        }
        let log = dispatch_until(&mut event_loop, |log| log.turns > 0);
        assert_eq!(log.stopped, last);
        if !last {
            // calloop is woken still.
            let handle = io_loop.handle();
            let far = thread::spawn(move || handle.call(|| ()));
            let called = io_loop.metrics().callbacks;
            dispatch_until(&mut event_loop, |_| io_loop.metrics().callbacks > called);
            drop(far);
        }
    }
    event_loop.handle().remove(token);
}

#[test]
fn either_may_end_in_the_middle() {
    let held = Rc::new(());
    let fill = |io_loop: &IOLoop| {
        let (soon, later) = (Rc::clone(&held), Rc::clone(&held));
        io_loop.call_soon(move || drop(soon));
        io_loop.call_later(PATIENCE, move || drop(later));
    };

    // calloop takes the loop out, with something to do: it stays, and is driven otherwise.
    let mut event_loop = EventLoop::try_new().unwrap();
    let io_loop = bare();
    let token = insert(&io_loop, &event_loop);
    fill(&io_loop);
    event_loop.handle().remove(token);
    assert!(rests(&mut event_loop));
    assert_eq!(Rc::strong_count(&held), 3);
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(Rc::strong_count(&held), 2);

    // calloop goes first.
    insert(&io_loop, &event_loop);
    fill(&io_loop);
    drop(event_loop);
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    io_loop.close().unwrap();
    assert_eq!(Rc::strong_count(&held), 1);

    // The loop goes first, in a callback of calloop's: of the same batch, and of an earlier one.
    let mut event_loop = EventLoop::try_new().unwrap();
    let io_loop = bare();
    let (closes, receiver) = channel();
    let closed = io_loop.clone();
    let close = event_loop.handle().insert_source(receiver, move |event, _, _| {
        if let Event::Msg(()) = event {
            closed.close().unwrap();
        }
    });
    close.unwrap();
    insert(&io_loop, &event_loop);
    fill(&io_loop);
    closes.send(()).unwrap();
    dispatch_until(&mut event_loop, |_| io_loop.is_closed());
    assert_eq!(Rc::strong_count(&held), 1);
    assert!(rests(&mut event_loop));
    assert!(IOLoopSource::new(&io_loop).is_err());

    // And by being dropped: the source does not hold it.
    let io_loop = bare();
    insert(&io_loop, &event_loop);
    fill(&io_loop);
    drop(io_loop);
    assert_eq!(Rc::strong_count(&held), 1);
    assert!(rests(&mut event_loop));
}

#[test]
fn calloop_in_the_loop() {
    let io_loop = bare();
    let event_loop: EventLoop<'static, Rc<RefCell<Vec<u32>>>> = EventLoop::try_new().unwrap();
    let (outwards, receiver) = channel();
    let watch: Rc<Cell<Option<ioloop::Watch>>> = Rc::default();
    let removes = Rc::clone(&watch);
    let (pings, pinged) = calloop::ping::make_ping().unwrap();
    // A message to calloop, which pings itself, and calls the loop; the last one takes calloop out.
    let inserted = event_loop.handle().insert_source(receiver, move |event, _, log| {
        let channel::Event::Msg(message) = event else { return };
        log.borrow_mut().push(message);
        match message {
            3 => assert!(removes.take().unwrap().remove()),
            _ => pings.ping(),
        }
    });
    inserted.unwrap();
    let replies = outwards.clone();
    let inserted = event_loop.handle().insert_source(pinged, move |_, _, log| {
        let (next, replies) = (log.borrow().len() as u32 + 1, replies.clone());
        IOLoop::current().unwrap().call_later(MILLISECOND, move || replies.send(next).unwrap());
    });
    inserted.unwrap();
    let log = Rc::new(RefCell::new(Vec::new()));
    let on_error = |error| panic!("{error}");
    watch.set(Some(add_calloop(&io_loop, event_loop, Rc::clone(&log), on_error).unwrap()));
    let far = thread::spawn(move || outwards.send(1).unwrap());
    while Rc::strong_count(&log) > 1 {
        io_loop.turn(Some(PATIENCE)).unwrap();
    }
    far.join().unwrap();
    assert_eq!(*log.borrow(), [1, 2, 3]);
    assert_eq!(io_loop.metrics().watches, 0);
}

#[test]
fn what_panics_or_fails_in_one_of_them_is_not_the_others() {
    // A callback, a timer and a task of the loop that is in calloop.
    let mut event_loop = EventLoop::try_new().unwrap();
    let io_loop = bare();
    let panics = Rc::new(Cell::new(0));
    let counted = Rc::clone(&panics);
    io_loop.set_exception_handler(move |_| counted.set(counted.get() + 1));
    insert(&io_loop, &event_loop);
    io_loop.call_soon(|| panic!("on purpose"));
    io_loop.call_later(MILLISECOND, || panic!("on purpose"));
    let task = io_loop.spawn(async { panic!("on purpose") });
    dispatch_until(&mut event_loop, |_| panics.get() == 2 && task.is_finished());
    let joined: Result<(), _> = io_loop.run_sync(task).unwrap();
    assert!(joined.unwrap_err().is_panic());
    io_loop.close().unwrap();
    assert!(rests(&mut event_loop));

    // A source of the calloop that is in a loop: it fails once, and is served again.
    let io_loop = bare();
    let event_loop: EventLoop<'static, Rc<Cell<u32>>> = EventLoop::try_new().unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let source = Generic::new(ours, Interest::READ, Mode::Level);
    let inserted = event_loop.handle().insert_source(source, |_, ours, calls| {
        calls.set(calls.get() + 1);
        let mut byte = [0];
        (&**ours).read_exact(&mut byte)?;
        match byte {
            [b'x'] => Err(std::io::Error::other("on purpose")),
            _ => Ok(PostAction::Continue),
        }
    });
    inserted.unwrap();
    let (calls, errors) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let failed = Rc::clone(&errors);
    let on_error = move |_| failed.set(failed.get() + 1);
    let watch = add_calloop(&io_loop, event_loop, Rc::clone(&calls), on_error).unwrap();
    for (byte, ended) in [(b"x", 1), (b"y", 1)] {
        let before = calls.get();
        peer.write_all(byte).unwrap();
        while calls.get() == before {
            io_loop.turn(Some(PATIENCE)).unwrap();
        }
        assert_eq!(errors.get(), ended);
    }
    assert!(watch.remove());
    assert_eq!(Rc::strong_count(&calls), 1);
}
