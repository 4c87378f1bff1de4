//! Four threads that post to one loop as fast as they can.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use calloop::EventLoop;
use calloop::channel::{Event, channel};
use tokio::sync::mpsc::unbounded_channel;

use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops::{self, current, current_thread, multi_thread};
use crate::peers;

const THREADS: u64 = 4;

pub(crate) fn workload() -> Workload {
    let mut contenders = peers::contenders(&[peers::LIBUV], "posts", &[THREADS]);
    contenders.extend(loops::each(|way, operations| {
        let hosted = way.open();
        let handle = hosted.io_loop.handle();
        from_threads(
            operations,
            move || {
                let served = || {
                    if count_down() {
                        current().stop();
                    }
                };
                handle.add_callback(served).expect("a running loop");
            },
            || hosted.run(),
        )
    }));
    contenders.extend([
        Contender::new("mio Waker and a queue", waker),
        Contender::new("calloop channel", calloop_channel),
        Contender::new("tokio mpsc, current-thread", |n| tokio_channel(&current_thread(), n)),
        Contender::new("tokio mpsc, multi-thread", |n| tokio_channel(&multi_thread(), n)),
    ]);
    contenders.extend(peers::contenders(&[peers::LIBEVENT], "posts", &[THREADS]));
    contenders.extend(peers::contenders(&peers::PYTHON, "posts", &[THREADS]));
    Workload::new("posts", "one of a million posts from four threads", 1_000_000, contenders)
}

type Callback = Box<dyn FnOnce() + Send>;

/// A static, so the callbacks have nothing to share between the threads that make them.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Only the loop's thread counts.
fn count_down() -> bool {
    let left = LEFT.load(Relaxed) - 1;
    LEFT.store(left, Relaxed);
    left == 0
}

fn boxed() -> Callback {
    Box::new(|| {
        count_down();
    })
}

fn from_threads(
    operations: u64,
    post: impl Fn() + Clone + Send + 'static,
    run: impl FnOnce(),
) -> Sample {
    LEFT.store(operations / THREADS * THREADS, Relaxed);
    timed(|| {
        let posting = || {
            let post = post.clone();
            thread::spawn(move || (0..operations / THREADS).for_each(|_| post()))
        };
        let threads: Vec<_> = (0..THREADS).map(|_| posting()).collect();
        run();
        for thread in threads {
            thread.join().expect("a posting thread");
        }
    })
}

/// The plain form: a locked queue that is taken as a whole, and a wake-up where it was empty.
fn waker(operations: u64) -> Sample {
    let mut poll = mio::Poll::new().expect("a poll");
    let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
    let queue = Arc::new(Mutex::new(Vec::new()));
    let posted = Arc::clone(&queue);
    let post = move || {
        let mut queue = posted.lock().expect("no panic");
        queue.push(boxed());
        if queue.len() == 1 {
            drop(queue);
            waker.wake().expect("a wake-up");
        }
    };
    from_threads(operations, post, || {
        let (mut events, mut taken) = (mio::Events::with_capacity(16), Vec::new());
        while LEFT.load(Relaxed) > 0 {
            poll.poll(&mut events, None).expect("a wait");
            std::mem::swap(&mut taken, &mut *queue.lock().expect("no panic"));
            taken.drain(..).for_each(|callback| callback());
        }
    })
}

fn calloop_channel(operations: u64) -> Sample {
    let mut event_loop = EventLoop::<()>::try_new().expect("a loop");
    let (sender, receiver) = channel::<Callback>();
    let inserted = event_loop.handle().insert_source(receiver, |event, (), ()| {
        if let Event::Msg(callback) = event {
            callback();
        }
    });
    inserted.expect("inserting a channel");
    let post = move || sender.send(boxed()).expect("a running loop");
    from_threads(operations, post, || {
        while LEFT.load(Relaxed) > 0 {
            event_loop.dispatch(None, &mut ()).expect("a turn");
        }
    })
}

fn tokio_channel(runtime: &tokio::runtime::Runtime, operations: u64) -> Sample {
    let (sender, mut receiver) = unbounded_channel::<Callback>();
    let post = move || assert!(sender.send(boxed()).is_ok());
    from_threads(operations, post, || {
        runtime.block_on(async {
            while LEFT.load(Relaxed) > 0 {
                receiver.recv().await.expect("a post")();
            }
        });
    })
}
