//! What the loop asks of the kernel: how many system calls an event, a post, a wake and a timer
//! cost.
//!
//! Each test runs its scenario in a process of its own. Under strace, where that is installed, the
//! calls between two marks are counted one by one; the loop's own counters are checked everywhere.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::future::poll_fn;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{self, Command};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::backends::{BackendKind, Job};
use ioloop::observe::Metrics;
use ioloop::{Async, IOLoop, Reactor};
use rustix::pipe::{PipeFlags, pipe_with};
use testkit::alone::{
    again, assert_passed, end_a_hang, end_at_first_panic, is_child, strace_works,
};

/// Events that are counted.
const EVENTS: u64 = 100;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn an_event_of_a_bare_loop_costs_three_calls() {
    let test = "an_event_of_a_bare_loop_costs_three_calls";
    three_calls_an_event(test, || own(BackendKind::Bare));
}

#[cfg(feature = "async-io")]
#[test]
fn an_event_of_an_own_async_io_loop_costs_three_calls() {
    let test = "an_event_of_an_own_async_io_loop_costs_three_calls";
    three_calls_an_event(test, || own(BackendKind::AsyncIo));
}

#[cfg(feature = "smol")]
#[test]
fn an_event_of_an_own_smol_loop_costs_three_calls() {
    let test = "an_event_of_an_own_smol_loop_costs_three_calls";
    three_calls_an_event(test, || own(BackendKind::Smol));
}

/// A worker of the runtime told the loop of each event, in two calls, and the loop's thread polled
/// once more for it.
#[cfg(feature = "tokio")]
#[test]
fn an_event_in_the_context_of_multi_thread_tokio_was_that_of_a_worker_too() {
    use ioloop::backends::tokio::TokioBackend;

    let test = "an_event_in_the_context_of_multi_thread_tokio_was_that_of_a_worker_too";
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    three_calls_an_event(test, || {
        let backend = TokioBackend::attached(runtime.handle().clone());
        IOLoop::builder().host(backend).build().unwrap()
    });
}

/// The wait, the read and the write, with idle descriptors beside the active one.
fn three_calls_an_event(test: &str, make: impl FnOnce() -> IOLoop) {
    let scenario = || {
        let io_loop = make();
        let _idle: Vec<OwnedFd> = (0..16)
            .map(|_| {
                let (reader, writer) = pipe();
                io_loop.add_reader(reader, |_| unreachable!()).unwrap();
                writer
            })
            .collect();
        let marks = Marks::new();
        let before = Rc::new(Cell::new(Metrics::default()));
        active_pipe(&io_loop, move |io_loop, event| match event {
            0 => {
                before.set(io_loop.metrics());
                marks.mark("first");
            }
            EVENTS => {
                marks.mark("last");
                let (before, after) = (before.get(), io_loop.metrics());
                assert_eq!(after.events - before.events, EVENTS);
                assert_eq!(after.turns - before.turns, EVENTS, "one turn an event");
                assert_eq!(after.polls - before.polls, EVENTS, "one poll an event");
                io_loop.stop();
            }
            _ => {}
        });
        io_loop.start().unwrap();
    };
    traced(test, scenario, |trace| {
        let calls = trace.between("first", "last");
        for name in ["epoll_wait", "read", "write"] {
            assert_eq!(calls.count(name), EVENTS, "{name} in {calls:?}");
        }
        assert_eq!(calls.total(), 3 * EVENTS, "{calls:?}");
    });
}

/// The source was put into the kernel's set and taken out, for each direction, and then made
/// non-blocking.
#[test]
fn a_connection_with_its_request_cost_nine_calls() {
    let test = "a_connection_with_its_request_cost_nine_calls";
    four_calls_a_connection(test, |scenario| own(BackendKind::Bare).run_sync(scenario).unwrap());
}

#[cfg(feature = "tokio")]
#[test]
fn a_connection_with_its_request_cost_nine_calls_on_tokio() {
    let test = "a_connection_with_its_request_cost_nine_calls_on_tokio";
    four_calls_a_connection(test, |scenario| {
        let (runtime, io_loop) = on_tokio();
        runtime.block_on(io_loop.run_until(scenario)).unwrap();
    });
}

type Scenario = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// The accept, the read, the write and the close; and three more where the request arrives later.
fn four_calls_a_connection(test: &str, run: impl FnOnce(Scenario)) {
    const CONNECTIONS: u64 = 20;
    let scenario = || {
        run(Box::pin(async {
            let io_loop = IOLoop::current().unwrap();
            let marks = Marks::new();
            let tcp = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0").unwrap();
            let address = tcp.get_ref().local_addr().unwrap();
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    let mut client = TcpStream::connect(address).unwrap();
                    client.write_all(b"x").unwrap();
                    client
                })
                .collect();
            marks.mark("tcp");
            for _ in 0..CONNECTIONS {
                let (mut stream, _) = tcp.accept(&io_loop).await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                stream.write_all(&byte).await.unwrap();
            }
            marks.mark("end of tcp");
            drop(clients);
            let path = std::env::temp_dir().join(format!("ioloop-calls-{}", process::id()));
            let unix = Async::<UnixListener>::bind(&io_loop, &path).unwrap();
            let clients: Vec<_> =
                (0..CONNECTIONS).map(|_| UnixStream::connect(&path).unwrap()).collect();
            fs::remove_file(&path).unwrap();
            marks.mark("unix");
            for mut client in &clients {
                let (mut stream, _) = unix.accept(&io_loop).await.unwrap();
                let mut byte = [0];
                let reading = stream.read_exact(&mut byte);
                // The request is sent once somebody waits for it.
                let asking = async { client.write_all(b"x").unwrap() };
                futures_lite::future::zip(reading, asking).await.0.unwrap();
                stream.write_all(&byte).await.unwrap();
            }
            marks.mark("end of unix");
            let pair = UnixStream::pair().unwrap();
            marks.mark("by hand");
            let source = Async::new(&io_loop, pair.0).unwrap();
            marks.mark("end of by hand");
            drop(source);
        }));
    };
    traced(test, scenario, |trace| {
        let calls = trace.between("tcp", "end of tcp");
        for name in ["accept4", "recvfrom", "sendto", "close"] {
            assert_eq!(calls.count(name), CONNECTIONS, "{name} in {calls:?}");
        }
        assert_eq!(calls.total(), 4 * CONNECTIONS, "{calls:?}");
        let calls = trace.between("unix", "end of unix");
        // Into the set at the first wait, in the direction that waits, and out at the end; a read
        // for nothing; and the client's write.
        for (name, each) in
            [("accept4", 1), ("epoll_ctl", 2), ("recvfrom", 2), ("sendto", 2), ("close", 1)]
        {
            assert_eq!(calls.count(name), each * CONNECTIONS, "{name} in {calls:?}");
        }
        assert_eq!(calls.count("ioctl") + calls.count("getpeername"), 0, "{calls:?}");
        // Whether it can be watched is asked once, for both directions.
        let calls = trace.between("by hand", "end of by hand");
        assert_eq!((calls.count("epoll_ctl"), calls.count("ioctl"), calls.total()), (2, 1, 3));
    });
}

/// A server's idle time-outs. The kernel was told the new deadline after each of them.
#[test]
fn an_event_that_puts_a_timer_off_cost_a_call_more() {
    let scenario = || {
        let io_loop = own(BackendKind::Bare);
        let timeout = io_loop.call_later(HOUR, || unreachable!());
        let marks = Marks::new();
        active_pipe(&io_loop, move |io_loop, event| {
            assert!(timeout.reset(io_loop.now() + HOUR));
            match event {
                0 => marks.mark("first"),
                EVENTS => {
                    marks.mark("last");
                    io_loop.stop();
                }
                _ => {}
            }
        });
        io_loop.start().unwrap();
    };
    traced("an_event_that_puts_a_timer_off_cost_a_call_more", scenario, |trace| {
        let calls = trace.between("first", "last");
        assert_eq!(calls.total(), 3 * EVENTS, "{calls:?}");
    });
}

/// How an event comes that finds the loop asleep: tokio's wait, the poll that finds it, the read,
/// the write, and the poll that finds nothing more.
#[cfg(feature = "tokio")]
#[test]
fn an_event_of_a_loop_on_tokio_costs_at_most_five_calls() {
    let scenario = || {
        let (runtime, io_loop) = on_tokio();
        let marks = Marks::new();
        let (reader, writer) = pipe();
        let (_answered, answer) = pipe();
        let watch = io_loop.add_reader(reader, move |reader| pass(reader, &answer));
        watch.unwrap();
        let before = Cell::new(Metrics::default());
        let mut sent = 0;
        let mut run = std::pin::pin!(io_loop.run());
        let fed = runtime.block_on(poll_fn(|cx| {
            let polled = run.as_mut().poll(cx);
            assert!(polled.is_pending(), "nobody stops the loop");
            // The loop is asleep now, and the runtime about to be: one byte is one event.
            match sent {
                0 => {
                    before.set(io_loop.metrics());
                    marks.mark("first");
                }
                EVENTS => {
                    marks.mark("last");
                    return Poll::Ready(sent);
                }
                _ => {}
            }
            sent += 1;
            rustix::io::write(&writer, b"x").unwrap();
            Poll::Pending
        }));
        let (before, after) = (before.get(), io_loop.metrics());
        assert_eq!(after.events - before.events, fed);
        assert_eq!(after.wakeups - before.wakeups, fed, "one wake-up an event");
        assert_eq!(after.polls - before.polls, 2 * fed, "two polls an event");
    };
    traced("an_event_of_a_loop_on_tokio_costs_at_most_five_calls", scenario, |trace| {
        let calls = trace.between("first", "last");
        // One write is that of the byte itself.
        let ours = calls.total() - EVENTS;
        eprintln!(
            "{:.2} system calls an event on tokio current-thread",
            ours as f64 / EVENTS as f64
        );
        assert!(ours <= 5 * EVENTS, "{calls:?}");
    });
}

/// While an event causes the next, a loop on tokio does not go back to its host for it.
#[cfg(feature = "tokio")]
#[test]
fn an_event_of_a_busy_loop_on_tokio_costs_three_calls_and_a_share_of_a_yield() {
    let scenario = || {
        let (runtime, io_loop) = on_tokio();
        let marks = Marks::new();
        active_pipe(&io_loop, move |io_loop, event| match event {
            0 => marks.mark("first"),
            EVENTS => {
                marks.mark("last");
                io_loop.stop();
            }
            _ => {}
        });
        runtime.block_on(io_loop.run()).unwrap();
        let metrics = io_loop.metrics();
        assert_eq!(metrics.polls, metrics.turns, "one poll a turn");
        assert!(metrics.polls <= EVENTS + 3, "{metrics:?}");
    };
    traced(
        "an_event_of_a_busy_loop_on_tokio_costs_three_calls_and_a_share_of_a_yield",
        scenario,
        |trace| {
            let calls = trace.between("first", "last");
            // It yields after 61 events or a tenth of a millisecond. How often that is depends on
            // the machine; each time it is one poll of tokio's, which is the only one here to call
            // `epoll_wait`.
            let yields = calls.count("epoll_wait");
            assert!(yields >= EVENTS / 62, "{calls:?}");
            assert!(calls.total() - yields <= 3 * EVENTS, "{calls:?}");
        },
    );
}

#[test]
fn a_flood_of_posts_to_a_loop_that_nobody_drives_is_one_write() {
    const POSTS: u64 = 1000;
    let scenario = || {
        let io_loop = own(BackendKind::Bare);
        let handle = io_loop.handle();
        let flood = move || {
            let marks = Marks::new();
            marks.mark("first");
            for _ in 0..POSTS {
                handle.add_callback(|| ()).unwrap();
            }
            marks.mark("last");
            handle.stop().unwrap();
        };
        thread::spawn(flood).join().unwrap();
        assert_eq!(rings(), 1);
        io_loop.start().unwrap();
        assert_eq!(io_loop.metrics().callbacks, POSTS + 1);
    };
    traced("a_flood_of_posts_to_a_loop_that_nobody_drives_is_one_write", scenario, |trace| {
        let calls = trace.between("first", "last");
        assert_eq!((calls.count("write"), calls.total()), (1, 1), "{calls:?}");
    });
}

/// For its value, and for the end of the last job, which a hook may wait for.
#[test]
fn a_job_woke_its_loop_twice() {
    const JOBS: u64 = 10;
    let scenario = || {
        let io_loop = own(BackendKind::Bare);
        let given = Rc::new(RefCell::new(None::<Job>));
        let executor = Rc::clone(&given);
        io_loop.set_default_executor(move |job| _ = executor.replace(Some(job)));
        let marks = Marks::new();
        for job in 0..JOBS {
            let value = io_loop.run_in_executor(move || job);
            let waits = io_loop.spawn(value);
            io_loop.run_sync(futures_lite::future::yield_now()).unwrap();
            let before = rings();
            let run = given.take().unwrap();
            thread::spawn(run).join().unwrap();
            assert_eq!(rings() - before, 1);
            assert_eq!(io_loop.metrics().jobs, 0);
            assert_eq!(io_loop.run_sync(waits).unwrap().unwrap().unwrap(), job);
        }
        // Nobody waits for the value of this one: its end wakes the loop.
        io_loop.run_in_executor(|| ()).detach();
        let before = rings();
        let run = given.take().unwrap();
        let marked = move || {
            marks.mark("first");
            run();
            marks.mark("last");
        };
        thread::spawn(marked).join().unwrap();
        assert_eq!(rings() - before, 1);
    };
    traced("a_job_woke_its_loop_twice", scenario, |trace| {
        assert_eq!(trace.between("first", "last").count("write"), 1);
    });
}

#[test]
fn a_flood_of_posts_to_a_loop_asleep_on_its_thread_is_at_most_one_write() {
    const FLOODS: u64 = 20;
    let scenario = || {
        let looping = IOLoop::spawn_thread("loop", || Ok(own(BackendKind::Bare))).unwrap();
        let handle = looping.handle();
        let marks = Marks::new();
        let (arrived, arrival) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let released = std::sync::Arc::new(std::sync::Mutex::new(released));
        marks.mark("first");
        for _ in 0..FLOODS {
            // The first callback holds the loop awake until the whole flood has come.
            let (arrived, released) = (arrived.clone(), released.clone());
            let hold = move || {
                arrived.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
            };
            handle.add_callback(hold).unwrap();
            for _ in 0..500 {
                handle.add_callback(|| ()).unwrap();
            }
            arrival.recv().unwrap();
            for _ in 0..500 {
                handle.add_callback(|| ()).unwrap();
            }
            release.send(()).unwrap();
        }
        marks.mark("last");
        assert!(rings() <= FLOODS, "{} rings", rings());
        handle.stop().unwrap();
        looping.join().unwrap();
    };
    traced(
        "a_flood_of_posts_to_a_loop_asleep_on_its_thread_is_at_most_one_write",
        scenario,
        |trace| {
            let calls = trace.between("first", "last");
            assert!(calls.count("write") <= FLOODS, "{calls:?}");
        },
    );
}

#[test]
fn a_wake_from_the_own_thread_of_a_bare_loop_costs_nothing() {
    let scenario = || {
        let io_loop = own(BackendKind::Bare);
        wake_from_own_thread(&io_loop);
        io_loop.start().unwrap();
    };
    no_calls("a_wake_from_the_own_thread_of_a_bare_loop_costs_nothing", scenario);
}

#[cfg(feature = "tokio")]
#[test]
fn a_wake_from_the_own_thread_of_a_loop_on_tokio_costs_nothing() {
    let scenario = || {
        let (runtime, io_loop) = on_tokio();
        wake_from_own_thread(&io_loop);
        runtime.block_on(io_loop.run()).unwrap();
    };
    no_calls("a_wake_from_the_own_thread_of_a_loop_on_tokio_costs_nothing", scenario);
}

// B288
#[cfg(feature = "async-io")]
#[test]
fn a_wake_of_an_executors_task_from_the_loops_own_thread_costs_nothing() {
    use ioloop::backends::async_io::AsyncIoBackend;

    let scenario = || {
        let io_loop = own(BackendKind::AsyncIo);
        let executor = io_loop.backend::<AsyncIoBackend>().unwrap().executor();
        let (sender, wakers) = mpsc::channel::<Waker>();
        let mut polls = 0;
        let task = executor.spawn(poll_fn(move |cx| {
            polls += 1;
            sender.send(cx.waker().clone()).unwrap();
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        let marks = Marks::new();
        // Once the task has been polled, and the executor has nothing to do.
        let before = io_loop.before_sleep(move || {
            if let Ok(waker) = wakers.try_recv() {
                let before = rings();
                marks.mark("first");
                waker.wake();
                executor.spawn(async {}).detach();
                marks.mark("last");
                assert_eq!(rings(), before);
            }
            ioloop::hooks::BeforeSleep::Sleep
        });
        io_loop.run_sync(task).unwrap();
        before.remove();
    };
    let test = "a_wake_of_an_executors_task_from_the_loops_own_thread_costs_nothing";
    no_calls(test, scenario);
}

fn no_calls(test: &str, scenario: impl FnOnce()) {
    traced(test, scenario, |trace| {
        let calls = trace.between("first", "last");
        assert_eq!(calls.total(), 0, "{calls:?}");
    });
}

/// Posts, queues, wakes a task and stops, all in a callback.
fn wake_from_own_thread(io_loop: &IOLoop) {
    let waker = Rc::new(RefCell::new(None::<Waker>));
    let polls = Rc::new(Cell::new(0));
    let (stored, polled) = (Rc::clone(&waker), Rc::clone(&polls));
    drop(io_loop.spawn(poll_fn(move |cx| {
        polled.set(polled.get() + 1);
        *stored.borrow_mut() = Some(cx.waker().clone());
        if polled.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
    })));
    let (marks, handle) = (Marks::new(), io_loop.handle());
    let ran = Rc::new(Cell::new(0));
    io_loop.call_soon(move || {
        let io_loop = IOLoop::current().unwrap();
        let waker = waker.borrow_mut().take().unwrap();
        let before = rings();
        marks.mark("first");
        handle.add_callback(|| ()).unwrap();
        let count = Rc::clone(&ran);
        io_loop.call_soon(move || count.set(count.get() + 1));
        waker.wake();
        marks.mark("last");
        assert_eq!(rings(), before);
        io_loop.call_soon(move || {
            assert_eq!(ran.get(), 1, "it was queued before");
            assert_eq!(polls.get(), 2, "the task was polled again");
            IOLoop::current().unwrap().stop();
        });
    });
}

#[test]
fn the_timer_is_set_only_when_the_earliest_deadline_changes() {
    let scenario = || {
        let io_loop = own(BackendKind::Bare);
        let marks = Marks::new();
        marks.mark("not driven");
        io_loop.call_later(HOUR, || unreachable!());
        io_loop.call_later(2 * HOUR, || unreachable!());
        marks.mark("driven");
        let timer = Cell::new(None);
        // Each event is a wait, before which the loop may set its timer.
        active_pipe(&io_loop, move |io_loop, event| match event {
            0 => marks.mark("same earliest"),
            10 => timer.set(Some(io_loop.call_later(3 * HOUR, || unreachable!()))),
            20 => assert!(timer.take().unwrap().cancel()),
            30 => assert!(io_loop.call_later(HOUR / 2, || unreachable!()).cancel()),
            40 => {
                marks.mark("new earliest");
                timer.set(Some(io_loop.call_later(HOUR / 2, || unreachable!())));
            }
            50 => {
                marks.mark("old earliest");
                assert!(timer.take().unwrap().cancel());
            }
            60 => {
                marks.mark("end");
                io_loop.stop();
            }
            _ => {}
        });
        io_loop.start().unwrap();
        let metrics = io_loop.metrics();
        assert_eq!((metrics.polls, metrics.timers), (61, 2), "{metrics:?}");
    };
    traced("the_timer_is_set_only_when_the_earliest_deadline_changes", scenario, |trace| {
        let set = |from, to| trace.between(from, to).count("timerfd_settime");
        assert_eq!(set("not driven", "driven"), 1, "the first timer, at once");
        assert_eq!(set("driven", "same earliest"), 0);
        assert_eq!(set("same earliest", "new earliest"), 0);
        assert_eq!(set("new earliest", "old earliest"), 1);
        assert_eq!(set("old earliest", "end"), 1);
    });
}

fn own(kind: BackendKind) -> IOLoop {
    IOLoop::builder().backend(kind).build().unwrap()
}

#[cfg(feature = "tokio")]
fn on_tokio() -> (tokio::runtime::Runtime, IOLoop) {
    use ioloop::backends::tokio::TokioBackend;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let backend = TokioBackend::attached(runtime.handle().clone());
    let io_loop = IOLoop::builder().host(backend).attach().unwrap();
    (runtime, io_loop)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
}

fn pass(reader: &OwnedFd, writer: &OwnedFd) {
    let mut byte = [0];
    assert_eq!(rustix::io::read(reader, &mut byte), Ok(1));
    assert_eq!(rustix::io::write(writer, &byte), Ok(1));
}

/// Has the loop read a byte from a pipe and write it back, for ever; `on_event` comes first each
/// time.
fn active_pipe(io_loop: &IOLoop, on_event: impl Fn(&IOLoop, u64) + 'static) {
    let (reader, writer) = pipe();
    rustix::io::write(&writer, b"x").unwrap();
    let events = Cell::new(0);
    let watch = io_loop.add_reader(reader, move |reader| {
        on_event(&IOLoop::current().unwrap(), events.get());
        events.set(events.get() + 1);
        pass(reader, &writer);
    });
    watch.unwrap();
}

/// How often the eventfds of this process were written: nobody ever reads a loop's.
fn rings() -> u64 {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let rings = descriptors.map(|entry| {
        let path = entry.unwrap().path();
        if fs::read_link(&path).is_ok_and(|target| target == Path::new("anon_inode:[eventfd]")) {
            let number = path.file_name().unwrap().to_str().unwrap();
            eventfd_count(&fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap())
        } else {
            0
        }
    });
    rings.sum()
}

fn eventfd_count(info: &str) -> u64 {
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:"));
    u64::from_str_radix(count.unwrap().trim(), 16).unwrap()
}

/// Runs the scenario of the test called `test` in a process of its own, and checks what strace saw
/// of it.
fn traced(test: &str, scenario: impl FnOnce(), check: impl FnOnce(&Trace)) {
    let module = module_path!();
    if is_child(module, test) {
        end_a_hang();
        end_at_first_panic();
        return scenario();
    }
    if !strace_works() {
        eprintln!(
            "{test}: SKIPPED the count of system calls: strace is not installed, or may not trace here; \
             checked the loop's own counters alone"
        );
        assert_passed(&again(None, module, test));
        return;
    }
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.{}", process::id()));
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&log);
    assert_passed(&again(Some(strace), module, test));
    let trace = Trace::parse(&fs::read_to_string(&log).unwrap());
    check(&trace);
    // Kept where the check failed.
    fs::remove_file(log).unwrap();
}

/// Leaves marks in the trace: writes to where they do no harm.
struct Marks(File);

impl Marks {
    fn new() -> Self {
        Marks(File::options().write(true).open("/dev/null").unwrap())
    }

    fn mark(&self, name: &str) {
        (&self.0).write_all(mark(name).as_bytes()).unwrap();
    }
}

fn mark(name: &str) -> String {
    format!("mark: {name}")
}

/// What strace wrote: a line a call, the thread first.
struct Trace(Vec<Line>);

struct Line {
    thread: String,
    call: String,
}

impl Trace {
    fn parse(log: &str) -> Trace {
        let lines = log.lines().filter_map(|line| {
            let (thread, call) = line.split_once(' ')?;
            Some(Line { thread: thread.to_owned(), call: call.trim_start().to_owned() })
        });
        Trace(lines.collect())
    }

    /// The calls between two marks, of the thread that left the first, without those that get
    /// memory.
    fn between(&self, from: &str, to: &str) -> Calls {
        let (from, to) = (self.find(from), self.find(to));
        let thread = &self.0[from].thread;
        let lines = self.0[from + 1..to].iter();
        let names = lines
            .filter(|line| line.thread == *thread)
            // Before each close, the standard library's own check of a debug build.
            .filter(|line| !line.call.contains("F_GETFD"))
            .filter_map(|line| line.name())
            .filter(|name| !MEMORY.contains(name));
        Calls(names.map(str::to_owned).collect())
    }

    fn find(&self, name: &str) -> usize {
        let text = format!("\"{}\"", mark(name));
        let found = self.0.iter().position(|line| line.call.contains(&text));
        found.unwrap_or_else(|| panic!("no mark {name} in the trace"))
    }
}

impl Line {
    /// The call's name; none for a signal, an exit, or the second half of a call that was
    /// interrupted by another thread's.
    fn name(&self) -> Option<&str> {
        let (name, _) = self.call.split_once('(')?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && !name.is_empty()).then_some(name)
    }
}

/// When the allocator calls these is its own affair.
const MEMORY: [&str; 6] = ["brk", "mmap", "mremap", "munmap", "mprotect", "madvise"];

#[derive(Debug)]
struct Calls(Vec<String>);

impl Calls {
    /// How often `name` was called; each way to wait on epoll is `epoll_wait`.
    fn count(&self, name: &str) -> u64 {
        let alike = |call: &&String| match call.as_str() {
            "epoll_pwait" | "epoll_pwait2" => name == "epoll_wait",
            "timerfd_settime64" => name == "timerfd_settime",
            call => name == call,
        };
        self.0.iter().filter(alike).count() as u64
    }

    fn total(&self) -> u64 {
        self.0.len() as u64
    }
}
