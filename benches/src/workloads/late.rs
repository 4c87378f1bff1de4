//! How late a ready descriptor is told, or a timer of the host, beside callbacks that queue
//! themselves for ever.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ioloop::{IOLoop, Reactor};
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::harness::{Contender, Picture, Workload, columns};
use crate::loops::{self, WAYS, current};
use crate::peers;

/// `flood`: how many callbacks, and how many microseconds each takes.
pub(crate) fn descriptor(name: &'static str, flood: &'static [u64; 2]) -> Workload {
    let [callbacks, micros] = *flood;
    let own = WAYS.map(|way| {
        Contender::with_values(way.name, move |operations| {
            let hosted = way.open();
            let late = Rc::new(Late::new(operations));
            flood_loop(&hosted.io_loop, callbacks, micros, Rc::clone(&late));
            let (ours, theirs) = pair();
            let reader = Rc::clone(&late);
            let told = move |ours: &UnixStream| {
                reader.told(ours, &theirs);
                if reader.is_over() {
                    current().stop();
                }
            };
            hosted.io_loop.add_reader(ours, told).expect("watching a socket");
            hosted.run();
            late.values()
        })
    });
    let mut contenders = vec![Contender::with_values("tokio current-thread", move |operations| {
        let late = Rc::new(Late::new(operations));
        let reader = Rc::clone(&late);
        beside_tasks(callbacks, micros, Rc::clone(&late), async move {
            let (ours, theirs) = pair();
            let ours = tokio::net::UnixStream::from_std(ours).expect("registering a socket");
            while !reader.is_over() {
                ours.readable().await.expect("a readable socket");
                // To the end: tokio keeps what it knows to be ready until a read finds nothing.
                while ours.try_read(&mut [0; 8]).is_ok() {}
                reader.note(&theirs);
            }
        });
        late.values()
    })];
    contenders.extend(own);
    contenders.extend(peers::contenders(&[peers::LIBUV], "late", flood));
    contenders.extend(peers::contenders(&peers::PYTHON, "late", flood));
    workload(name, "a descriptor beside callbacks that queue themselves", contenders)
}

/// A timer of tokio's, beside a loop that is attached to it; and beside as many tasks of its own.
pub(crate) fn host(name: &'static str, flood: &'static [u64; 2]) -> Workload {
    let [callbacks, micros] = *flood;
    let contenders = vec![
        Contender::with_values("tokio current-thread", move |operations| {
            let late = Rc::new(Late::new(operations));
            beside_tasks(callbacks, micros, Rc::clone(&late), sleep_again(Rc::clone(&late)));
            late.values()
        }),
        Contender::with_values(loops::ATTACHED_CURRENT_THREAD.name, move |operations| {
            let late = Rc::new(Late::new(operations));
            let hosted = loops::ATTACHED_CURRENT_THREAD.open();
            flood_loop(&hosted.io_loop, callbacks, micros, Rc::clone(&late));
            let runtime = hosted.runtime.as_ref().expect("tokio's");
            LocalSet::new().block_on(runtime, async {
                let io_loop = hosted.io_loop.clone();
                let run = spawn_local(async move { io_loop.run().await });
                sleep_again(Rc::clone(&late)).await;
                run.abort();
            });
            late.values()
        }),
    ];
    workload(name, "a timer of tokio's beside callbacks that queue themselves", contenders)
}

fn workload(name: &'static str, what: &'static str, contenders: Vec<Contender>) -> Workload {
    Workload {
        columns: columns(&["median µs late", "p99 µs late"], true),
        picture: Picture::Bars(0),
        warm_up: 2,
        counted: 0,
        ..Workload::new(name, what, 100, contenders)
    }
}

/// When a byte was sent, and how late each was told of.
struct Late {
    left: Cell<u64>,
    since: Cell<Option<Instant>>,
    late: RefCell<Vec<Duration>>,
}

impl Late {
    fn new(operations: u64) -> Late {
        Late { left: Cell::new(operations), since: Cell::new(None), late: RefCell::default() }
    }

    fn is_over(&self) -> bool {
        self.left.get() == 0
    }

    fn told(&self, mut ours: &UnixStream, theirs: &UnixStream) {
        let _ = std::io::Read::read(&mut ours, &mut [0; 8]);
        self.note(theirs);
    }

    /// Notes how late this is, and sends the next byte.
    fn note(&self, mut theirs: &UnixStream) {
        self.end(self.since.get());
        self.since.set(Some(Instant::now()));
        theirs.write_all(b"x").expect("room");
    }

    fn end(&self, since: Option<Instant>) {
        if let Some(since) = since {
            self.late.borrow_mut().push(since.elapsed());
            self.left.set(self.left.get().saturating_sub(1));
        }
    }

    fn values(&self) -> Vec<f64> {
        let mut late = self.late.take();
        late.sort();
        let at = |share: usize| late[late.len() * share / 100].as_nanos() as f64 / 1000.0;
        vec![at(50), at(99)]
    }
}

/// A pair of sockets, with a byte on its way already.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a mode");
    (&theirs).write_all(b"x").expect("room");
    (ours, theirs)
}

fn spin(micros: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        black_box(());
    }
}

fn flood_loop(io_loop: &IOLoop, callbacks: u64, micros: u64, late: Rc<Late>) {
    fn again(micros: u64, late: Rc<Late>) {
        spin(micros);
        if !late.is_over() {
            current().call_soon(move || again(micros, late));
        }
    }
    for _ in 0..callbacks {
        let late = Rc::clone(&late);
        io_loop.call_soon(move || again(micros, late));
    }
}

/// The same flood as tasks of tokio's.
fn beside_tasks(
    callbacks: u64,
    micros: u64,
    late: Rc<Late>,
    measured: impl Future<Output = ()> + 'static,
) {
    let runtime = loops::current_thread();
    LocalSet::new().block_on(&runtime, async {
        for _ in 0..callbacks {
            let late = Rc::clone(&late);
            spawn_local(async move {
                while !late.is_over() {
                    spin(micros);
                    yield_now().await;
                }
            });
        }
        spawn_local(measured).await.expect("the task that is measured");
    });
}

/// How late is a sleep of a millisecond? tokio's timers are of whole milliseconds.
async fn sleep_again(late: Rc<Late>) {
    while !late.is_over() {
        let deadline = Instant::now() + Duration::from_millis(1);
        tokio::time::sleep_until(deadline.into()).await;
        late.end(Some(deadline));
    }
}
