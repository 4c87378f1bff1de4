//! Files of which the kernel tells a change once: the thread that the guide has for them misses
//! none.
// A host name of one's own is set by unsafe calls.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Interest, Reactor};
use testkit::ways::{Way, every_way};

const CHANGES: u32 = 10;

/// Each host name's changes are told to all who watch one: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polling it says once for each change that there was one.
fn host_name() -> File {
    File::open("/proc/sys/kernel/hostname").unwrap()
}

/// Changes the host name, which is that of one thread alone, whenever it is told to.
struct Names {
    next: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Names {
    /// None where a process may not have a host name of its own.
    fn new() -> Option<Names> {
        let (next, wanted) = mpsc::channel();
        let (say, said) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: it changes this thread's own host name, and nothing that others share.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWUTS) } == 0;
            say.send(unshared).unwrap();
            for (number, ()) in wanted.iter().enumerate() {
                let name = format!("name{number}");
                // SAFETY: the name is as long as that.
                let set = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
                assert_eq!(set, 0);
            }
        });
        said.recv().unwrap().then_some(Names { next, thread })
    }

    fn end(self) {
        drop(self.next);
        self.thread.join().unwrap();
    }
}

/// Runs the loop until so many changes were told, the next one made when the last was; says how
/// many were.
fn count(way: &Way, io_loop: &IOLoop, told: &Rc<Cell<u32>>, names: &Names) -> u32 {
    names.next.send(()).unwrap();
    // One that was missed is not waited for.
    let patience = io_loop.call_later(Duration::from_secs(60), stop);
    way.until_stopped(io_loop);
    patience.cancel();
    told.get()
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

thread_local! {
    /// What a change does on the thread of the main loop.
    static CHANGED: Cell<Option<Rc<dyn Fn()>>> = const { Cell::new(None) };
}

fn counting(names: &Names) -> (Rc<Cell<u32>>, impl Fn() + 'static) {
    let told = Rc::new(Cell::new(0));
    let (count, next) = (Rc::clone(&told), names.next.clone());
    let changed = move || {
        count.set(count.get() + 1);
        if count.get() == CHANGES {
            return stop();
        }
        next.send(()).unwrap();
    };
    (told, changed)
}

// B286
#[test]
fn a_change_that_is_told_once_comes_through_a_thread_with_a_bare_loop() {
    let _alone = alone();
    every_way(|way| {
        let Some(names) = Names::new() else { return eprintln!("skipped: no name of its own") };
        let io_loop = way.io_loop();
        let (told, changed) = counting(&names);
        CHANGED.set(Some(Rc::new(changed)));
        let handle = io_loop.handle();
        let watching = IOLoop::spawn_thread("host name", move || {
            let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
            io_loop.add_handler(host_name(), Interest::PRIORITY, move |_, _| {
                let _ = handle.add_callback(|| {
                    if let Some(changed) = CHANGED.take() {
                        changed();
                        CHANGED.set(Some(changed));
                    }
                });
            })?;
            Ok(io_loop)
        });
        let watching = watching.unwrap();
        assert_eq!(count(way, &io_loop, &told, &names), CHANGES);
        CHANGED.take();
        watching.handle().stop().unwrap();
        watching.join().unwrap();
        names.end();
    });
}

// B286
#[test]
fn a_change_that_is_told_once_comes_on_an_own_loop_that_polls_alone() {
    let _alone = alone();
    every_way(|way| {
        if way.is_attached() || way.name == "own tokio" {
            return;
        }
        let Some(names) = Names::new() else { return eprintln!("skipped: no name of its own") };
        let io_loop = way.io_loop();
        let (told, changed) = counting(&names);
        io_loop.add_handler(host_name(), Interest::PRIORITY, move |_, _| changed()).unwrap();
        assert_eq!(count(way, &io_loop, &told, &names), CHANGES);
        drop(io_loop);
        names.end();
    });
}

// B301
#[test]
fn a_change_that_is_told_once_was_lost_by_a_stop_at_once_in_a_reader() {
    let _alone = alone();
    every_way(|way| {
        if way.is_attached() || way.name == "own tokio" {
            return;
        }
        let Some(names) = Names::new() else { return eprintln!("skipped: no name of its own") };
        let io_loop = way.io_loop();
        let pass = || {
            io_loop.stop();
            way.until_stopped(&io_loop);
        };
        let (ready, _peer) = UnixStream::pair().unwrap();
        let stops = Rc::new(Cell::new(false));
        let stopping = Rc::clone(&stops);
        let stop_once = move |_: &UnixStream| {
            if stopping.take() {
                IOLoop::current().unwrap().stop_now();
            }
        };
        io_loop.add_writer(ready, stop_once).unwrap();
        let told = Rc::new(Cell::new(0));
        let count = Rc::clone(&told);
        let counts = move |_: &File, _| count.set(count.get() + 1);
        io_loop.add_handler(host_name(), Interest::PRIORITY, counts).unwrap();
        pass();
        pass();
        let before = told.get();
        names.next.send(()).unwrap();
        names.end();
        stops.set(true);
        way.until_stopped(&io_loop);
        assert_eq!(told.get(), before, "the writer is called first, {}", way.name);
        pass();
        assert_eq!(told.get(), before + 1, "{}", way.name);
        pass();
        assert_eq!(told.get(), before + 1, "{}", way.name);
    });
}
