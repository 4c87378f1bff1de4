//! Futures that cross between the three runtimes, of which every fifth is given up at some random
//! moment.
//!
//! `SOAK` sets another number of journeys than the default, and `SEED` another seed, which a
//! failure names. Alone in its process, since it counts what the process has.

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};
use std::{mem, thread};

use fastrand::Rng;
use ioloop::{Async, Guard, IOLoop, JoinError, Task, bridge, deferred};
use ioloop_with_three_runtimes::{Runtimes, from_environment, thread_count};
use smol::future::yield_now;
use testkit::counting::{Allocated, Counting, allocated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a run may leave allocated that none needs: queues that have grown. To lose a block in one
/// of five hundred journeys would be more.
const SLACK: Allocated = Allocated { blocks: 100, bytes: 64 << 10 };

/// How many journeys are on their way at a time.
const AT_ONCE: usize = 100;

// What a journey is to be.

/// One way to somewhere else.
#[derive(Clone, Copy, Debug)]
enum Hop {
    ToTokio,
    ToSmol,
    ToLoop,
    InTokio,
}

/// What becomes of a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Awaited,
    /// Dropped here, after so many polls.
    Dropped(u32),
    /// Dropped on another thread, at about the same time as it is woken, or ends.
    DroppedElsewhere,
    /// Cancelled after so many polls, and awaited.
    Cancelled(u32),
    /// Dropped with its value, or with as much of it as was there after a while.
    DroppedAtTheEnd,
    /// Let go, to run on by itself.
    Kept,
}

/// What is at the end of the journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Value,
    Yields(u32),
    TokioTimer(Duration),
    SmolTimer(Duration),
    LoopTimer(Duration),
    TokioSocket,
    LoopSocket,
    Deferred,
    Panic,
}

#[derive(Clone, Debug)]
struct Journey {
    hops: Vec<(Hop, Fate)>,
    goal: Goal,
}

impl Journey {
    fn any(rng: &mut Rng) -> Journey {
        let hops = (0..rng.usize(1..=4)).map(|_| {
            let hop = [Hop::ToTokio, Hop::ToSmol, Hop::ToLoop, Hop::InTokio][rng.usize(..4)];
            // A fifth.
            let fate = match rng.u8(..25) {
                0 => Fate::Dropped(rng.u32(..4)),
                1 => Fate::DroppedElsewhere,
                2 => Fate::Cancelled(rng.u32(..4)),
                3 => Fate::DroppedAtTheEnd,
                4 => Fate::Kept,
                _ => Fate::Awaited,
            };
            (hop, fate)
        });
        let hops = hops.collect();
        let moment = Duration::from_micros(rng.u64(..3000));
        let goal = match rng.u8(..12) {
            0 => Goal::TokioTimer(moment),
            1 => Goal::SmolTimer(moment),
            2 => Goal::LoopTimer(moment),
            3 => Goal::TokioSocket,
            4 => Goal::LoopSocket,
            5 => Goal::Deferred,
            6 => Goal::Panic,
            7 | 8 => Goal::Value,
            _ => Goal::Yields(rng.u32(1..4)),
        };
        Journey { hops, goal }
    }
}

// How it goes.

/// Why there is no value.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    GivenUp,
    Panicked,
    Closed,
}

impl From<JoinError> for Why {
    fn from(error: JoinError) -> Why {
        if error.is_panic() {
            Why::Panicked
        } else if error.is_cancelled() {
            Why::GivenUp
        } else {
            Why::Closed
        }
    }
}

type Answer = Result<usize, Why>;

type Travelling = Pin<Box<dyn Future<Output = Answer> + Send>>;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts those that live.
struct Alive;

impl Alive {
    fn new() -> Alive {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Alive
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rest of a journey; its value is the number of hops that it took.
fn travel(runtimes: Arc<Runtimes>, journey: Arc<Journey>, hop: usize) -> Travelling {
    // Also of one that is never polled.
    let alive = Alive::new();
    Box::pin(async move {
        let _alive = alive;
        let Some((way, fate)) = journey.hops.get(hop).copied() else {
            return arrive(&runtimes, journey.goal).await.map(|()| 0);
        };
        let (tokio, io_loop) = (runtimes.tokio(), runtimes.io_loop());
        let rest = travel(runtimes, journey, hop + 1);
        let guard = match way {
            Hop::ToTokio => bridge::to_tokio(&tokio, rest),
            Hop::ToSmol => bridge::to_smol(rest),
            Hop::ToLoop => bridge::to_loop(&io_loop, move || rest),
            Hop::InTokio => {
                let future = bridge::in_tokio(&tokio, rest);
                return here(future, fate).await.map(|hops| hops + 1);
            }
        };
        there(guard, fate).await.map(|hops| hops + 1)
    })
}

/// A future that is polled here meets its fate; what cannot happen to it is as if nothing did.
async fn here(future: impl Future<Output = Answer>, fate: Fate) -> Answer {
    match fate {
        Fate::Dropped(polls) | Fate::Cancelled(polls) => polled(pin!(future), polls).await?,
        _ => future.await,
    }
}

/// A future that is polled over there meets its fate.
async fn there(mut guard: Guard<Task<Answer>>, fate: Fate) -> Answer {
    match fate {
        Fate::Awaited => guard.await?,
        Fate::Dropped(polls) => polled(Pin::new(&mut guard), polls).await??,
        Fate::DroppedElsewhere => {
            smol::spawn(async move {
                yield_now().await;
                drop(guard);
            })
            .detach();
            Err(Why::GivenUp)
        }
        Fate::Cancelled(polls) => {
            if let Ok(answer) = polled(Pin::new(&mut guard), polls).await {
                return answer?;
            }
            guard.cancel();
            guard.await?
        }
        Fate::DroppedAtTheEnd => {
            for _ in 0..100 {
                if guard.is_finished() {
                    break;
                }
                yield_now().await;
            }
            Err(Why::GivenUp)
        }
        Fate::Kept => {
            guard.keep().detach();
            Err(Why::GivenUp)
        }
    }
}

/// The future's value, unless it takes more polls than that.
async fn polled<F: Future>(mut future: Pin<&mut F>, polls: u32) -> Result<F::Output, Why> {
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(Err(Why::GivenUp));
        }
        left -= 1;
        let polled = future.as_mut().poll(cx).map(Ok);
        if left == 0 {
            // It may never be woken.
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// Does what is to be done at the end.
async fn arrive(runtimes: &Runtimes, goal: Goal) -> Result<(), Why> {
    let (tokio, io_loop) = (runtimes.tokio(), runtimes.io_loop());
    match goal {
        Goal::Value => {}
        Goal::Yields(times) => {
            for _ in 0..times {
                yield_now().await;
            }
        }
        Goal::TokioTimer(moment) => {
            let sleep = async move { tokio::time::sleep(moment).await };
            bridge::in_tokio(&tokio, sleep).await;
        }
        Goal::SmolTimer(moment) => {
            smol::Timer::after(moment).await;
        }
        Goal::LoopTimer(moment) => {
            let slept = bridge::to_loop(&io_loop, move || async move {
                ioloop::sleep(&IOLoop::current().unwrap(), moment).await
            });
            slept.await?.map_err(|_| Why::Closed)?;
        }
        Goal::TokioSocket => {
            let exchange = bridge::in_tokio(&tokio, async {
                let (mut ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
                let mut answer = [0];
                let reading = theirs.read_exact(&mut answer);
                let writing = async {
                    yield_now().await;
                    ours.write_all(b"x").await.unwrap();
                };
                smol::future::zip(reading, writing).await.0.unwrap();
            });
            exchange.await;
        }
        Goal::LoopSocket => {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let read = bridge::to_loop(&io_loop, move || async move {
                let theirs = Async::new(&IOLoop::current().unwrap(), theirs).unwrap();
                let read = theirs.read_with(|mut stream| stream.read(&mut [0; 8]));
                read.await.unwrap()
            });
            yield_now().await;
            // Nobody reads it if the read was cancelled meanwhile.
            let _ = ours.write_all(b"x");
            assert_eq!(read.await?, 1);
        }
        Goal::Deferred => {
            let (resolver, value) = deferred();
            smol::spawn(async move {
                // Nobody takes it if the journey was given up meanwhile.
                let _ = resolver.resolve(());
            })
            .detach();
            value.await?;
        }
        // As `panic!`, without a word on standard error.
        Goal::Panic => resume_unwind(Box::new("at the goal")),
    }
    Ok(())
}

/// Whether this may come of the journey.
fn may_answer(journey: &Journey, answer: &Answer) -> bool {
    match answer {
        Ok(hops) => *hops == journey.hops.len() && journey.goal != Goal::Panic,
        Err(Why::GivenUp) => journey.hops.iter().any(|(_, fate)| *fate != Fate::Awaited),
        Err(Why::Panicked) => journey.goal == Goal::Panic,
        Err(Why::Closed) => false,
    }
}

// The soak.

/// Has so many journeys made, and waits until nothing is left of them.
fn soak(runtimes: &Arc<Runtimes>, rng: &mut Rng, journeys: usize) -> Allocated {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let wrong = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..journeys {
        let place = smol::block_on(Arc::clone(&places).acquire_owned()).unwrap();
        let journey = Arc::new(Journey::any(rng));
        let (again, wrong) = (Arc::clone(runtimes), Arc::clone(&wrong));
        let whole = async move {
            let travelling = travel(again, Arc::clone(&journey), 0);
            // A panic comes through where nothing but `in_tokio` is on the way.
            let answer =
                bridge::to_smol(travelling).await.unwrap_or_else(|error| Err(error.into()));
            if !may_answer(&journey, &answer) {
                wrong.lock().unwrap().push((journey, answer));
            }
            drop(place);
        };
        match rng.u8(..3) {
            0 => bridge::to_tokio(&runtimes.tokio(), whole).keep().detach(),
            1 => bridge::to_smol(whole).keep().detach(),
            _ => bridge::to_loop(&runtimes.io_loop(), move || whole).keep().detach(),
        }
    }
    drop(smol::block_on(places.acquire_many(AT_ONCE as u32)).unwrap());
    let wrong = mem::take(&mut *wrong.lock().unwrap());
    assert!(wrong.is_empty(), "wrong answers: {wrong:#?}");

    // Those that were given up end by themselves.
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let (alive, metrics) = (ALIVE.load(Ordering::Relaxed), runtimes.loop_metrics());
        let on_loop = (metrics.tasks, metrics.watches, metrics.timers);
        let left = (alive, runtimes.tokio_tasks(), on_loop);
        if left == (0, 0, (0, 0, 0)) {
            break;
        }
        assert!(Instant::now() < patience, "futures, tasks of tokio, of the loop: {left:?}");
        thread::sleep(Duration::from_millis(1));
    }
    allocated()
}

#[test]
fn nothing_is_left_of_futures_that_are_given_up() {
    let journeys = from_environment("SOAK", 50_000);
    let seed = from_environment("SEED", 0);
    let named = Named(seed);
    let mut rng = Rng::with_seed(seed);
    let runtimes = Arc::new(Runtimes::start().unwrap());
    // Queues and tables grow to what they need.
    let before = soak(&runtimes, &mut rng, journeys / 4);
    let threads = thread_count();
    let after = soak(&runtimes, &mut rng, journeys);
    assert_eq!(thread_count(), threads, "threads");
    assert!(after.blocks <= before.blocks + SLACK.blocks, "{before:?}, {after:?}");
    assert!(after.bytes <= before.bytes + SLACK.bytes, "{before:?}, {after:?}");
    drop(named);
}

/// Names the seed of a failure.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}
