//! The order within one turn, as the section "One turn" of `IOLoop` documents it.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};

/// An own loop on every backend, and one attached to each that can host.
fn loops() -> Vec<IOLoop> {
    let compiled = BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled());
    let mut loops: Vec<_> =
        compiled.map(|kind| IOLoop::builder().backend(kind).build().unwrap()).collect();
    for kind in [BackendKind::AsyncIo, BackendKind::Smol] {
        if kind.is_compiled() {
            loops.push(IOLoop::builder().backend(kind).attach().unwrap());
        }
    }
    loops
}

/// One turn, which polls the descriptors and does not wait: a stop that was requested before
/// allows no more.
fn one_turn(io_loop: &IOLoop) {
    let turns = io_loop.metrics().turns;
    io_loop.stop();
    if io_loop.is_attached() {
        futures_lite::future::block_on(io_loop.run()).unwrap();
    } else {
        io_loop.start().unwrap();
    }
    assert_eq!(io_loop.metrics().turns, turns + 1);
}

fn current() -> IOLoop {
    IOLoop::current().unwrap()
}

/// What was called, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn push(&self, name: &'static str) {
        self.0.borrow_mut().push(name);
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }

    /// A callback that writes `name`.
    fn write(&self, name: &'static str) -> impl Fn() + 'static {
        let log = self.clone();
        move || log.push(name)
    }
}

/// A stream that can be read from and written to, and its peer.
fn ready_stream() -> (Rc<UnixStream>, UnixStream) {
    let (stream, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b".").unwrap();
    (Rc::new(stream), peer)
}

#[test]
fn callbacks_come_before_descriptors_and_those_before_timers() {
    for io_loop in loops() {
        let log = Log::default();
        let (stream, _peer) = ready_stream();
        let (reader, writer) = (log.write("reader"), log.write("writer"));
        // Asked for in the opposite order.
        let past = Instant::now() - Duration::from_millis(1);
        io_loop.call_at(past, log.write("timer"));
        io_loop.call_at(past, log.write("timer of the same deadline"));
        io_loop.call_at(past - Duration::from_millis(1), log.write("earlier timer"));
        let source = Rc::clone(&stream);
        io_loop.add_writer(source, move |_| writer()).unwrap();
        io_loop.add_reader(stream, move |_| reader()).unwrap();
        io_loop.call_soon(log.write("callback"));
        let task = log.write("task");
        io_loop.spawn(async move { task() }).detach();
        io_loop.call_soon(log.write("callback after the task"));
        one_turn(&io_loop);
        assert_eq!(
            log.take(),
            [
                "callback",
                "task",
                "callback after the task",
                "reader",
                "writer",
                "earlier timer",
                "timer",
                "timer of the same deadline",
            ],
            "{io_loop:?}"
        );
    }
}

#[test]
fn what_is_queued_in_any_phase_waits_for_the_next_turn() {
    for io_loop in loops() {
        let log = Log::default();
        let queue_all = {
            let log = log.clone();
            move || {
                let (stream, peer) = ready_stream();
                let reader = log.write("new reader");
                let once = move |stream: &Rc<UnixStream>| {
                    let _peer = &peer;
                    reader();
                    assert!(current().remove_reader(stream));
                };
                current().add_reader(stream, once).unwrap();
                current().call_later(Duration::ZERO, log.write("new timer"));
                current().call_soon(log.write("new callback"));
                let task = log.write("new task");
                current().spawn(async move { task() }).detach();
            }
        };
        let expected = ["new callback", "new task", "new reader", "new timer"];

        let (in_callback, name) = (queue_all.clone(), log.write("callback"));
        io_loop.call_soon(move || {
            name();
            in_callback();
        });
        one_turn(&io_loop);
        assert_eq!(log.take(), ["callback"], "{io_loop:?}");
        one_turn(&io_loop);
        assert_eq!(log.take(), expected, "{io_loop:?}");

        let (in_reader, name) = (queue_all.clone(), log.write("reader"));
        let (stream, _peer) = ready_stream();
        let once = move |stream: &Rc<UnixStream>| {
            name();
            assert!(current().remove_reader(stream));
            in_reader();
        };
        io_loop.add_reader(stream, once).unwrap();
        one_turn(&io_loop);
        assert_eq!(log.take(), ["reader"], "{io_loop:?}");
        one_turn(&io_loop);
        assert_eq!(log.take(), expected, "{io_loop:?}");

        let name = log.write("timer");
        io_loop.call_later(Duration::ZERO, move || {
            name();
            queue_all();
        });
        one_turn(&io_loop);
        assert_eq!(log.take(), ["timer"], "{io_loop:?}");
        one_turn(&io_loop);
        assert_eq!(log.take(), expected, "{io_loop:?}");
    }
}

#[test]
fn what_an_earlier_phase_takes_back_is_not_called_in_a_later_one() {
    for io_loop in loops() {
        let log = Log::default();
        let (first, _first_peer) = ready_stream();
        let (second, _second_peer) = ready_stream();
        let timer = io_loop.call_later(Duration::ZERO, log.write("timer"));
        let name = log.write("reader");
        let source = Rc::clone(&second);
        io_loop.add_reader(source, move |_| name()).unwrap();
        let name = log.write("callback");
        io_loop.call_soon(move || {
            name();
            assert!(current().remove_reader(&second));
        });
        let name = log.write("other reader");
        let once = move |stream: &Rc<UnixStream>| {
            name();
            assert!(current().remove_reader(stream));
            assert!(timer.cancel());
        };
        io_loop.add_reader(first, once).unwrap();
        one_turn(&io_loop);
        assert_eq!(log.take(), ["callback", "other reader"], "{io_loop:?}");
    }
}

#[test]
fn a_timer_that_falls_due_during_the_turn_waits_for_the_next() {
    for io_loop in loops() {
        let log = Log::default();
        let deadline = Rc::new(Cell::new(None));
        let (blocks, until) = (log.write("callback"), Rc::clone(&deadline));
        io_loop.call_soon(move || {
            // Set by a callback, so it cannot be due when the poll ends.
            let set: ioloop::TimerHandle = until.take().unwrap();
            assert!(set.reset(current().now() + Duration::from_micros(200)));
            while current().now() < set.deadline() {
                std::hint::spin_loop();
            }
            blocks();
        });
        let hour = Duration::from_secs(3600);
        deadline.set(Some(io_loop.call_later(hour, log.write("timer"))));
        one_turn(&io_loop);
        assert_eq!(log.take(), ["callback"], "{io_loop:?}");
        one_turn(&io_loop);
        assert_eq!(log.take(), ["timer"], "{io_loop:?}");
    }
}

#[test]
fn a_turn_that_is_stopped_goes_on_to_its_end() {
    for io_loop in loops() {
        let log = Log::default();
        let (stream, _peer) = ready_stream();
        let reader = log.write("reader");
        let read = move |stream: &Rc<UnixStream>| {
            assert_eq!((&**stream).read(&mut [0]).unwrap(), 1);
            reader();
        };
        io_loop.add_reader(stream, read).unwrap();
        io_loop.call_later(Duration::ZERO, log.write("timer"));
        let (stops, later) = (log.write("stops"), log.write("queued while stopping"));
        io_loop.call_soon(move || {
            current().stop();
            stops();
            current().call_soon(later);
        });
        io_loop.call_soon(log.write("callback"));
        one_turn(&io_loop);
        assert_eq!(log.take(), ["stops", "callback", "reader", "timer"], "{io_loop:?}");
    }
}

#[test]
fn the_first_turn_polls_and_a_busy_one_may_leave_it_out_but_not_for_long() {
    for io_loop in loops().iter().filter(|io_loop| !io_loop.is_attached()) {
        let log = Log::default();
        let (stream, _peer) = ready_stream();
        let name = log.write("reader");
        let mut calls = 0;
        io_loop
            .add_reader(stream, move |_| {
                name();
                calls += 1;
                if calls == 2 {
                    current().stop();
                }
            })
            .unwrap();
        fn chain() {
            current().call_soon(chain);
        }
        io_loop.call_soon(chain);
        // A timer of no delay need not wait for a poll.
        io_loop.call_later(Duration::ZERO, log.write("timer"));
        io_loop.start().unwrap();
        // As on asyncio, what is ready at the start is served in the first turn.
        assert_eq!(log.take(), ["reader", "timer", "reader"], "{io_loop:?}");
        // One more that polls, after 61 calls at the latest.
        let metrics = io_loop.metrics();
        assert!(metrics.turns <= 62 && metrics.callbacks <= 62, "{metrics:?}");
    }
}
