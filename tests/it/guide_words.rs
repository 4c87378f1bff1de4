//! The words that the guide quotes, of errors and reports, are those of the library.

use std::cell::RefCell;
use std::fs::{self, File};
use std::future::{Future, pending};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{
    Async, Closed, IOLoop, Interest, ManualClock, Reactor, RunError, deferred, sleep, timeout,
};

/// The heading of the last section of each page.
const LAST: &str = "# What goes wrong, and how one sees it";

/// A file of the repository without line breaks, neither those of a comment nor of a string.
fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let lines = text.lines().map(|line| {
        let line = line.trim();
        line.strip_prefix("//!").unwrap_or(line).trim_end_matches('\\')
    });
    let words = lines.collect::<Vec<_>>().join(" ").replace("//~ says: ", "");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each page says the words in its last section. A descriptor there is number 7, and comes from
/// nowhere.
fn quoted(pages: &[&str], words: &str) {
    let words = words.split(", from ").next().unwrap_or_default();
    let mut parts = words.split("descriptor ");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        words += if rest.len() < part.len() { "descriptor 7" } else { "descriptor " };
        words += rest;
    }
    for page in pages {
        let text = text(&format!("src/guide/{page}.rs"));
        let (_, section) = text.split_once(LAST).unwrap_or_else(|| panic!("{page}: no {LAST}"));
        assert!(section.contains(&words), "{page} does not say: {words}");
    }
}

#[test]
fn a_page_of_the_guide_that_does_not_end_with_what_goes_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
    let mut pages = 0;
    for page in fs::read_dir(folder).unwrap().map(|page| page.unwrap().path()) {
        if page.file_stem().is_some_and(|name| name == "mod") {
            continue;
        }
        pages += 1;
        let text = fs::read_to_string(&page).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("//! "));
        // A line of an example that is not shown begins so as well, but is indented in the list.
        let last = lines.rfind(|line| line.starts_with("# "));
        assert_eq!(last, Some(LAST), "{}", page.display());
    }
    assert!(pages > 10, "{pages} pages");
}

#[test]
fn errors_of_running() {
    quoted(&["coming_from", "embedding"], &RunError::AlreadyRunning.to_string());
    quoted(&["features", "embedding"], &RunError::NotEmbeddable.to_string());
    quoted(&["hosts"], &RunError::Attached.to_string());
    quoted(&["hosts", "testing", "executors"], &RunError::InAsyncContext.to_string());
    quoted(&["threads", "embedding"], &RunError::Forked.to_string());
    quoted(&["threads"], &RunError::TimedOut.to_string());
    quoted(&["threads", "neutral_libraries"], &Closed.to_string());
}

#[test]
fn errors_of_choosing() {
    let error = "libev".parse::<BackendKind>().unwrap_err();
    quoted(&["features"], &error.to_string());
    let error = IOLoop::builder().backend(BackendKind::Bare).attach().unwrap_err();
    quoted(&["features"], &error.to_string());
    // With the feature no runtime is entered; without it there is none.
    let error = IOLoop::builder().backend(BackendKind::Tokio).attach().unwrap_err();
    quoted(&["features"], &error.to_string());
}

#[test]
fn errors_of_watching() {
    let io_loop = IOLoop::new().unwrap();
    let error = io_loop.add_reader(File::open("/dev/null").unwrap(), |_| ()).unwrap_err();
    quoted(&["c_libraries", "choosing"], &error.to_string());

    let (ours, _theirs) = UnixStream::pair().unwrap();
    let shared = Rc::new(ours);
    io_loop.add_handler(Rc::clone(&shared), Interest::READ, |_, _| ()).unwrap();
    let error = io_loop.add_handler(shared, Interest::READ, |_, _| ()).unwrap_err();
    quoted(&["c_libraries", "other_software"], &error.to_string());

    let (ours, _theirs) = UnixStream::pair().unwrap();
    let shared = Rc::new(ours);
    let first = Async::new(&io_loop, Rc::clone(&shared)).unwrap();
    let error = io_loop.run_sync(async {
        let mut waiting = pin!(first.readable());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let second = Async::new(&io_loop, shared).unwrap();
        let mut second = pin!(second.readable());
        assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        waiting.await.unwrap_err()
    });
    quoted(&["other_software", "neutral_libraries"], &error.unwrap().to_string());
}

#[test]
fn errors_of_waiting() {
    let clock = ManualClock::new();
    let io_loop = IOLoop::builder().clock(&clock).build().unwrap();
    let late = timeout(&io_loop, Duration::from_secs(5), pending::<()>());
    let error = io_loop.run_sync(late).unwrap().unwrap_err();
    quoted(&["testing"], &error.to_string());

    let (resolver, value) = deferred::<()>();
    drop(resolver);
    quoted(&["threads"], &io_loop.run_sync(value).unwrap().unwrap_err().to_string());

    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let _second = io_loop.clone();
    quoted(&["threads"], &io_loop.into_sendable().unwrap_err().to_string());
}

#[test]
fn exceptions() {
    let io_loop = IOLoop::new().unwrap();
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&told);
    io_loop.set_exception_handler(move |exception| log.borrow_mut().push(exception.to_string()));
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    io_loop.add_reader(ours, |_| panic!("index out of bounds")).unwrap();
    io_loop.spawn_logged(async { Err(io::Error::other("no answer")) });
    while told.borrow().len() < 2 {
        io_loop.run_sync(sleep(&io_loop, Duration::ZERO)).unwrap().unwrap();
    }
    for words in told.borrow().iter() {
        quoted(&["coming_from"], words);
    }
}

#[test]
fn reports() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&told);
    io_loop.set_report_handler(move |report| log.borrow_mut().push(report.to_string()));
    let reported = |beginning: &str| {
        let told = told.take();
        let found = told.iter().find(|report| report.starts_with(beginning));
        found.unwrap_or_else(|| panic!("{beginning}: {told:?}")).clone()
    };

    let task = io_loop.spawn(pending::<()>());
    let mut task = pin!(task);
    // At the first poll the loop may be about to be driven beside this.
    for _ in 0..2 {
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    quoted(&["coming_from", "neutral_libraries"], &reported("a task is awaited"));

    io_loop.set_slow_callback_threshold(Some(Duration::ZERO));
    io_loop.call_soon(|| ());
    io_loop.run_sync(sleep(&io_loop, Duration::ZERO)).unwrap().unwrap();
    // How long it took is another one each time.
    let report = reported("a callback");
    let end = report.find("for ").unwrap() + "for ".len();
    quoted(&["threads", "executors"], &report[..end]);
    io_loop.set_slow_callback_threshold(None);

    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    io_loop.add_reader(ours, |_| ()).unwrap();
    io_loop.set_spin_limit(Some(1000));
    while told.borrow().is_empty() {
        io_loop.turn(Some(Duration::ZERO)).unwrap();
    }
    quoted(&["other_software"], &reported("a reader"));
}

#[test]
fn words_that_are_not_easily_had() {
    for (page, source, words) in [
        ("backends", "src/host/hosting.rs", "breaks the contract of `Backend`: "),
        ("backends", "src/host/hosting.rs", "and not once"),
        (
            "backends",
            "src/io_loop/run.rs",
            "its `block_on` returned before the `Drive` was done: run it to its end, as a future or by `park`",
        ),
        ("backends", "conformance/src/runner.rs", "IOLOOP_CONFORMANCE_PATIENCE"),
        (
            "backends",
            "conformance/src/catalogue.rs",
            "a_post_from_another_thread_wakes_a_sleeping_loop",
        ),
        ("c_libraries", "src/reactor/refused.rs", "it is not open"),
        ("coming_from", "src/observe/watchdog.rs", " has held the loop up for "),
        ("coming_from", "src/observe/watchdog.rs", ", and has not returned"),
        ("coming_from", "src/observe/watchdog.rs", " blocks: set O_NONBLOCK"),
        (
            "c_libraries",
            "src/reactor/contract.rs",
            "this loop calls no hooks before it sleeps, or after it woke",
        ),
        (
            "choosing",
            "src/lib.rs",
            "ioloop runs on Unix only: it watches descriptors through one that can be watched itself, which \
             Windows and WASM do not have",
        ),
        (
            "embedding",
            "src/reactor/refused.rs",
            "it waits for this loop, or is nested too deep to be waited for",
        ),
        (
            "embedding",
            "src/error.rs",
            "the loop watches a descriptor that waits for others (an epoll, or another loop), and these are nested too \
             deep for a host to watch the loop; nest fewer, or use a loop on `BackendKind::Bare`, which has no host",
        ),
        ("features", "backends/mod.rs", "is not compiled in; enable ioloop's feature `"),
        (
            "features",
            "reliability/mistakes/programs/signal_feature.rs",
            "the item is gated behind the `signal` feature",
        ),
        (
            "neutral_libraries",
            "reliability/mistakes/programs/no_trait.rs",
            "trait `Reactor` which provides `call_later` is implemented but not in scope",
        ),
        (
            "neutral_libraries",
            "reliability/mistakes/programs/attach_no_reactor_generic.rs",
            "`tokio::runtime::Handle` is not a `Reactor`",
        ),
        (
            "neutral_libraries",
            "reliability/mistakes/programs/dyn.rs",
            "the `call_soon` method cannot be invoked on a trait object",
        ),
        (
            "threads",
            "reliability/mistakes/programs/loop_to_thread.rs",
            "`Rc<ioloop::io_loop::BoundToItsThread>` cannot be sent between threads safely",
        ),
        (
            "threads",
            "reliability/mistakes/programs/tokio_spawn.rs",
            "required because it appears within the type `ioloop::run::Run`",
        ),
        (
            "threads",
            "backends/tokio/undriven.rs",
            "so the loop is told of no descriptor and no timer; await `run` inside that runtime's \
             `Runtime::block_on`, or attach the loop to the runtime that it runs under",
        ),
    ] {
        quoted(&[page], words);
        assert!(text(source).contains(words), "{source} does not say: {words}");
    }
}
