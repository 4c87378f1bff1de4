//! A loop inside GLib's, and GLib's around attached and own loops.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use glib::source::timeout_source_new;
use glib::{ControlFlow, MainContext, MainLoop, Priority};
use ioloop::backends::BackendKind;
use ioloop::{Async, Closed, IOLoop, Reactor, RunError, sleep, timeout};
use ioloop_glib::{Embedded, GlibBackend, GlibReactor, embed};
use rustix::event::{EventfdFlags, epoll, eventfd};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A context with a bare loop in it, whose end ends the main loop.
struct Site {
    context: MainContext,
    main_loop: MainLoop,
    io_loop: IOLoop,
    embedded: Embedded,
    ended: Rc<RefCell<Vec<Result<(), RunError>>>>,
}

impl Site {
    fn new() -> Site {
        let context = MainContext::new();
        let main_loop = MainLoop::new(Some(&context), false);
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let ended: Rc<RefCell<Vec<_>>> = Rc::default();
        let (quits, log) = (main_loop.clone(), Rc::clone(&ended));
        let embedded = embed(&io_loop, &context, move |end| {
            log.borrow_mut().push(end);
            quits.quit();
        });
        Site { embedded: embedded.unwrap(), context, main_loop, io_loop, ended }
    }

    /// Has GLib call `act` after a millisecond.
    fn timeout(&self, act: impl FnOnce() + Send + 'static) {
        let mut act = Some(act);
        let source = timeout_source_new(MILLISECOND, None, Priority::DEFAULT, move || {
            if let Some(act) = act.take() {
                act();
            }
            ControlFlow::Break
        });
        source.attach(Some(&self.context));
    }

    /// Whether GLib has nothing to do, without waiting.
    fn rests(&self) -> bool {
        while self.context.iteration(false) {}
        !self.context.pending()
    }
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

#[test]
fn timers_watches_and_posts_of_both_loops_take_turns() {
    let site = Site::new();
    let (ours, peer) = UnixStream::pair().unwrap();
    let log: Rc<RefCell<Vec<&str>>> = Rc::default();
    // Each begins the next, so GLib sleeps in between: our timer, a post, GLib's timer, our
    // reader.
    let (fires, posts, reads) = (Rc::clone(&log), Rc::clone(&log), Rc::clone(&log));
    let handle = site.io_loop.handle();
    site.io_loop
        .add_reader(ours, move |mut stream| {
            reads.borrow_mut().push("reader");
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
            IOLoop::current().unwrap().remove_reader(stream);
            stop();
        })
        .unwrap();
    let (sender, receiver) = channel();
    site.io_loop.call_later(MILLISECOND, move || {
        fires.borrow_mut().push("timer");
        thread::spawn(move || handle.add_callback(move || sender.send(()).unwrap()).unwrap());
    });
    let context = site.context.clone();
    let task = site.io_loop.spawn(async move {
        let io_loop = IOLoop::current().unwrap();
        // A task of the loop's, while GLib iterates.
        while receiver.try_recv().is_err() {
            sleep(&io_loop, MILLISECOND).await.unwrap();
        }
        posts.borrow_mut().push("post");
        let mut peer = Some(peer.try_clone().unwrap());
        let source = timeout_source_new(MILLISECOND, None, Priority::DEFAULT, move || {
            peer.take().unwrap().write_all(b"x").unwrap();
            ControlFlow::Break
        });
        source.attach(Some(&context));
    });
    site.main_loop.run();
    assert_eq!(*log.borrow(), ["timer", "post", "reader"]);
    assert!(matches!(site.ended.borrow()[..], [Ok(())]));
    assert!(task.is_finished());
    assert!(site.rests());
}

#[test]
fn what_a_callback_does_to_its_loop_or_to_the_other_is_done() {
    let site = Site::new();
    // A panic ends nothing.
    site.io_loop.call_soon(|| panic!("on purpose"));
    // A main loop inside of a callback, as a modal dialog is: the loop waits for it, and goes on.
    let (inner, calls) = (MainLoop::new(Some(&site.context), false), Rc::new(Cell::new(0)));
    let (quits, counts) = (inner.clone(), Rc::clone(&calls));
    site.io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        let counted = Rc::clone(&counts);
        io_loop.call_soon(move || counted.set(counted.get() + 1));
        inner.run();
        assert_eq!(counts.get(), 0, "the dialog is modal for the loop as well");
        io_loop.call_later(MILLISECOND, stop);
    });
    site.timeout(move || quits.quit());
    site.main_loop.run();
    assert_eq!(calls.get(), 1);
    assert!(matches!(site.ended.borrow()[..], [Ok(())]));
}

#[test]
fn a_descriptor_that_is_renewed_is_watched_instead() {
    let site = Site::new();
    let descriptor = site.io_loop.descriptor().unwrap();
    // An event that the loop does not know: it makes its set anew.
    let stranger = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
    let data = epoll::EventData::new_u64(0xdead_beef);
    epoll::add(&descriptor, &stranger, data, epoll::EventFlags::IN).unwrap();
    assert!(site.context.iteration(false));
    assert_ne!(site.io_loop.descriptor().unwrap(), descriptor);
    assert!(site.rests(), "GLib watches the old one no more");
    site.io_loop.call_later(MILLISECOND, stop);
    site.main_loop.run();
    assert!(matches!(site.ended.borrow()[..], [Ok(())]));
}

#[test]
fn a_loop_that_is_closed_is_quiet_in_glib() {
    let site = Site::new();
    let dropped = Rc::new(());
    let held = Rc::clone(&dropped);
    site.io_loop.call_later(Duration::from_secs(3600), move || drop(held));
    assert!(site.rests());
    site.io_loop.close().unwrap();
    assert_eq!(Rc::strong_count(&dropped), 1);
    // Its descriptor is held by the source, and quiet.
    assert!(site.rests() && site.ended.borrow().is_empty());
    drop(site.embedded);
    let again = embed(&site.io_loop, &site.context, |_| ()).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn taken_out_half_way_the_loop_can_be_put_in_again() {
    let site = Site::new();
    let calls = Rc::new(Cell::new(0));
    let counts = Rc::clone(&calls);
    site.io_loop.call_soon(move || counts.set(1));
    drop(site.embedded);
    assert!(!site.context.iteration(false));
    assert_eq!(calls.get(), 0, "nobody drives it");
    let (quits, io_loop) = (site.main_loop.clone(), site.io_loop);
    let _embedded = embed(&io_loop, &site.context, move |_| quits.quit()).unwrap();
    io_loop.call_later(MILLISECOND, stop);
    site.main_loop.run();
    assert_eq!(calls.get(), 1);
}

#[test]
fn an_attached_loop_is_a_future_beside_others_on_glib() {
    let context = MainContext::new();
    let io_loop = IOLoop::builder().host(GlibBackend::new(&context)).attach().unwrap();
    let (answer, slot) = (io_loop.handle(), Rc::new(Cell::new(0)));
    let far = thread::spawn(move || answer.call(|| 42));
    let run = context.spawn_local({
        let (io_loop, slot) = (io_loop.clone(), Rc::clone(&slot));
        async move {
            let far = far.join().unwrap();
            slot.set(io_loop.run_until(far).await.unwrap().unwrap());
            glib::timeout_future(MILLISECOND).await;
            io_loop.call_later(MILLISECOND, stop);
            io_loop.run().await
        }
    });
    assert!(context.block_on(run).unwrap().is_ok());
    assert_eq!(slot.get(), 42);
    // Dropped half way, with a source of its own in the context, it is not there any more.
    let run = context.spawn_local(io_loop.run());
    assert!(context.iteration(false));
    assert!(io_loop.is_running());
    run.abort();
    drop(run);
    assert!(!io_loop.is_running());
    io_loop.close().unwrap();
    assert!(!context.pending() && !context.iteration(false));
}

#[test]
fn an_event_wakes_an_attached_loop_once() {
    const EVENTS: u64 = 100;
    let context = MainContext::new();
    let io_loop = IOLoop::builder().host(GlibBackend::new(&context)).attach().unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let run = context.spawn_local(io_loop.run());
    let mut left = EVENTS;
    io_loop
        .add_reader(ours, move |mut stream| {
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
            left -= 1;
            if left == 0 {
                stop();
            }
        })
        .unwrap();
    while io_loop.metrics().events < EVENTS {
        // The loop sleeps: nothing in GLib is ready.
        while context.iteration(false) {}
        peer.write_all(b"x").unwrap();
        let before = io_loop.metrics().events;
        while io_loop.metrics().events == before {
            context.iteration(true);
        }
    }
    context.block_on(run).unwrap().unwrap();
    let metrics = io_loop.metrics();
    assert!(metrics.turns < 4 * EVENTS, "{metrics:?}");
}

#[test]
fn an_own_loop_does_not_start_inside_a_future_of_glibs() {
    let context = MainContext::new();
    let io_loop = IOLoop::builder().host(GlibBackend::new(&context)).build().unwrap();
    let refused = context.block_on(async { io_loop.start() });
    assert!(matches!(refused, Err(RunError::InAsyncContext)));
    // Nor while another thread has the context.
    let (elsewhere, (taken, is_taken), (release, released)) = (context, channel(), channel());
    let other = thread::spawn(move || {
        let _acquired = elsewhere.acquire().unwrap();
        taken.send(()).unwrap();
        let _: Result<(), _> = released.recv();
    });
    is_taken.recv().unwrap();
    assert!(matches!(io_loop.start(), Err(RunError::Io(_))));
    drop(release);
    other.join().unwrap();
    assert_eq!(io_loop.run_sync(async { 7 }).unwrap(), 7);
    assert_eq!(
        io_loop.backend::<GlibBackend>().map(|backend| backend.block_on(async { 7 })),
        Some(7)
    );
}

#[test]
fn taken_out_in_a_callback_the_loop_finishes_its_turn() {
    let Site { context, embedded, io_loop, .. } = Site::new();
    let calls = Rc::new(Cell::new(0));
    let counts = [(); 3].map(|()| Rc::clone(&calls));
    let [takes, same, next] = counts.map(|calls| move || calls.set(calls.get() + 1));
    io_loop.call_soon(move || {
        drop(embedded);
        takes();
        IOLoop::current().unwrap().call_soon(next);
    });
    io_loop.call_soon(same);
    while context.iteration(false) {}
    assert_eq!(calls.get(), 2);
    assert!(io_loop.turn(Some(Duration::ZERO)).is_ok());
    assert_eq!(calls.get(), 3);
}

#[test]
fn futures_of_the_library_on_glib_alone() {
    let context = MainContext::new();
    let reactor = GlibReactor::new(&context);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let echo = context.spawn_local({
        let theirs = Async::new(&reactor, theirs).unwrap();
        async move {
            let mut byte = [0];
            while theirs.read_with(|mut stream| stream.read(&mut byte)).await.unwrap() == 1 {
                theirs.write_with(|mut stream| stream.write_all(&byte)).await.unwrap();
            }
        }
    });
    let ours = Async::new(&reactor, ours).unwrap();
    let back = context.block_on(async {
        sleep(&reactor, MILLISECOND).await.unwrap();
        let silent = ours.read_with(|mut stream| stream.read(&mut [0]));
        assert!(timeout(&reactor, MILLISECOND, silent).await.is_err());
        ours.write_with(|mut stream| stream.write_all(b"hello")).await.unwrap();
        let mut back = Vec::new();
        while back.len() < 5 {
            let mut chunk = [0; 8];
            let n = ours.read_with(|mut stream| stream.read(&mut chunk)).await.unwrap();
            back.extend_from_slice(&chunk[..n]);
        }
        back
    });
    assert_eq!(back, b"hello");
    drop(ours);
    context.block_on(echo).unwrap();
    // What waits when the reactor goes is told.
    let waits = context.spawn_local(sleep(&reactor, Duration::from_secs(3600)));
    while context.iteration(false) {}
    drop(reactor);
    assert!(matches!(context.block_on(waits), Ok(Err(Closed))));
}

#[test]
fn a_reactor_that_is_dropped_leaves_nothing_in_glib() {
    let context = MainContext::new();
    let reactor = GlibReactor::new(&context);
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let poster = reactor.poster();
    let held = Rc::new(());
    let captured = [(); 3].map(|()| Rc::clone(&held));
    let [timer, callback, reader] = captured;
    reactor.call_later(Duration::ZERO, move || drop(timer));
    reactor.call_soon(move || drop(callback));
    reactor.add_reader(ours, move |_| drop(Rc::clone(&reader))).unwrap();
    poster.post(|| unreachable!()).unwrap();
    drop(reactor);
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the source was closed");
    assert_eq!(poster.post(|| unreachable!()), Err(Closed));
    assert!(!context.pending() && !context.iteration(false));
    // The last of both may go elsewhere.
    thread::spawn(move || drop((poster, context))).join().unwrap();
}
