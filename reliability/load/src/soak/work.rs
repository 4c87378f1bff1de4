//! One round of work: a piece of everything that a loop can do, all at once, each checked.

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::backends::async_io::AsyncIoBackend;
use ioloop::backends::smol::SmolBackend;
use ioloop::hooks::BeforeSleep;
use ioloop::{
    Async, Builder, Events, IOLoop, Interest, LoopPool, LoopThread, PeriodicCallback, Reactor,
    bridge, deferred, process, signal, sleep, timeout,
};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Signal, getpid, kill_process};
use smol::Executor;

/// A child process costs more than all the rest of a round.
const ROUNDS_PER_CHILD: u64 = 50;
const MOMENT: Duration = Duration::from_millis(1);

type Piece = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Where the work is done: a loop, another one on a thread of its own, a pool of two, and a runtime
/// of tokio's.
pub(super) struct Site {
    io_loop: IOLoop,
    other: LoopThread,
    pool: LoopPool,
    tokio: tokio::runtime::Handle,
    panics: Rc<Cell<u64>>,
}

impl Site {
    pub(super) fn new(io_loop: IOLoop, tokio: tokio::runtime::Handle) -> Result<Site> {
        let panics = Rc::new(Cell::new(0));
        let caught = Rc::clone(&panics);
        io_loop.set_exception_handler(move |_| caught.set(caught.get() + 1));
        let other = IOLoop::spawn_thread("other", IOLoop::new)?;
        let pool = IOLoop::spawn_threads(2, "pooled", Builder::build)?;
        Ok(Site { io_loop, other, pool, tokio, panics })
    }

    pub(super) fn close(self) -> Result<()> {
        self.other.handle().stop()?;
        self.other.join()?;
        let unfinished = self.pool.shutdown(MOMENT)?;
        ensure!(unfinished.tasks == 0, "{unfinished:?} in the pool");
        Ok(())
    }

    /// All pieces at once; what they leave on the loop is what was there before.
    pub(super) async fn round(&self, number: u64) -> Result<()> {
        let before = self.left();
        let io_loop = &self.io_loop;
        let mut pieces: Vec<(&str, Piece)> = vec![
            ("streams", Box::pin(streams(io_loop.clone()))),
            ("sockets", Box::pin(sockets(io_loop.clone()))),
            ("watches", Box::pin(watches(io_loop.clone()))),
            ("handlers", Box::pin(handlers(io_loop.clone()))),
            ("timers", Box::pin(timers(io_loop.clone(), number))),
            ("posts", Box::pin(posts(io_loop.clone()))),
            ("tasks", Box::pin(tasks(io_loop.clone()))),
            ("bridges", Box::pin(bridges(self.other.handle(), self.tokio.clone()))),
            ("loops", Box::pin(loops())),
            ("signals", Box::pin(signals(io_loop.clone()))),
            ("panics", Box::pin(panics(io_loop.clone(), Rc::clone(&self.panics)))),
            ("periodic", Box::pin(periodic(io_loop.clone()))),
            ("hooks", Box::pin(hooks(io_loop.clone()))),
            ("pooled", Box::pin(spawned(io_loop.clone(), Arc::clone(self.pool.executor())))),
        ];
        if let Some(executor) = executor(io_loop) {
            pieces.push(("spawned", Box::pin(spawned(io_loop.clone(), executor))));
        }
        if number % ROUNDS_PER_CHILD == 0 {
            pieces.push(("child", Box::pin(child(io_loop.clone()))));
        }
        let running: Vec<_> =
            pieces.into_iter().map(|(name, piece)| (name, io_loop.spawn(piece))).collect();
        for (name, piece) in running {
            piece.await?.context(name)?;
        }
        ensure!(self.left() == before, "left {:?}, before {before:?}", self.left());
        Ok(())
    }

    fn left(&self) -> (usize, usize, usize) {
        let metrics = self.io_loop.metrics();
        (metrics.watches, metrics.timers, metrics.tasks)
    }
}

/// A megabyte through a pair of sockets, with back pressure.
async fn streams(io_loop: IOLoop) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let (mut ours, mut theirs) = (Async::new(&io_loop, ours)?, Async::new(&io_loop, theirs)?);
    let sending = io_loop.spawn(async move {
        for n in 0..64 {
            theirs.write_all(&[n; 16 * 1024]).await?;
        }
        std::io::Result::Ok(())
    });
    let mut room = vec![0; 16 * 1024];
    for n in 0..64 {
        ours.read_exact(&mut room).await?;
        ensure!(room.iter().all(|byte| *byte == n), "other bytes in piece {n}");
    }
    ensure!(ours.read(&mut room).await? == 0, "more than was sent");
    sending.await??;
    Ok(())
}

/// A connection over TCP, which echoes, and is reset so that its port is free again.
async fn sockets(io_loop: IOLoop) -> Result<()> {
    let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0")?;
    let address = listener.get_ref().local_addr()?;
    let connecting = io_loop.spawn(Async::<TcpStream>::connect(&io_loop, address));
    let (mut server, _) = listener.accept(&io_loop).await?;
    let mut client = connecting.await??;
    for n in 0..20 {
        client.write_all(&[n; 100]).await?;
        let mut room = [0; 100];
        server.read_exact(&mut room).await?;
        server.write_all(&room).await?;
        client.read_exact(&mut room).await?;
        ensure!(room == [n; 100], "an echo of something else");
    }
    set_socket_linger(client.get_ref(), Some(Duration::ZERO))?;
    drop(client);
    ensure!(server.read(&mut [0]).await.is_err(), "a reset is an error");
    Ok(())
}

/// A reader and a writer of the same sockets, paused, resumed, replaced, removed.
async fn watches(io_loop: IOLoop) -> Result<()> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let theirs = Rc::new(theirs);
    let (resolver, done) = deferred();
    let (mut resolver, mut left) = (Some(resolver), 100);
    let never = io_loop.add_reader(Rc::clone(&theirs), |_| ())?;
    let reader = io_loop.add_reader(Rc::clone(&theirs), move |theirs| {
        let mut byte = [0];
        left -= (&**theirs).read(&mut byte).unwrap_or(0);
        if left == 0 {
            resolver.take().map(|resolver| resolver.resolve(()));
        }
    })?;
    ensure!(!never.remove(), "a reader that was replaced is there");
    let writable = Rc::new(Cell::new(0));
    let calls = Rc::clone(&writable);
    let writer = io_loop.add_writer(Rc::clone(&theirs), move |_| calls.set(calls.get() + 1))?;
    ensure!(reader.pause());
    ours.write_all(&[1; 100])?;
    sleep(&io_loop, MOMENT).await?;
    ensure!(reader.resume()?);
    done.await?;
    ensure!(writer.remove() && reader.remove() && writable.get() > 0, "the writer");
    Ok(())
}

/// A handler, which hears of the hang-up.
async fn handlers(io_loop: IOLoop) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let (resolver, done) = deferred();
    let mut resolver = Some(resolver);
    let handler = io_loop.add_handler(theirs, Interest::READ, move |_, events| {
        resolver.take().map(|resolver| resolver.resolve(events));
    })?;
    drop(ours);
    let events = done.await?;
    ensure!(events.contains(Events::HANGUP) && handler.remove(), "{events:?}");
    Ok(())
}

/// Timers, some of which are cancelled or moved.
async fn timers(io_loop: IOLoop, seed: u64) -> Result<()> {
    let (fired, mut random) = (Rc::new(Cell::new(0)), fastrand::Rng::with_seed(seed));
    let mut expected = 200;
    let timers: Vec<_> = (0..expected)
        .map(|_| {
            let fired = Rc::clone(&fired);
            let delay = Duration::from_micros(random.u64(0..3000));
            io_loop.call_later(delay, move || fired.set(fired.get() + 1))
        })
        .collect();
    for timer in &timers {
        match random.u8(0..4) {
            0 => expected -= i32::from(timer.cancel()),
            1 => {
                timer.reset(io_loop.now() + MOMENT);
            }
            _ => {}
        }
    }
    // Due after all of them.
    sleep(&io_loop, 4 * MOMENT).await?;
    ensure!(fired.get() == expected, "{} of {expected} timers fired", fired.get());
    Ok(())
}

/// Posts of a job's thread to this loop, in order.
async fn posts(io_loop: IOLoop) -> Result<()> {
    thread_local! {
        /// The next one, and whether all before were in order.
        static NEXT: Cell<(u32, bool)> = const { Cell::new((0, true)) };
    }
    NEXT.set((0, true));
    let handle = io_loop.handle();
    let posting = io_loop.run_in_executor(move || {
        (0..500).try_for_each(|n| {
            handle.add_callback(move || {
                let (next, right) = NEXT.get();
                NEXT.set((next + 1, right && next == n));
            })
        })
    });
    posting.await??;
    // The answer came by the same way, and after them.
    io_loop.handle().call(|| ()).await?;
    let (posts, in_order) = NEXT.get();
    ensure!(posts == 500 && in_order, "{posts} posts, in order: {in_order}");
    Ok(())
}

/// Tasks, half of which are cancelled; a time-out; a deferred value with a callback.
async fn tasks(io_loop: IOLoop) -> Result<()> {
    let mut tasks: Vec<_> = (0..100)
        .map(|n| {
            let moment = sleep(&io_loop, MOMENT);
            io_loop.spawn(async move { moment.await.map(|()| n) })
        })
        .collect();
    let kept = tasks.split_off(50);
    tasks.into_iter().for_each(|task| drop(task.cancel_on_drop()));
    for (task, n) in kept.into_iter().zip(50..) {
        ensure!(task.await?? == n, "another task's value");
    }
    let never = std::future::pending::<()>();
    ensure!(timeout(&io_loop, MOMENT, never).await.is_err(), "nothing in time");
    let (resolver, mut done) = deferred();
    let seen = Rc::new(Cell::new(0));
    let saw = Rc::clone(&seen);
    done.add_done_callback(&io_loop, move |value| saw.set(value.as_ref().copied().unwrap_or(0)));
    io_loop.run_in_executor(move || resolver.resolve(7)).await?.ok();
    ensure!(done.await? == 7 && seen.get() == 7, "a deferred value");
    Ok(())
}

/// Futures on every other runtime.
async fn bridges(other: ioloop::Handle, tokio: tokio::runtime::Handle) -> Result<()> {
    for n in 0..10 {
        let on_tokio = bridge::to_tokio(&tokio, async move {
            tokio::task::yield_now().await;
            n
        });
        ensure!(on_tokio.await? == n, "to_tokio");
        ensure!(bridge::to_smol(async move { n }).await? == n, "to_smol");
        ensure!(bridge::to_loop(&other, move || async move { n }).await? == n, "to_loop");
    }
    bridge::in_tokio(&tokio, async { tokio::time::sleep(MOMENT).await }).await;
    drop(bridge::to_tokio(&tokio, std::future::pending::<()>()));
    drop(bridge::to_loop(&other, std::future::pending::<()>));
    Ok(())
}

/// The executor that a loop of its own drives, if it does.
fn executor(io_loop: &IOLoop) -> Option<Arc<Executor<'static>>> {
    let backend = io_loop.backend::<AsyncIoBackend>().filter(|_| !io_loop.is_attached());
    let of_smol = || io_loop.backend::<SmolBackend>().filter(|_| !io_loop.is_attached());
    backend.map(AsyncIoBackend::executor).or_else(|| of_smol().map(SmolBackend::executor))
}

/// Tasks of an executor, spawned here and on a job's thread: some wait to be woken, some are
/// cancelled, one panics.
async fn spawned(io_loop: IOLoop, executor: Arc<Executor<'static>>) -> Result<()> {
    let here = bridge::to_executor(&executor, yields(20));
    let spawner = Arc::clone(&executor);
    let there = io_loop.run_in_executor(move || {
        let spawn = |n| bridge::to_executor(&spawner, yields(n));
        (0..50).map(spawn).collect::<Vec<_>>()
    });
    let mut there = there.await?;
    let cancelled = there.split_off(40);
    cancelled.into_iter().for_each(drop);
    for (task, n) in there.into_iter().zip(0..) {
        ensure!(task.await? == n, "another task's value");
    }
    ensure!(here.await? == 20, "a task that was spawned here");
    let (resolver, gate) = deferred();
    let waits = bridge::to_executor(&executor, gate);
    io_loop.run_in_executor(move || resolver.resolve(7)).await?.ok();
    ensure!(waits.await?? == 7, "a wake from another thread");
    let panics = bridge::to_executor(&executor, async { std::panic::panic_any(()) });
    ensure!(Result::<(), _>::is_err(&panics.await), "a panic is an error");
    drop(bridge::to_executor(&executor, std::future::pending::<()>()));
    Ok(())
}

/// Yields so many times, and gives the number.
async fn yields(times: u32) -> u32 {
    for _ in 0..times {
        futures_lite::future::yield_now().await;
    }
    times
}

/// A loop on a thread of its own, opened and closed.
async fn loops() -> Result<()> {
    let thread = IOLoop::spawn_thread("short-lived", IOLoop::new)?;
    ensure!(thread.handle().call(|| 6 * 7).await? == 42, "another loop's answer");
    thread.handle().stop()?;
    thread.join()?;
    Ok(())
}

/// A listener comes, hears, and goes.
async fn signals(io_loop: IOLoop) -> Result<()> {
    let mut heard = signal::stream(&io_loop, signal::SIGUSR1)?;
    for _ in 0..5 {
        kill_process(getpid(), Signal::USR1)?;
        heard.recv().await.context("a signal")?;
    }
    Ok(())
}

/// Callbacks that panic are reported, and change nothing.
async fn panics(io_loop: IOLoop, reported: Rc<Cell<u64>>) -> Result<()> {
    let before = reported.get();
    io_loop.call_soon(|| std::panic::panic_any(()));
    io_loop.call_later(Duration::ZERO, || std::panic::panic_any(()));
    sleep(&io_loop, MOMENT).await?;
    ensure!(reported.get() == before + 2, "{} panics were reported", reported.get() - before);
    Ok(())
}

async fn periodic(io_loop: IOLoop) -> Result<()> {
    let (resolver, done) = deferred();
    let (mut resolver, mut left) = (Some(resolver), 3);
    let ticking = PeriodicCallback::new(&io_loop, MOMENT, move || {
        left -= 1;
        if left == 0 {
            resolver.take().map(|resolver| resolver.resolve(()));
        }
    })?;
    ticking.start();
    Ok(done.await?)
}

/// Hooks around the sleep, and an idle callback, which come and go.
async fn hooks(io_loop: IOLoop) -> Result<()> {
    let calls = Rc::new(Cell::new(0));
    let (counts, (resolver, slept)) = (Rc::clone(&calls), deferred());
    let before = io_loop.before_sleep(move || {
        counts.set(counts.get() + 1);
        BeforeSleep::Sleep
    });
    let mut resolver = Some(resolver);
    let after = io_loop.after_wake(move || {
        resolver.take().map(|resolver| resolver.resolve(calls.get()));
    });
    // Wakes the loop, whenever it gets to sleep at last.
    let waking = PeriodicCallback::new(&io_loop, MOMENT, || ())?;
    waking.start();
    ensure!(slept.await? > 0, "the loop slept, and no hook was called before");
    drop(waking);
    ensure!(before.remove() && after.remove(), "hooks that have gone");
    let (resolver, idled) = deferred();
    let mut resolver = Some(resolver);
    let idle = io_loop.on_idle(move || {
        resolver.take().map(|resolver| resolver.resolve(()));
    });
    idled.await?;
    ensure!(idle.remove(), "an idle callback that has gone");
    Ok(())
}

async fn child(io_loop: IOLoop) -> Result<()> {
    let status = process::wait(&io_loop, Command::new("true").spawn()?)?.await?;
    ensure!(status.success(), "{status}");
    Ok(())
}
