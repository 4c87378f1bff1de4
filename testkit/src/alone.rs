//! Tests that need a process of their own: they run their test binary again, for themselves alone.
// The alarm needs it.
#![allow(unsafe_code)]

use std::process::{self, Command, Output};
use std::{env, fs, panic};

/// Set in the process of one test, to its name.
const CHILD: &str = "IOLOOP_TEST_ALONE";

/// A hang is ended after this many seconds: many times what a test needs on a loaded machine.
const PATIENCE: u32 = 120;

/// The path of a test as its harness knows it, which leaves out the name of the crate.
fn path(module: &str, test: &str) -> String {
    let module = module.split_once("::").map_or("", |(_, module)| module);
    if module.is_empty() { test.to_owned() } else { format!("{module}::{test}") }
}

/// Whether this is the process of that test.
///
/// `module` is the `module_path!()` of the file, and `test` the rest of the test's path.
pub fn is_child(module: &str, test: &str) -> bool {
    env::var(CHILD).is_ok_and(|child| child == path(module, test))
}

/// Runs this test binary again for one test: by itself, or under a `tracer` that takes its command
/// line. The output is that of a process that ran this one test; whether it passed is not looked
/// at.
///
/// # Panics
///
/// There is no such test.
pub fn again(tracer: Option<Command>, module: &str, test: &str) -> Output {
    let mut command = again_by(tracer, module, test);
    let output = command.output().expect("running the test again");
    assert_ran_one(&output, test);
    output
}

/// What [`again`] runs.
///
/// # Panics
///
/// It is not known where this test binary is.
pub fn again_by(tracer: Option<Command>, module: &str, test: &str) -> Command {
    let this = env::current_exe().expect("where this program is");
    let path = path(module, test);
    let mut command = match tracer {
        None => Command::new(this),
        Some(mut tracer) => {
            tracer.arg(this);
            tracer
        }
    };
    command.args(["--exact", &path, "--nocapture", "--test-threads=1"]).env(CHILD, &path);
    command
}

/// That a test binary has found its one test.
///
/// # Panics
///
/// It has not.
pub fn assert_ran_one(output: &Output, test: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "there is no test {test}: {said}");
}

/// Fails as the child has.
///
/// # Panics
///
/// The child has not passed.
pub fn assert_passed(output: &Output) {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in the child, {}:\n{said}{complained}", output.status);
}

/// Runs a test in a process of its own, which is ended should it hang.
///
/// # Panics
///
/// The test has failed.
pub fn alone(module: &str, test: &str, scenario: impl FnOnce()) {
    if is_child(module, test) {
        end_a_hang();
        return scenario();
    }
    assert_passed(&again(None, module, test));
}

/// Ends this process at the first panic: a loop catches a failed assertion in a callback, and runs
/// on.
pub fn end_at_first_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        process::abort();
    }));
}

/// Ends this process should it hang, by the signal SIGALRM. A forked child has to ask for itself.
pub fn end_a_hang() {
    // SAFETY: it sets a timer, whose signal ends the process. A thread that waits would be counted,
    // and a child that is forked would not have it.
    unsafe { libc::alarm(PATIENCE) };
}

/// Whether strace is there, and may trace.
pub fn strace_works() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "true"]);
    strace.output().is_ok_and(|output| output.status.success())
}

/// How many descriptors this process has open.
///
/// # Panics
///
/// There is no `/proc`.
pub fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("the descriptors").count()
}

/// How many threads this process has.
///
/// # Panics
///
/// There is no `/proc`.
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("the threads").count()
}
