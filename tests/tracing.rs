//! What nobody handles is told to `tracing`, and never in a flood.
#![cfg(feature = "tracing")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
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
        assert_eq!(spans[0], "turn");
        assert_eq!(spans.len(), 3, "{spans:?}");
        assert!(spans[1].contains("a callback"), "{spans:?}");
        assert!(spans[1].contains(&format!("{}:{line}:", file!())), "{spans:?}");
        assert!(spans[2].contains("a task"), "{spans:?}");
    });
}
