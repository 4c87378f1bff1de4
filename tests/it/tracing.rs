//! What nobody handles is told to `tracing`, and never in a flood.

use std::cell::Cell;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::yield_now;
use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, Interest, Reactor, sleep};
use testkit::ways::every_way;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down events as their text, and spans as their name and fields.
#[derive(Clone, Default)]
struct Notes {
    events: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<String>>>,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "ioloop"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        let mut spans = self.spans.lock().unwrap();
        spans.push(text.0);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.events.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn named(name: &str) -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).name(name).build().unwrap()
}

fn one_turn(io_loop: &IOLoop) {
    io_loop.stop();
    io_loop.start().unwrap();
}

#[test]
fn a_panic_is_one_event_and_many_are_no_flood() {
    let notes = Notes::default();
    tracing::subscriber::with_default(notes.clone(), || {
        let io_loop = named("the loop");
        io_loop.call_soon(|| panic!("oh no"));
        let line = line!() - 1;
        one_turn(&io_loop);
        let events = std::mem::take(&mut *notes.events.lock().unwrap());
        let [event] = &events[..] else { panic!("{events:?}") };
        assert!(event.starts_with("ERROR"), "{event}");
        for part in ["loop the loop", "a callback panicked: oh no", &format!("{}:{line}:", file!())]
        {
            assert!(event.contains(part), "{part} in {event}");
        }
        for _ in 0..999 {
            io_loop.call_soon(|| panic!("again"));
        }
        one_turn(&io_loop);
        // 16, then 32, 64, 128, 256, 512.
        assert_eq!(notes.events.lock().unwrap().len(), 15 + 5);
        // With a handler it is told to nobody else.
        io_loop.set_exception_handler(|_| ());
        io_loop.call_soon(|| panic!("handled"));
        one_turn(&io_loop);
        assert_eq!(notes.events.lock().unwrap().len(), 20);
    });
}

#[test]
fn a_report_is_a_warning() {
    let notes = Notes::default();
    tracing::subscriber::with_default(notes.clone(), || {
        let io_loop = named("slow");
        io_loop.set_slow_callback_threshold(Some(std::time::Duration::ZERO));
        io_loop.call_soon(|| ());
        one_turn(&io_loop);
        let events = notes.events.lock().unwrap();
        assert!(events[0].starts_with("WARN"), "{events:?}");
        assert!(events[0].contains("loop slow: a callback held the loop up for"), "{events:?}");
    });
}

#[test]
fn each_turn_and_each_callback_is_a_span() {
    let notes = Notes::default();
    tracing::subscriber::with_default(notes.clone(), || {
        let io_loop = named("spans");
        io_loop.call_soon(|| ());
        let line = line!() - 1;
        io_loop.spawn(async {});
        one_turn(&io_loop);
        let spans = notes.spans.lock().unwrap();
        assert_eq!(spans[0], r#"turn loop_name="spans""#);
        assert_eq!(spans.len(), 3, "{spans:?}");
        assert!(spans.iter().all(|span| span.contains(r#"loop_name="spans""#)), "{spans:?}");
        assert!(spans[1].contains("a callback"), "{spans:?}");
        assert!(spans[1].contains(&format!("{}:{line}:", file!())), "{spans:?}");
        assert!(spans[2].contains("a task"), "{spans:?}");
    });
}

/// Panics in one of its methods each time, or in all of them.
struct Faulty(&'static str);

impl Faulty {
    fn fault(&self, method: &'static str) {
        if self.0 == method || self.0 == "all" {
            // Without the panic hook, which would print thousands.
            std::panic::resume_unwind(Box::new("a subscriber"));
        }
    }
}

impl Subscriber for Faulty {
    /// Asked on behalf of every subscriber there is, on whatever thread: those of other tests too.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        self.fault("enabled");
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.fault("new_span");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.fault("event");
    }

    fn enter(&self, _: &Id) {
        self.fault("enter");
    }

    fn exit(&self, _: &Id) {
        self.fault("exit");
    }

    fn try_close(&self, _: Id) -> bool {
        self.fault("try_close");
        true
    }
}

// B267
#[test]
fn a_subscriber_that_panicked_ended_watches_lost_timers_and_unwound_into_the_host() {
    for method in ["enabled", "new_span", "event", "enter", "exit", "try_close", "all"] {
        println!("{method}");
        every_way(|way| {
            let _faulty = tracing::subscriber::set_default(Faulty(method));
            let io_loop = way.io_loop();
            io_loop.set_slow_callback_threshold(Some(Duration::ZERO));
            let calls: Rc<[Cell<u32>; 8]> = Rc::default();
            let count = |kind: usize| {
                let calls = Rc::clone(&calls);
                move || calls[kind].set(calls[kind].get() + 1)
            };
            let (reader, mut to_reader) = UnixStream::pair().unwrap();
            let (handler, mut to_handler) = UnixStream::pair().unwrap();
            let (read, handled) = (count(0), count(1));
            let watch = io_loop.add_reader(reader, move |mut stream| {
                assert_eq!(stream.read(&mut [0]).unwrap(), 1);
                read();
            });
            io_loop
                .add_handler(handler, Interest::READ, move |mut stream, _| {
                    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
                    handled();
                })
                .unwrap();
            let before_sleep = count(2);
            io_loop.before_sleep(move || {
                before_sleep();
                BeforeSleep::Sleep
            });
            for _ in 0..3 {
                to_reader.write_all(b"x").unwrap();
                to_handler.write_all(b"x").unwrap();
                io_loop.call_soon(count(3));
                let now = io_loop.now();
                io_loop.call_at(now, count(4));
                let (polled, then) = (count(5), count(5));
                io_loop.spawn(async move {
                    polled();
                    yield_now().await;
                    then();
                });
                io_loop.handle().add_callback(send(count(6))).unwrap();
                // One whose panic goes through the span, and is told as an event.
                let panics = count(7);
                io_loop.call_soon(move || {
                    panics();
                    std::panic::resume_unwind(Box::new(()));
                });
            }
            for _ in 0..2 {
                way.run(&io_loop, sleep(&io_loop, Duration::from_millis(1))).unwrap();
            }
            let counts = |kinds: &[usize]| kinds.iter().map(|kind| calls[*kind].get()).collect();
            let counts: Vec<u32> = counts(&[0, 1, 3, 4, 5, 6, 7]);
            assert_eq!(counts, [3, 3, 3, 3, 6, 3, 3]);
            assert!(calls[2].get() > 0, "the hook");
            assert_eq!((io_loop.metrics().watches, io_loop.metrics().tasks), (2, 0));
            assert!(watch.unwrap().remove());
        });
    }
}

/// For a post to the loop of this thread, which calls it here.
fn send(call: impl FnOnce() + 'static) -> impl FnOnce() + Send + 'static {
    let call = send_wrapper::SendWrapper::new(call);
    move || call.take()()
}
