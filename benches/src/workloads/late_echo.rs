//! How late a timer and a post of another thread are, one a millisecond each, while each of
//! thousands of connections wants an answer. The clients are another process, as in `echo`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ioloop::{IOLoop, Reactor};
use tokio::sync::mpsc::unbounded_channel;

use super::echo::{Clients, answer_all, serve};
use crate::harness::{Contender, Picture, Sample, Workload, columns, timed};
use crate::loops::{ATTACHED_CURRENT_THREAD, BARE, OWN_ASYNC_IO, current, local_tasks};
use crate::peers::{LIBUV, Program};

const CONNECTIONS: u64 = 19_000;
const STEP: Duration = Duration::from_millis(1);

pub(crate) fn workload() -> Workload {
    let libuv = Contender::program(LIBUV, |program: &Program, _, operations| {
        let clients = Clients::start(CONNECTIONS, 0, operations);
        let values = program.run("late-echo", 0, operations, &[clients.port.into(), CONNECTIONS]);
        clients.join();
        values
    });
    let mut contenders = vec![libuv, Contender::with_values("tokio current-thread", on_tokio)];
    contenders.extend([BARE, OWN_ASYNC_IO, ATTACHED_CURRENT_THREAD].map(|way| {
        Contender::with_values(way.name, move |operations| {
            let mut clients = Clients::start(CONNECTIONS, 0, operations);
            let hosted = way.open();
            serve(&hosted.io_loop, clients.connect(CONNECTIONS), operations);
            let late = Late::default();
            let timers = late.clone();
            hosted.io_loop.call_soon(move || set_timer(timers));
            let poster = post_to(&hosted.io_loop, late.clone());
            let sample = timed(|| hosted.run());
            poster.end();
            clients.join();
            late.values(sample, operations)
        })
    }));
    let names =
        ["timer, median µs", "timer, p99", "post, median µs", "post, p99", "cpu ns a request"];
    Workload {
        columns: columns(&names, true),
        picture: Picture::Bars(3),
        warm_up: 0,
        ..Workload::new(
            "late-echo",
            "a timer and a post, beside so many requests",
            1_000_000,
            contenders,
        )
    }
}

/// How late each of them was.
#[derive(Clone, Default)]
struct Late {
    timers: Rc<RefCell<Vec<Duration>>>,
    posts: Rc<RefCell<Vec<Duration>>>,
}

impl Late {
    fn values(self, sample: Sample, operations: u64) -> Vec<f64> {
        let mut values = Vec::new();
        for late in [self.timers, self.posts] {
            let mut late = late.take();
            late.sort();
            let at = |share| late.get(late.len() * share / 100).map_or(0.0, Duration::as_secs_f64);
            values.extend([50, 99].map(|share| at(share) * 1e6));
        }
        values.push(sample.cpu.as_nanos() as f64 / operations as f64);
        values
    }
}

fn set_timer(late: Late) {
    let deadline = Instant::now() + STEP;
    current().call_at(deadline, move || {
        late.timers.borrow_mut().push(deadline.elapsed());
        set_timer(late);
    });
}

/// A thread that calls something once a millisecond.
struct Poster {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Poster {
    fn start(mut post: impl FnMut(Instant) + Send + 'static) -> Poster {
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !over.load(Relaxed) {
                thread::sleep(STEP);
                post(Instant::now());
            }
        });
        Poster { ends, thread }
    }

    fn end(self) {
        self.ends.store(true, Relaxed);
        self.thread.join().expect("the posting thread");
    }
}

thread_local!(static POSTS: RefCell<Late> = RefCell::default());

fn post_to(io_loop: &IOLoop, late: Late) -> Poster {
    POSTS.set(late);
    let handle = io_loop.handle();
    Poster::start(move |sent| {
        let note = move || POSTS.with_borrow(|late| late.posts.borrow_mut().push(sent.elapsed()));
        handle.add_callback(note).expect("an open loop");
    })
}

fn on_tokio(operations: u64) -> Vec<f64> {
    let mut clients = Clients::start(CONNECTIONS, 0, operations);
    let streams = clients.connect(CONNECTIONS);
    let late = Late::default();
    let (sender, mut posts) = unbounded_channel::<Instant>();
    let mut poster = None;
    let sample = local_tasks(operations, |tasks, left| {
        for stream in streams {
            let stream = tokio::net::TcpStream::from_std(stream).expect("registering a socket");
            tasks.spawn_local(answer_all(stream, left.clone()));
        }
        let timers = Rc::clone(&late.timers);
        tasks.spawn_local(async move {
            loop {
                let deadline = Instant::now() + STEP;
                tokio::time::sleep_until(deadline.into()).await;
                timers.borrow_mut().push(deadline.elapsed());
            }
        });
        let noted = Rc::clone(&late.posts);
        tasks.spawn_local(async move {
            while let Some(sent) = posts.recv().await {
                noted.borrow_mut().push(sent.elapsed());
            }
        });
        // The other end may be gone.
        poster = Some(Poster::start(move |sent| _ = sender.send(sent)));
    });
    poster.into_iter().for_each(Poster::end);
    clients.join();
    late.values(sample, operations)
}
