//! Runs one case on one rig, and says which promise was broken.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio, abort};
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

/// After this long a case is taken to hang: many times what the slowest needs on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Held while a case runs, by all of them at once, and alone while a child process is made: until it has
/// called `exec`, a child holds a duplicate of every descriptor, and what a case closes is not closed.
static FORKING: RwLock<()> = RwLock::new(());

/// Set in a child process that runs one isolated case.
const CHILD: &str = "IOLOOP_CONFORMANCE_CHILD";

/// Runs the case called `name` on a loop; `test` is the path of the calling test, for running it again in
/// a child process.
///
/// # Panics
///
/// If the case fails, after printing the promises that it pins.
pub fn run(name: &str, test: &str, rig: impl FnOnce() -> Rig) {
    let case = find(CASES, name);
    if case.isolated && std::env::var_os(CHILD).is_none() {
        return run_in_child(case, test);
    }
    attempt(case, || match case.subject {
        Subject::Loop(check) => check(&rig()),
        Subject::Reactor(_) => unreachable!("the cases for reactors are a list of their own"),
    });
}

/// Runs the case called `name` on anything that implements [`Reactor`](crate::Reactor).
///
/// # Panics
///
/// As [`run`] does.
pub fn run_reactor<R>(name: &str, _test: &str, rig: impl FnOnce() -> R)
where
    R: Into<ReactorRig>,
{
    let case = find(REACTOR_CASES, name);
    attempt(case, || match case.subject {
        Subject::Reactor(check) => check(&rig().into()),
        Subject::Loop(_) => unreachable!("the cases for reactors are a list of their own"),
    });
}

fn find(cases: &'static [Case], name: &str) -> &'static Case {
    let case = cases.iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("there is no case {name}"))
}

/// Runs a case under a watchdog.
fn attempt(case: &'static Case, check: impl FnOnce()) {
    let (done, finished) = channel::<()>();
    let watchdog = thread::spawn(move || {
        if finished.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("hangs: {}", describe(case));
            abort();
        }
    });
    let forking = FORKING.read().unwrap_or_else(PoisonError::into_inner);
    let result = catch_unwind(AssertUnwindSafe(check));
    drop((forking, done));
    let _ = watchdog.join();
    if let Err(panic) = result {
        eprintln!("broken: {}", describe(case));
        resume_unwind(panic);
    }
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
