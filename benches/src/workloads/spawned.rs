//! Tasks: spawned, woken, joined, and with a connection each; on loops and on their executors,
//! beside the runtimes whose trade they are.

mod connections;

use std::future::{Future, poll_fn};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use async_executor::Executor;
use ioloop::IOLoop;
use ioloop::backends::async_io::AsyncIoBackend;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::harness::{Contender, Countdown, Workload, timed};
use crate::loops::{self, WAYS, current};

type Shared = Arc<Executor<'static>>;

/// The loop parks in its own descriptor, and so has no thread beside it.
pub(crate) const ON_A_LOOP: &str = "the executor of an own async-io";

pub(crate) fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            counted: 10 * BATCH,
            ..Workload::new(
                "spawned-tasks",
                "a task of a batch of 1000, spawned and run",
                500_000,
                contenders(Batches),
            )
        },
        Workload {
            counted: 10_000,
            ..Workload::new(
                "spawned-woken",
                "a wake of one of 100 tasks by the one before it",
                500_000,
                contenders(Ring),
            )
        },
        Workload {
            counted: 10_000,
            ..Workload::new(
                "spawned-joined",
                "a task, spawned and waited for",
                300_000,
                contenders(Joined),
            )
        },
        Workload::new(
            "spawned-wakes",
            "a wake of a task by another thread, which it has woken",
            50_000,
            contenders(FromAThread),
        ),
        connections::echo(),
        connections::accepted(),
    ]
}

/// How tasks are spawned.
trait Tasks: Clone + Send + 'static {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
    /// Spawns it, and waits for its value.
    async fn join(&self, task: impl Future<Output = u64> + Send + 'static) -> u64;
}

#[derive(Clone)]
struct OnTokio;

impl Tasks for OnTokio {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    async fn join(&self, task: impl Future<Output = u64> + Send + 'static) -> u64 {
        tokio::spawn(task).await.expect("a value")
    }
}

#[derive(Clone)]
struct OnLocalSet;

impl Tasks for OnLocalSet {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::task::spawn_local(task);
    }

    async fn join(&self, task: impl Future<Output = u64> + Send + 'static) -> u64 {
        tokio::task::spawn_local(task).await.expect("a value")
    }
}

impl Tasks for Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        Executor::spawn(self, task).detach();
    }

    async fn join(&self, task: impl Future<Output = u64> + Send + 'static) -> u64 {
        Executor::spawn(self, task).await
    }
}

#[derive(Clone)]
struct OnTheLoop;

impl Tasks for OnTheLoop {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        current().spawn(task);
    }

    async fn join(&self, task: impl Future<Output = u64> + Send + 'static) -> u64 {
        current().spawn(task).await.expect("a value")
    }
}

/// What the tasks do.
trait Work: Copy + 'static {
    async fn run(self, tasks: impl Tasks, operations: u64);
}

fn contenders(work: impl Work) -> Vec<Contender> {
    let mut contenders = vec![
        Contender::new("tokio current-thread", move |operations| {
            let runtime = loops::current_thread();
            timed(|| runtime.block_on(work.run(OnTokio, operations)))
        }),
        Contender::new("tokio LocalSet", move |operations| {
            let (runtime, tasks) = (loops::current_thread(), LocalSet::new());
            timed(|| tasks.block_on(&runtime, work.run(OnLocalSet, operations)))
        }),
        Contender::new("async_io::block_on(executor.run)", move |operations| {
            let executor = Shared::default();
            let run = work.run(Arc::clone(&executor), operations);
            timed(|| async_io::block_on(executor.run(run)))
        }),
        Contender::new(ON_A_LOOP, move |operations| {
            let executor = Shared::default();
            let backend = AsyncIoBackend::with_executor(Arc::clone(&executor));
            let io_loop = IOLoop::builder().host(backend).build().expect("making a loop");
            let run = work.run(executor, operations);
            timed(|| io_loop.run_sync(run).expect("running the loop"))
        }),
    ];
    contenders.extend(WAYS.map(|way| {
        Contender::new(way.name, move |operations| {
            let hosted = way.open();
            hosted.io_loop.spawn(async move {
                work.run(OnTheLoop, operations).await;
                current().stop();
            });
            timed(|| hosted.run())
        })
    }));
    contenders
}

const BATCH: u64 = 1000;

/// The last of a batch spawns the next.
#[derive(Clone, Copy)]
struct Batches;

impl Work for Batches {
    async fn run(self, tasks: impl Tasks, operations: u64) {
        fn batch(tasks: &impl Tasks, left: u64, countdown: &Countdown) {
            for n in 1..=BATCH.min(left) {
                let (more, countdown) = (tasks.clone(), countdown.clone());
                tasks.spawn(async move {
                    countdown.count();
                    if n == BATCH {
                        batch(&more, left - BATCH, &countdown);
                    }
                });
            }
        }
        let countdown = Countdown::new(operations);
        batch(&tasks, operations, &countdown);
        countdown.finished().await;
    }
}

/// One after the other.
#[derive(Clone, Copy)]
struct Joined;

impl Work for Joined {
    async fn run(self, tasks: impl Tasks, operations: u64) {
        for n in 0..operations {
            assert_eq!(tasks.join(async move { n }).await, n);
        }
    }
}

/// A token goes round.
#[derive(Clone, Copy)]
struct Ring;

#[derive(Default)]
struct Place {
    has_token: bool,
    waker: Option<Waker>,
}

impl Work for Ring {
    async fn run(self, tasks: impl Tasks, operations: u64) {
        let places: Arc<[Mutex<Place>]> = (0..100).map(|_| Mutex::default()).collect();
        let countdown = Countdown::new(operations);
        for index in 0..places.len() {
            let (places, countdown) = (Arc::clone(&places), countdown.clone());
            tasks.spawn(async move {
                loop {
                    token(&places[index]).await;
                    countdown.count();
                    if countdown.is_finished() {
                        return;
                    }
                    hand_on(&places[(index + 1) % places.len()]);
                }
            });
        }
        hand_on(&places[0]);
        countdown.finished().await;
    }
}

fn token(place: &Mutex<Place>) -> impl Future<Output = ()> {
    poll_fn(|cx| {
        let mut place = place.lock().expect("no panic");
        if std::mem::take(&mut place.has_token) {
            return Poll::Ready(());
        }
        place.waker = Some(cx.waker().clone());
        Poll::Pending
    })
}

fn hand_on(place: &Mutex<Place>) {
    let waker = {
        let mut place = place.lock().expect("no panic");
        place.has_token = true;
        place.waker.take()
    };
    waker.into_iter().for_each(Waker::wake);
}

/// To and fro between a task and a thread.
#[derive(Clone, Copy)]
struct FromAThread;

impl Work for FromAThread {
    async fn run(self, tasks: impl Tasks, operations: u64) {
        let countdown = Countdown::new(operations);
        let (asks, asked) = channel::<()>();
        let answered = Arc::new(Notify::new());
        let (answer, count) = (Arc::clone(&answered), countdown.clone());
        thread::spawn(move || asked.into_iter().for_each(|()| answer.notify_one()));
        tasks.spawn(async move {
            for _ in 0..operations {
                asks.send(()).expect("a thread that answers");
                answered.notified().await;
                count.count();
            }
        });
        countdown.finished().await;
    }
}

pub(crate) use connections::connect;
pub(crate) use pool::workloads as on_a_pool;

/// As much work on two threads as on one.
mod pool {
    use std::hint::black_box;
    use std::os::unix::net::UnixStream;

    use ioloop::{Async, Builder, LoopPool, WeakIOLoop};
    use smol::future::{block_on, yield_now};
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::harness::{Picture, Sample, columns};

    const TASKS: u64 = 200;
    const CONNECTIONS: u64 = 100;
    const REQUEST: usize = 64;

    pub(crate) fn workloads() -> Vec<Workload> {
        let workload = |name, operation, operations, contenders| Workload {
            columns: columns(&["wall ns", "cpu ns"], true)
                .into_iter()
                .chain(columns(&["speed-up", "cpu by one's"], false))
                .collect(),
            picture: Picture::None,
            ..Workload::new(name, operation, operations, contenders)
        };
        let contender = |name, run: fn(usize, u64) -> Sample| {
            Contender::with_values(name, move |operations| compare(run, operations))
        };
        vec![
            workload(
                "pool-tasks",
                "a poll of one of 200 tasks, of some microseconds",
                200_000,
                vec![
                    contender("two threads in async_io::block_on(executor.run)", tasks_on_threads),
                    contender("two loops that share an executor", tasks_on_loops),
                    contender("two workers of tokio", tasks_on_tokio),
                ],
            ),
            workload(
                "pool-echo",
                "a request of 64 bytes over one of 100 sockets, and its answer",
                100_000,
                vec![
                    contender("two loops, connections on their loop", echo_on_loops),
                    contender("two loops, connections on the shared executor", echo_on_executor),
                ],
            ),
        ]
    }

    fn compare(run: fn(usize, u64) -> Sample, operations: u64) -> Vec<f64> {
        let (one, two) = (run(1, operations), run(2, operations));
        let per_operation = |time: std::time::Duration| time.as_nanos() as f64 / operations as f64;
        let speed_up = one.wall.as_secs_f64() / two.wall.as_secs_f64();
        // What two threads cost each other, which a machine with other work to do tells as well.
        let dearer = two.cpu.as_secs_f64() / one.cpu.as_secs_f64();
        vec![per_operation(two.wall), per_operation(two.cpu), speed_up, dearer]
    }

    async fn task(polls: u64, left: Countdown) {
        for _ in 0..polls {
            black_box((0..2000_u64).fold(0, |sum: u64, n| black_box(sum.wrapping_mul(31) ^ n)));
            left.count();
            yield_now().await;
        }
    }

    fn tasks_on_threads(threads: usize, operations: u64) -> Sample {
        let (executor, left) = (Shared::default(), Countdown::new(operations));
        spawn_tasks(&executor, operations, &left);
        timed(|| {
            let running: Vec<_> = (1..threads)
                .map(|_| {
                    let (executor, stop) = (Arc::clone(&executor), Arc::new(Notify::new()));
                    let stopped = Arc::clone(&stop);
                    let run = move || async_io::block_on(executor.run(stopped.notified()));
                    (stop, thread::spawn(run))
                })
                .collect();
            async_io::block_on(executor.run(left.finished()));
            for (stop, thread) in running {
                stop.notify_one();
                thread.join().expect("a thread of the executor's");
            }
        })
    }

    fn tasks_on_loops(loops: usize, operations: u64) -> Sample {
        let left = Countdown::new(operations);
        let pool = pool(loops);
        let sample = timed(|| {
            spawn_tasks(pool.executor(), operations, &left);
            block_on(left.finished());
        });
        end(pool);
        sample
    }

    fn tasks_on_tokio(threads: usize, operations: u64) -> Sample {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).build().expect("making a runtime");
        let left = Countdown::new(operations);
        timed(|| {
            for _ in 0..TASKS {
                runtime.spawn(task(operations / TASKS, left.clone()));
            }
            block_on(left.finished());
        })
    }

    fn spawn_tasks(executor: &Shared, operations: u64, left: &Countdown) {
        for _ in 0..TASKS {
            Executor::spawn(executor, task(operations / TASKS, left.clone())).detach();
        }
    }

    fn pool(loops: usize) -> LoopPool {
        IOLoop::spawn_threads(loops, "pool", Builder::build).expect("making a pool")
    }

    fn end(pool: LoopPool) {
        pool.stop();
        pool.join().expect("ending a pool");
    }

    fn echo_on_loops(loops: usize, operations: u64) -> Sample {
        let (pool, left) = (pool(loops), Countdown::new(operations));
        let handles: Vec<_> = pool.handles().collect();
        let sample = timed(|| {
            for connection in 0..CONNECTIONS {
                let left = left.clone();
                let handle = &handles[connection as usize % loops];
                let posted = handle.add_callback(move || {
                    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
                    let reactor = WeakIOLoop::current().expect("a callback's loop");
                    let source = |stream| Async::new(&reactor, stream).expect("watching a socket");
                    let (ours, theirs) = (source(ours), source(theirs));
                    let io_loop = loops::current();
                    io_loop.spawn(serve(theirs));
                    io_loop.spawn(ask(ours, operations / CONNECTIONS, left));
                });
                posted.expect("a running loop");
            }
            block_on(left.finished());
        });
        end(pool);
        sample
    }

    fn echo_on_executor(loops: usize, operations: u64) -> Sample {
        let (pool, left) = (pool(loops), Countdown::new(operations));
        let sample = timed(|| {
            for _ in 0..CONNECTIONS {
                let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
                let source = |stream| async_io::Async::new(stream).expect("watching a socket");
                Executor::spawn(pool.executor(), serve(source(theirs))).detach();
                let ask = ask(source(ours), operations / CONNECTIONS, left.clone());
                Executor::spawn(pool.executor(), ask).detach();
            }
            block_on(left.finished());
        });
        end(pool);
        sample
    }

    async fn serve(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
        let mut request = [0; REQUEST];
        while stream.read_exact(&mut request).await.is_ok() {
            stream.write_all(&request).await.expect("a socket");
        }
    }

    async fn ask(
        mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
        requests: u64,
        left: Countdown,
    ) {
        let mut answer = [0; REQUEST];
        for _ in 0..requests {
            stream.write_all(&[7; REQUEST]).await.expect("a socket");
            stream.read_exact(&mut answer).await.expect("an answer");
            left.count();
        }
    }
}
