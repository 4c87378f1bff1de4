//! Bursts on an `IOLoop`.

use std::hint::black_box;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ioloop::{Async, Reactor, Watch};
use tokio::sync::Notify;

use super::{Burst, DUE, Host, REQUEST, USER, begin, connections, eventfds, has_begun, has_ended};
use crate::loops::{Hosted, Way, current};

pub(super) struct Ours {
    hosted: Hosted,
    burst: Burst,
    watches: Vec<Watch>,
    theirs: Vec<UnixStream>,
    told: Rc<Notify>,
}

impl Ours {
    pub(super) fn new(way: Way, burst: Burst) -> Self {
        let (hosted, told) = (way.open(), Rc::new(Notify::new()));
        Ours { hosted, burst, watches: Vec::new(), theirs: Vec::new(), told }
    }

    /// One turn at the least.
    fn run_once(&self) {
        self.hosted.io_loop.call_soon(|| current().stop());
        self.hosted.run();
    }
}

impl Host for Ours {
    fn fill(&mut self, count: u64) {
        let io_loop = &self.hosted.io_loop;
        begin(count);
        match self.burst {
            Burst::Timers => {
                let due = io_loop.now() + DUE;
                (0..count).for_each(|_| drop(io_loop.call_at(due, end())));
            }
            Burst::Posts => {
                let handle = io_loop.handle();
                let post = move || {
                    (0..count).for_each(|_| handle.add_callback(end()).expect("an open loop"));
                };
                thread::spawn(post).join().expect("a thread that posts");
            }
            Burst::Watches => {
                let user = USER;
                let watch = |fd| io_loop.add_reader(fd, move |_| _ = black_box(&user));
                self.watches = eventfds(count).map(|fd| watch(fd).expect("a watch")).collect();
                self.run_once();
            }
            Burst::Connections => {
                for (ours, theirs) in connections(count) {
                    let ours = Async::new(io_loop, ours).expect("a watch");
                    io_loop.spawn(serve(ours)).detach();
                    self.theirs.push(theirs);
                }
                self.hosted.run();
            }
            Burst::Tasks => {
                for _ in 0..count {
                    io_loop.spawn(wait(Rc::clone(&self.told))).detach();
                }
                self.hosted.run();
            }
        }
    }

    fn drain(&mut self) {
        match self.burst {
            Burst::Watches => {
                self.watches.drain(..).for_each(|watch| assert!(watch.remove()));
                self.watches = Vec::new();
                return self.run_once();
            }
            Burst::Connections => self.theirs = Vec::new(),
            Burst::Tasks => self.told.notify_waiters(),
            Burst::Timers | Burst::Posts => {}
        }
        self.hosted.run();
    }

    fn idle(&mut self, time: Duration) {
        self.hosted.io_loop.call_later(time, || current().stop());
        self.hosted.run();
    }
}

/// A callback of a burst, which keeps what is the user's.
fn end() -> impl FnOnce() + Send + 'static {
    let user = USER;
    move || {
        black_box(&user);
        stop_if(has_ended());
    }
}

fn stop_if(last: bool) {
    if last {
        current().stop();
    }
}

async fn serve(ours: Async<UnixStream>) {
    let (user, mut buffer) = (USER, [0; 2 * REQUEST]);
    while let Ok(1..) = ours.read_with(|mut ours| ours.read(&mut buffer)).await {
        stop_if(has_begun());
    }
    black_box(&user);
    stop_if(has_ended());
}

async fn wait(told: Rc<Notify>) {
    let user = USER;
    stop_if(has_begun());
    told.notified().await;
    black_box(&user);
    stop_if(has_ended());
}
