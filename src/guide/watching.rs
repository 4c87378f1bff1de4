//! Watching a loop: what it waits for, what it does, and what holds it up.
//!
//! | you ask | what tells | cost while it is on |
//! |---|---|---|
//! | what does it wait for? | [`listing`](crate::IOLoop::listing) | a walk through everything, when asked |
//! | how much does it do? | [`metrics`](crate::IOLoop::metrics) | none: they are always on |
//! | how much of the time is it busy? | [`measure_sleep`](crate::IOLoop::measure_sleep) | two readings of the clock a sleep |
//! | what was slow? | [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold) | two readings of the clock a call |
//! | what hangs now? | [`set_watchdog`](crate::IOLoop::set_watchdog) | a few nanoseconds a call, and a thread |
//! | what keeps it from sleeping? | [`set_spin_limit`](crate::IOLoop::set_spin_limit) | a counter an event |
//! | what failed? | [`set_exception_handler`](crate::IOLoop::set_exception_handler) | none |
//! | all of this, of a process that runs already? | a [terminal view](super::inspecting) (feature `inspect`) | none that counts until somebody looks |
//! | what ran when? | spans of `tracing` (feature `tracing`) | what the subscriber costs |
//!
//! All but the metrics and the exceptions are off at first. A *location* is the line of your code
//! where a callback, a timer, a watch or a task was handed to the loop; it is always known.
//!
//! A program that is to tell when it does badly needs three lines:
//!
//! ```
//! use std::time::Duration;
//! use ioloop::IOLoop;
//!
//! let io_loop = IOLoop::builder().name("main").build()?;
//! io_loop.set_slow_callback_threshold(Some(Duration::from_millis(100)));
//! io_loop.set_spin_limit(Some(10_000));
//! io_loop.set_watchdog(Some(Duration::from_secs(5)))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each report goes to `tracing` or `log`, if one of these features is on, otherwise to standard
//! error. Each names its loop, so give loops names.
//!
//! # What it waits for
//!
//! A program that does nothing and does not end waits for something. This prints what, each time
//! somebody types `kill -USR1` and the number of the process (feature `signal`):
//!
//! ```
//! # #[cfg(feature = "signal")] {
//! use std::time::Duration;
//! use ioloop::{IOLoop, Reactor};
//! use rustix::process::{Signal, getpid, kill_process};
//!
//! let io_loop = IOLoop::new()?;
//! io_loop.add_signal_handler(Signal::USR1.as_raw(), || {
//!     let io_loop = IOLoop::current().unwrap();
//!     eprintln!("loop {} waits for\n{}", io_loop.name(), io_loop.listing());
//! #   assert!(io_loop.listing().to_string().contains("2 timers from "));
//! #   io_loop.stop();
//! })?;
//! for hours in [1, 2] {
//!     io_loop.call_later(Duration::from_secs(60 * 60 * hours), || ());
//! }
//! // What `kill -USR1` does.
//! kill_process(getpid(), Signal::USR1)?;
//! io_loop.start()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It prints a line for each location and kind: `2 timers from src/main.rs:12:13`, and the watch
//! of the signal handler itself. Where the loop hangs in a callback the handler is not called; the
//! watchdog is for that.
//!
//! # What it does
//!
//! The counts only grow. The difference of two of them is a rate:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use ioloop::{IOLoop, sleep};
//!
//! let io_loop = IOLoop::new()?;
//! io_loop.measure_sleep(true);
//! let begun = Instant::now();
//! let seen = io_loop.run_sync(async {
//!     let mut seen = Vec::new();
//!     for _ in 0..3 {
//!         let before = io_loop.metrics();
//!         sleep(&io_loop, Duration::from_millis(2)).await?;
//!         let now = io_loop.metrics();
//!         seen.push((now.turns - before.turns, now.timers_fired - before.timers_fired));
//!     }
//!     Ok::<_, ioloop::Closed>(seen)
//! })??;
//! assert_eq!(seen.len(), 3);
//! let asleep = io_loop.metrics().asleep.unwrap_or_default();
//! let busy = begun.elapsed().saturating_sub(asleep).as_secs_f64() / begun.elapsed().as_secs_f64();
//! println!("busy for {:.0} % of the time", busy * 100.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `watches`, `timers`, `tasks` and `queued` say what there is now. One that grows for hours is a
//! leak, and the listing says from where. From another thread ask through
//! [`Handle::call`](crate::Handle::call).
//!
//! # What is slow, and what spins
//!
//! ```
//! use std::{cell::RefCell, io::Write, os::unix::net::UnixStream, rc::Rc, thread, time::Duration};
//! use ioloop::{IOLoop, Reactor, observe::Report};
//!
//! let io_loop = IOLoop::new()?;
//! let reports = Rc::new(RefCell::new(Vec::new()));
//! let log = Rc::clone(&reports);
//! io_loop.set_report_handler(move |report| log.borrow_mut().push(report.clone()));
//!
//! io_loop.set_slow_callback_threshold(Some(Duration::from_millis(2)));
//! io_loop.call_soon(|| thread::sleep(Duration::from_millis(3)));
//!
//! // A reader that never reads is called in each turn.
//! io_loop.set_spin_limit(Some(100));
//! let (ours, mut theirs) = UnixStream::pair()?;
//! theirs.write_all(b"unread")?;
//! let mut calls = 0;
//! io_loop.add_reader(ours, move |_| {
//!     calls += 1;
//!     if calls == 150 {
//!         IOLoop::current().unwrap().stop();
//!     }
//! })?;
//! io_loop.start()?;
//!
//! let reports = reports.take();
//! assert!(reports.iter().any(|report| matches!(report, Report::Slow { .. })));
//! assert!(reports.iter().any(|report| matches!(report, Report::Spinning { turns: 100, .. })));
//! for report in reports {
//!     // a callback held the loop up for 3.1ms, from src/main.rs:10:9
//!     println!("{report}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A loop that is busy with something else than a watch, a callback that queues itself or a task
//! that wakes itself, is seen in the metrics: many turns, few `wakeups`, no sleep. In a process that runs
//! already, the [terminal view](super::inspecting) names it: it has the most `calls/s`.
//!
//! # What hangs
//!
//! What is slow is told once it has returned. What does not return is told by the
//! [watchdog](crate::IOLoop::set_watchdog), from a thread of its own:
//!
//! ```
//! use std::{fs::File, io::Read, sync::Mutex, sync::mpsc, time::Duration};
//! use ioloop::{IOLoop, Reactor};
//! use rustix::{io::write, pipe::pipe};
//!
//! let io_loop = IOLoop::new()?;
//! let (told, hangs) = mpsc::channel();
//! let (ours, theirs) = pipe()?;
//! write(&theirs, b"some bytes, and more later")?;
//! // On the thread of the watchdog. Here it ends the hang: it closes the pipe.
//! let theirs = Mutex::new(Some(theirs));
//! io_loop.set_watchdog_handler(move |hang| {
//!     let _ = told.send(hang.to_string());
//!     theirs.lock().unwrap().take();
//! });
//! io_loop.set_watchdog(Some(Duration::from_millis(20)))?;
//!
//! // The second read waits, and the loop with it: the pipe has no O_NONBLOCK.
//! io_loop.add_reader(File::from(ours), |mut pipe| {
//!     let mut chunk = [0; 1024];
//!     while pipe.read(&mut chunk).unwrap_or(0) > 0 {}
//!     IOLoop::current().unwrap().stop();
//! })?;
//! io_loop.start()?;
//! // a reader has held the loop up for 20.4ms on thread main, and has not returned, from
//! // src/main.rs:18:9; its descriptor 6 blocks: set O_NONBLOCK
//! assert!(hangs.recv()?.ends_with("blocks: set O_NONBLOCK"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A descriptor may well block, as standard input and the pipes of children do, while its callback
//! reads *once* each time it is called. That is why nothing is reported when it is added.
//!
//! The report names the location where the callback was handed in, not the line that it hangs in.
//! A debugger shows that line: `gdb -p PID -batch -ex "thread apply all bt"`, at the thread that the
//! report names. A service whose supervisor starts it anew may end itself in the handler, with
//! [`std::process::abort`], which leaves a core.
//!
//! # What failed
//!
//! A panic in a callback is caught, and reported with its kind and location. So is the `Err` of a
//! task of [`spawn_logged`](crate::IOLoop::spawn_logged); that of a [`spawn`](crate::IOLoop::spawn)
//! is the `Task`'s, and lost with it.
//!
//! ```
//! use std::{cell::RefCell, rc::Rc};
//! use ioloop::{IOLoop, Reactor};
//!
//! let io_loop = IOLoop::new()?;
//! let lines = Rc::new(RefCell::new(Vec::new()));
//! let log = Rc::clone(&lines);
//! io_loop.set_exception_handler(move |exception| {
//!     let location = exception.location.map(|location| location.line());
//!     log.borrow_mut().push((exception.to_string(), location.is_some()));
//! });
//! io_loop.call_soon(|| panic!("no such file"));
//! io_loop.spawn_logged(async { Err::<(), _>("no route to host") });
//! io_loop.stop();
//! io_loop.start()?;
//! let expected = [
//!     ("a callback panicked: no such file".to_owned(), true),
//!     ("a task failed: no route to host".to_owned(), true),
//! ];
//! assert_eq!(*lines.borrow(), expected);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What ran when: spans, a trace, a flame
//!
//! With the feature `tracing` each turn is a span, `turn`, and each call of your code in it is one,
//! `callback`, at the level trace and with the target `ioloop`. Their fields are `loop_name`, and
//! of a callback its `kind` and `location`. Spans and events of your own lie inside. While no
//! subscriber wants that level, they cost a load and a comparison.
//!
//! The crate `tracing-chrome` makes of them what Chrome's viewer shows, in two lines; add it and
//! `tracing-subscriber` with its feature `registry`:
//!
//! ```text
//! use tracing_chrome::ChromeLayerBuilder;
//! use tracing_subscriber::prelude::*;
//!
//! let (chrome, guard) = ChromeLayerBuilder::new().file(&path).include_args(true).build();
//! tracing_subscriber::registry().with(chrome).init();
//! ```
//!
//! Open the file in `ui.perfetto.dev` once the guard is dropped. `cargo run -p try --features
//! trace --bin trace` in the repository is such a program, and this is what it traced:
//!
#![doc = concat!("<div>", include_str!("../../docs/pictures/trace.svg"), "</div>")]
//!
//! The wide call is one of 2 ms, which all others wait for. A `turn` of an own loop is as long as
//! its sleep; while an attached loop sleeps there is none. Any other layer of `tracing` does as
//! well: that of `tracing-flame` writes what `inferno-flamegraph` draws, and the flames of one
//! loop are told apart by `loop_name`.
//!
//! # What goes wrong, and how one sees it
//!
//! | what you see | what it may be | how to see it |
//! |---|---|---|
//! | nothing happens, no processor time | the loop waits for something else than you think; a paused watch; a `Guard` that was dropped | the listing |
//! | nothing happens at all, and `kill -USR1` prints nothing | a callback hangs: a lock, a blocking read, a `block_on` | the watchdog |
//! | nothing happens, and there are no turns | an attached loop that nobody drives: `run()` was not awaited | `metrics().turns`; [`NeverDriven`](crate::observe::Report::NeverDriven) |
//! | everything is late | a slow callback; a host that is busy with tasks of its own | slow reports; a trace, whose gaps are the host |
//! | everything is late, and no call is slow | many short calls in a turn, of which no report and no watchdog tells | `metrics`: `callbacks`, `events` and `timers_fired` over `turns`; the trace |
//! | a processor at 100 % | a watch that is not read; a callback that queues itself | spin reports; the rates |
//! | memory grows | timers or tasks that are never cancelled | `metrics` over time, then the listing |
//! | a run until nothing is left does not end | a watch, a timer or a task that somebody keeps | the entries of the listing whose [`keeps`](crate::observe::Pending::keeps) is true, and their locations |
//! | a trace lacks its end, and no JSON tool reads it | the process was killed, or the guard is in a `static`: only its drop writes the end | end on SIGTERM by a [signal handler](crate::signal) that stops the loop; Chrome's viewer reads such a trace all the same |
//! | a watch has gone silent | its callback panicked, so it was removed | exceptions |
//! | no report arrives | a task of tokio's, or of the host, which the loop does not call; or a report that was told sixteen times: after that only the 32nd, the 64th and so on | a handler gets all of them |
