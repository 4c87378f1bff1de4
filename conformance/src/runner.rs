//! Runs one case on one rig, and says which promise was broken.

use std::io::Write;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use super::promises::sentence;
use super::reactor::ReactorRig;
use super::rig::Rig;
use super::{CASES, REACTOR_CASES};

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The name of its test.
    pub name: &'static str,
    /// The group it belongs to.
    pub theme: &'static str,
    /// The numbers of the promises that it pins.
    pub promises: &'static [u16],
    /// It touches the whole process, and gets one of its own.
    pub isolated: bool,
    pub(super) subject: Subject,
}

/// What a case is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Loop(fn(&Rig)),
    Reactor(fn(&ReactorRig)),
}

/// After this many seconds a case is taken to hang: many times what the slowest needs on a loaded
/// machine.
const PATIENCE: u64 = 120;

/// Another number of seconds, for a machine that is slower still, or a test of the suite itself.
const PATIENCE_VARIABLE: &str = "IOLOOP_CONFORMANCE_PATIENCE";

/// Held while a case runs, by all of them at once, and alone while a child process is made: until
/// it has called `exec`, a child holds a duplicate of every descriptor, and what a case closes is
/// not closed.
static FORKING: RwLock<()> = RwLock::new(());

/// Set in a child process that runs one isolated case.
const CHILD: &str = "IOLOOP_CONFORMANCE_CHILD";

/// Runs the case called `name` on a loop; `test` is the path of the calling test, for running it
/// again in a child process.
///
/// # Panics
///
/// If the case fails or hangs, after writing the promises that it pins to standard error.
pub fn run(name: &str, test: &str, rig: impl FnOnce() -> Rig + Send + 'static) {
    let case = find(CASES, name);
    if case.isolated && std::env::var_os(CHILD).is_none() {
        return run_in_child(case, test);
    }
    attempt(case, move || match case.subject {
        Subject::Loop(check) => check(&rig()),
        Subject::Reactor(_) => unreachable!("the cases for reactors are a list of their own"),
    });
}

/// Runs the case called `name` on anything that implements [`Reactor`](ioloop::Reactor).
///
/// # Panics
///
/// As [`run`] does.
pub fn run_reactor<R>(name: &str, _test: &str, rig: impl FnOnce() -> R + Send + 'static)
where
    R: Into<ReactorRig>,
{
    let case = find(REACTOR_CASES, name);
    attempt(case, move || match case.subject {
        Subject::Reactor(check) => check(&rig().into()),
        Subject::Loop(_) => unreachable!("the cases for reactors are a list of their own"),
    });
}

fn find(cases: &'static [Case], name: &str) -> &'static Case {
    let case = cases.iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("there is no case {name}"))
}

/// Runs a case on a thread of its own. One that hangs is left there, so the others give their
/// results.
fn attempt(case: &'static Case, check: impl FnOnce() + Send + 'static) {
    let (done, finished) = channel::<()>();
    // Held here and not by the case, which may never end.
    let forking = FORKING.read().unwrap_or_else(PoisonError::into_inner);
    let name = thread::current().name().unwrap_or(case.name).to_owned();
    let running = thread::Builder::new().name(name).spawn(move || {
        let _done = done;
        check();
    });
    let running = running.expect("a thread for the case");
    if finished.recv_timeout(patience()) == Err(RecvTimeoutError::Timeout) {
        let hangs = format!("hangs: {}\n", describe(case));
        // At once, and where no harness captures it: it may be the last thing that is heard of this
        // process.
        let _ = std::io::stderr().write_all(hangs.as_bytes());
        panic!("the case {hangs}");
    }
    let result = running.join();
    drop(forking);
    if let Err(panic) = result {
        eprintln!("broken: {}", describe(case));
        resume_unwind(panic);
    }
}

fn patience() -> Duration {
    let set = std::env::var(PATIENCE_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(set.unwrap_or(PATIENCE))
}

fn run_in_child(case: &Case, test: &str) {
    // The test's path begins with the crate, its name in the harness does not.
    let filter = test.split_once("::").map_or(test, |(_, path)| path);
    let exe = std::env::current_exe().expect("the path of the test binary");
    let mut command = Command::new(exe);
    command
        .args(["--exact", filter, "--nocapture", "--test-threads=1"])
        .env(CHILD, case.name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = {
        let _forking = FORKING.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn()
    };
    let output =
        child.and_then(|child| child.wait_with_output()).expect("running the test binary again");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("running 1 test"), "the child found no test {filter}:\n{stdout}");
    assert!(
        output.status.success(),
        "in the child process ({}):\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

fn describe(case: &Case) -> String {
    let promises = case.promises.iter().map(|number| {
        format!("\n  B{number}: {}", sentence(*number).unwrap_or("(unknown promise)"))
    });
    format!("{}{}", case.name, promises.collect::<String>())
}
