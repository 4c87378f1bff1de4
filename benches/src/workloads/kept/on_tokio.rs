//! Bursts on tokio's current-thread runtime.

use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::write;
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use super::{Burst, DUE, Host, REQUEST, USER, begin, connections, eventfds, has_begun, has_ended};
use crate::loops;
use crate::workloads::ring::register;

type Callback = Box<dyn FnOnce() + Send>;

pub(super) struct OnTokio {
    runtime: Runtime,
    tasks: LocalSet,
    burst: Burst,
    eventfds: Vec<Arc<OwnedFd>>,
    theirs: Vec<UnixStream>,
    posts: UnboundedSender<Callback>,
    told: Rc<Notify>,
    done: Arc<Notify>,
}

impl OnTokio {
    pub(super) fn new(burst: Burst) -> Self {
        let tasks = LocalSet::new();
        let (posts, mut posted) = unbounded_channel::<Callback>();
        tasks.spawn_local(async move {
            while let Some(callback) = posted.recv().await {
                callback();
            }
        });
        OnTokio {
            runtime: loops::current_thread(),
            tasks,
            burst,
            eventfds: Vec::new(),
            theirs: Vec::new(),
            posts,
            told: Rc::default(),
            done: Arc::default(),
        }
    }

    /// Until a burst has begun, or has ended.
    fn run(&self) {
        self.tasks.block_on(&self.runtime, self.done.notified());
    }
}

impl Host for OnTokio {
    fn fill(&mut self, count: u64) {
        begin(count);
        let _entered = self.runtime.enter();
        let done = &self.done;
        match self.burst {
            Burst::Timers => {
                let due = Instant::now() + DUE;
                for _ in 0..count {
                    let (user, done) = (USER, Arc::clone(done));
                    self.tasks.spawn_local(async move {
                        tell_if(has_begun(), &done);
                        tokio::time::sleep_until(due.into()).await;
                        black_box(&user);
                        tell_if(has_ended(), &done);
                    });
                }
            }
            Burst::Posts => {
                let (posts, done) = (self.posts.clone(), Arc::clone(done));
                let post = move || {
                    for _ in 0..count {
                        let (user, done) = (USER, Arc::clone(&done));
                        let callback = move || {
                            black_box(&user);
                            tell_if(has_ended(), &done);
                        };
                        assert!(posts.send(Box::new(callback)).is_ok(), "the task receives");
                    }
                };
                return thread::spawn(post).join().expect("a thread that posts");
            }
            Burst::Watches => {
                for fd in eventfds(count).map(Arc::new) {
                    let (user, done) = (USER, Arc::clone(done));
                    self.eventfds.push(Arc::clone(&fd));
                    self.tasks.spawn_local(async move {
                        let fd = register(fd);
                        tell_if(has_begun(), &done);
                        drop(fd.readable().await);
                        black_box(&user);
                        tell_if(has_ended(), &done);
                    });
                }
            }
            Burst::Connections => {
                for (ours, theirs) in connections(count) {
                    self.tasks.spawn_local(serve(ours, Arc::clone(done)));
                    self.theirs.push(theirs);
                }
            }
            Burst::Tasks => {
                for _ in 0..count {
                    let (user, told, done) = (USER, Rc::clone(&self.told), Arc::clone(done));
                    self.tasks.spawn_local(async move {
                        tell_if(has_begun(), &done);
                        told.notified().await;
                        black_box(&user);
                        tell_if(has_ended(), &done);
                    });
                }
            }
        }
        self.run();
    }

    fn drain(&mut self) {
        match self.burst {
            Burst::Watches => {
                for fd in std::mem::take(&mut self.eventfds) {
                    write(fd, &1_u64.to_ne_bytes()).expect("room");
                }
            }
            Burst::Connections => self.theirs = Vec::new(),
            Burst::Tasks => self.told.notify_waiters(),
            Burst::Timers | Burst::Posts => {}
        }
        self.run();
    }

    fn idle(&mut self, time: Duration) {
        self.tasks.block_on(&self.runtime, async { tokio::time::sleep(time).await });
    }
}

fn tell_if(last: bool, done: &Notify) {
    if last {
        done.notify_one();
    }
}

async fn serve(ours: UnixStream, done: Arc<Notify>) {
    ours.set_nonblocking(true).expect("a socket");
    let mut ours = tokio::net::UnixStream::from_std(ours).expect("registering a socket");
    let (user, mut buffer) = (USER, [0; 2 * REQUEST]);
    while let Ok(1..) = ours.read(&mut buffer).await {
        tell_if(has_begun(), &done);
    }
    black_box(&user);
    tell_if(has_ended(), &done);
}
