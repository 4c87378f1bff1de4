//! tokio, a loop on a thread of its own, and smol, one thread each.

use std::str::FromStr;
use std::thread::{self, ThreadId};
use std::time::Duration;
use std::{env, fs, io};

use ioloop::observe::Metrics;
use ioloop::{Handle, IOLoop, LoopThread, bridge};
use tokio::runtime::{Builder, Runtime};

/// The three, all running; dropped, tokio and the loop end.
#[derive(Debug)]
pub struct Runtimes {
    tokio: Runtime,
    worker: LoopThread,
    threads: Threads,
}

/// Which thread each of them has.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// tokio's one worker.
    pub tokio: ThreadId,
    /// The loop's.
    pub io_loop: ThreadId,
    /// That of smol's global executor.
    pub smol: ThreadId,
}

impl Runtimes {
    /// Starts all three.
    ///
    /// # Errors
    ///
    /// A runtime or its thread cannot be made.
    pub fn start() -> io::Result<Runtimes> {
        let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let worker = IOLoop::spawn_thread("worker", IOLoop::new)?;
        let here = async || thread::current().id();
        let threads = Threads {
            tokio: smol::block_on(bridge::to_tokio(tokio.handle(), here())).unwrap(),
            io_loop: smol::block_on(bridge::to_loop(&worker.handle(), here)).unwrap(),
            smol: smol::block_on(bridge::to_smol(here())).unwrap(),
        };
        // async-io's reactor has a thread, which starts when it is first asked for anything.
        smol::block_on(smol::Timer::after(Duration::from_millis(1)));
        Ok(Runtimes { tokio, worker, threads })
    }

    /// tokio's handle.
    pub fn tokio(&self) -> tokio::runtime::Handle {
        self.tokio.handle().clone()
    }

    /// The loop's handle.
    pub fn io_loop(&self) -> Handle {
        self.worker.handle()
    }

    /// Which thread each has.
    pub fn threads(&self) -> Threads {
        self.threads
    }

    /// Tasks of tokio that live.
    pub fn tokio_tasks(&self) -> usize {
        self.tokio.metrics().num_alive_tasks()
    }

    /// What the loop says of itself.
    pub fn loop_metrics(&self) -> Metrics {
        let asked = self.io_loop().call(|| IOLoop::current().map(|io_loop| io_loop.metrics()));
        smol::block_on(asked).unwrap().unwrap()
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        // Not waited for: this may be on any thread. The loop is closed by its own.
        let _ = self.io_loop().stop();
    }
}

/// Threads of the process.
///
/// # Panics
///
/// There is no `/proc`.
pub fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").expect("Linux has it").count()
}

/// A number from the environment, else the default.
///
/// # Panics
///
/// The variable is set, but is no number.
pub fn from_environment<N: FromStr>(variable: &str, default: N) -> N {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => default,
    }
}
