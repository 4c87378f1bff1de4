//! Other threads: one that posts and is waited for, and one that ends a loop that sleeps for ever.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use ioloop::Handle;

const TICK: Duration = Duration::from_millis(500);
/// After so many ticks a program is taken for asleep,
const PATIENCE: u32 = 20;
/// and after so many for hung.
const GIVE_UP: u32 = 60;

type Job = Box<dyn FnOnce() + Send>;

fn worker(jobs: Receiver<Job>) {
    jobs.into_iter().for_each(|job| job());
}

/// Runs `job` on another thread, and waits for it.
pub(crate) fn elsewhere<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    static WORKER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let jobs = WORKER.get_or_init(|| {
        let (jobs, queue) = channel();
        thread::spawn(|| worker(queue));
        Mutex::new(jobs)
    });
    let (done, answer) = channel();
    let job: Job = Box::new(move || drop(done.send(job())));
    jobs.lock().unwrap_or_else(PoisonError::into_inner).send(job).expect("the worker lives");
    answer.recv().expect("the job panicked")
}

/// The program that runs: its number, and its loop.
static RUNNING: Mutex<Option<(u64, Handle)>> = Mutex::new(None);

/// Held while a program runs.
#[must_use]
pub(crate) struct Watched(());

impl Drop for Watched {
    fn drop(&mut self) {
        *running() = None;
    }
}

fn running() -> MutexGuard<'static, Option<(u64, Handle)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops the loop if this is not dropped in time, and ends the process if that does not help.
pub(crate) fn watch(handle: Handle) -> Watched {
    static PROGRAMS: AtomicU64 = AtomicU64::new(0);
    static WATCHDOG: Once = Once::new();
    WATCHDOG.call_once(|| drop(thread::spawn(guard)));
    *running() = Some((PROGRAMS.fetch_add(1, Ordering::Relaxed), handle));
    Watched(())
}

fn guard() {
    let (mut last, mut ticks) = (None, 0);
    loop {
        thread::sleep(TICK);
        let running = running().clone();
        let number = running.as_ref().map(|(number, _)| *number);
        ticks = if number.is_some() && number == last { ticks + 1 } else { 0 };
        last = number;
        match (ticks, running) {
            (PATIENCE, Some((_, handle))) => {
                say("a program's loop sleeps; it is stopped");
                let _ = handle.stop();
            }
            (GIVE_UP, Some(_)) => {
                say("it did not help");
                std::process::abort();
            }
            _ => {}
        }
    }
}

/// Not on standard error, which may be one that takes nothing; nor with a macro, which may be
/// captured.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
