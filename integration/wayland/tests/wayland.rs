//! The recipe against libwayland's own server, on every backend, own and attached.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ioloop::{IOLoop, LoopThread, Reactor};
use ioloop_with_wayland::{Client, serve};
use testkit::ways::{Way, every_way};

struct Site {
    io_loop: IOLoop,
    client: Rc<Client>,
    compositor: LoopThread,
}

impl Site {
    fn new(way: &Way) -> Site {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let io_loop = way.io_loop();
        let compositor = serve(theirs).unwrap();
        Site { client: Client::connect(&io_loop, ours).unwrap(), io_loop, compositor }
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
fn chain(client: &Rc<Client>, left: u32) {
    let next = Rc::clone(client);
    client.sync(move || match left {
        0 => stop(),
        _ => chain(&next, left - 1),
    });
}

#[test]
fn each_sync_is_answered_in_a_loop_that_sleeps() {
    every_way(|way| {
        let site = Site::new(way);
        chain(&site.client, 200);
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
        chain(&site.client, 20);
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
                chain(&site.client, 3);
                run.await.unwrap();
            });
        } else {
            let client = Rc::clone(&site.client);
            site.io_loop.call_soon(move || {
                client.round_trip().unwrap();
                chain(&client, 3);
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
