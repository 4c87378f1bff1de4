//! The recipe against libwayland's own server, on every backend, own and attached.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ioloop::{IOLoop, LoopThread, Reactor, WeakIOLoop};
use ioloop_glib::GlibReactor;
use ioloop_with_wayland::{Client, serve};
use testkit::ways::{Way, every_way};

struct Site {
    io_loop: IOLoop,
    client: Rc<Client<WeakIOLoop>>,
    compositor: LoopThread,
}

impl Site {
    fn new(way: &Way) -> Site {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let io_loop = way.io_loop();
        let compositor = serve(theirs).unwrap();
        Site { client: Client::connect(io_loop.downgrade(), ours).unwrap(), io_loop, compositor }
    }

    fn end(self) {
        drop(self.client);
        assert_eq!(self.io_loop.metrics().watches, 0);
        self.compositor.handle().stop().unwrap();
        self.compositor.join().unwrap();
    }
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// One after the other: each has to be flushed, answered, read and dispatched before the next is
/// sent.
fn chain<R: Reactor + 'static>(client: &Rc<Client<R>>, left: u32, end: impl Fn() + 'static) {
    let next = Rc::clone(client);
    client.sync(move || match left {
        0 => end(),
        _ => chain(&next, left - 1, end),
    });
}

#[test]
fn each_sync_is_answered_in_a_loop_that_sleeps() {
    every_way(|way| {
        let site = Site::new(way);
        chain(&site.client, 200, stop);
        way.until_stopped(&site.io_loop);
        site.end();
    });
}

// B269
#[test]
fn a_client_beside_a_program_that_keeps_the_loop_busy_flushed_nothing() {
    fn frame() {
        IOLoop::current().unwrap().call_soon(frame);
    }
    every_way(|way| {
        let site = Site::new(way);
        chain(&site.client, 20, stop);
        site.io_loop.call_soon(frame);
        way.until_stopped(&site.io_loop);
        site.end();
    });
}

/// As a library on the same connection does it, from a task of the host where there is one.
#[test]
fn a_round_trip_of_other_code_deadlocked_while_the_loop_slept() {
    every_way(|way| {
        let site = Site::new(way);
        let answered = Rc::new(Cell::new(false));
        let set = Rc::clone(&answered);
        site.client.sync(move || set.set(true));
        if way.is_attached() {
            way.block_on(async {
                let mut run = pin!(site.io_loop.run());
                // The loop has nothing to do but to wait for the compositor.
                poll_fn(|cx| match run.as_mut().poll(cx) {
                    Poll::Ready(ended) => panic!("{ended:?}"),
                    Poll::Pending => Poll::Ready(()),
                })
                .await;
                site.client.round_trip().unwrap();
                chain(&site.client, 3, stop);
                run.await.unwrap();
            });
        } else {
            let client = Rc::clone(&site.client);
            site.io_loop.call_soon(move || {
                client.round_trip().unwrap();
                chain(&client, 3, stop);
            });
            way.until_stopped(&site.io_loop);
        }
        assert!(answered.get());
        site.end();
    });
}

/// It lies in libwayland's queue, and no descriptor tells of it.
#[test]
fn what_other_code_has_read_ahead_is_dispatched_before_the_sleep() {
    every_way(|way| {
        let site = Site::new(way);
        site.client.sync(stop);
        let client = Rc::clone(&site.client);
        site.io_loop.call_soon(move || client.read_ahead().unwrap());
        way.until_stopped(&site.io_loop);
        site.end();
    });
}

/// There is no loop of ioloop's on the client's side.
#[test]
fn a_client_on_a_reactor_that_is_no_io_loop() {
    let context = glib::MainContext::new();
    let main_loop = glib::MainLoop::new(Some(&context), false);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let compositor = serve(theirs).unwrap();
    let client = Client::connect(GlibReactor::new(&context), ours).unwrap();
    let quit = main_loop.clone();
    chain(&client, 200, move || quit.quit());
    main_loop.run();
    drop(client);
    while context.iteration(false) {}
    assert!(!context.pending());
    compositor.handle().stop().unwrap();
    compositor.join().unwrap();
}
