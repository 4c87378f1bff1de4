//! Ten runs of an example leave no descriptor behind: neither the loops that it makes nor what they
//! watch.
//!
//! Each example runs in a process of its own, since some of them do what concerns the whole
//! process.

use std::fs::read_dir;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, future};

use ioloop::{IOLoop, sleep};
use ioloop_examples::EXAMPLES;

/// Set in a child, to the place of its example.
const CHILD: &str = "IOLOOP_EXAMPLE";

/// Long enough for a runtime that is shut down in the background, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn open_descriptors() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// Runs something ten times, after it has opened what stays open for the process.
fn assert_leaves_nothing(run: impl Fn()) {
    (0..2).for_each(|_| run());
    let begun = Instant::now();
    // Threads of the first runs may still be ending, so the fewest so far are what counts.
    let mut before = open_descriptors();
    while begun.elapsed() < Duration::from_millis(50) {
        before = before.min(open_descriptors());
        thread::yield_now();
    }
    (0..10).for_each(|_| run());
    let begun = Instant::now();
    while open_descriptors() > before {
        assert!(begun.elapsed() < PATIENCE, "{} descriptors are left", open_descriptors() - before);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a test of this file in a process of its own, with the variable set.
fn child(test: &str, example: &str) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    let command = command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, example).output().unwrap()
}

#[test]
fn no_example_leaves_a_descriptor_behind() {
    if let Ok(place) = env::var(CHILD) {
        let (_, example) = EXAMPLES.iter().find(|(here, _)| *here == place).unwrap();
        return assert_leaves_nothing(example);
    }
    assert!(EXAMPLES.len() > 50, "{} examples are found", EXAMPLES.len());
    let mut failed = Vec::new();
    for (place, _) in EXAMPLES {
        let output = child("no_example_leaves_a_descriptor_behind", place);
        if !output.status.success() {
            println!("{place}\n{}", String::from_utf8_lossy(&output.stderr));
            failed.push(place);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// As an example would be that is not in the recommended style.
fn a_task_that_holds_its_loop() {
    let io_loop = IOLoop::new().unwrap();
    let own = io_loop.clone();
    io_loop.spawn(async move {
        sleep(&own, Duration::from_secs(3600)).await.unwrap();
        future::pending::<()>().await;
    });
    io_loop.stop();
    io_loop.start().unwrap();
}

#[test]
fn a_loop_that_its_own_task_holds_is_found() {
    if env::var(CHILD).is_ok() {
        let before = open_descriptors();
        (0..10).for_each(|_| a_task_that_holds_its_loop());
        assert!(open_descriptors() >= before + 20);
        std::process::exit(7);
    }
    let output = child("a_loop_that_its_own_task_holds_is_found", "yes");
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}
