//! Child processes, on every backend.

mod ways;

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::{Pin, pin};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ioloop::{IOLoop, process, sleep};
use rustix::process::{Pid, Signal, kill_process};
use ways::every_way;

fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_exit_of_a_child_is_told_once_with_its_status() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let statuses = Rc::new(RefCell::new(Vec::new()));
        for code in 0..3 {
            let statuses = Rc::clone(&statuses);
            let callback = move |status: std::io::Result<std::process::ExitStatus>| {
                let mut statuses = statuses.borrow_mut();
                statuses.push(status.unwrap().code().unwrap());
                if statuses.len() == 3 {
                    IOLoop::current().unwrap().stop();
                }
            };
            process::on_exit(&io_loop, shell(&format!("exit {code}")), callback).unwrap();
        }
        way.until_stopped(&io_loop);
        let mut statuses = statuses.take();
        statuses.sort();
        assert_eq!(statuses, [0, 1, 2]);
        assert_eq!(io_loop.metrics().watches, 0);
    });
}

#[test]
fn a_child_that_has_exited_already_is_told_of_too() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("exit 7");
        // Its output ends when it has, and it is not reaped.
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        let exit = process::wait(&io_loop, child).unwrap();
        assert_eq!(way.run(&io_loop, exit).unwrap().code(), Some(7));
    });
}

#[test]
fn hundreds_of_children_at_once_are_all_told_of() {
    const CHILDREN: usize = 200;
    let io_loop = IOLoop::new().unwrap();
    let exits: Vec<_> = (0..CHILDREN)
        .map(|_| process::wait(&io_loop, Command::new("true").spawn().unwrap()).unwrap())
        .collect();
    let numbers: Vec<_> = exits.iter().map(process::Exit::id).collect();
    io_loop
        .run_sync(async {
            for exit in exits {
                assert!(exit.await.unwrap().success());
            }
        })
        .unwrap();
    assert_eq!(io_loop.metrics().watches, 0);
    // A zombie would have a directory still; a number that was used again names no child of ours.
    for number in numbers {
        let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        let ours = format!("PPid:\t{}\n", std::process::id());
        assert!(!(status.contains(&ours) && status.contains("Z (zombie)")), "{status}");
    }
}

#[test]
fn a_child_that_is_stopped_has_not_exited_and_one_that_is_killed_has() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let child = shell("read line");
        let exit = process::wait(&io_loop, child).unwrap();
        let pid = Pid::from_raw(exit.id() as i32).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let mut exit = pin!(exit);
        way.run(&io_loop, sleep(&io_loop, Duration::from_millis(2))).unwrap();
        assert!(poll_once(exit.as_mut()).is_pending());
        exit.kill().unwrap();
        let status = way.run(&io_loop, exit.as_mut()).unwrap();
        assert_eq!(status.code(), None, "killed");
        assert!(exit.kill().is_ok(), "it has exited, and is not killed again");
    });
}

#[test]
fn giving_up_leaves_no_watch_and_lets_the_child_run_on() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("read line; echo $line");
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let exit = process::wait(&io_loop, child).unwrap();
        assert_eq!(io_loop.metrics().watches, 1);
        drop(exit);
        assert_eq!(io_loop.metrics().watches, 0);
        input.write_all(b"alive\n").unwrap();
        drop(input);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "alive\n");
    });
}

#[test]
fn a_loop_that_is_closed_answers_whoever_waits() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let mut child = shell("read line");
        let input = child.stdin.take();
        let mut exit = pin!(process::wait(&io_loop, child).unwrap());
        assert!(poll_once(exit.as_mut()).is_pending());
        let called = Rc::new(Cell::new(false));
        let set = Rc::clone(&called);
        process::on_exit(&io_loop, shell("read line"), move |_| set.set(true)).unwrap();
        io_loop.close().unwrap();
        let Poll::Ready(Err(error)) = poll_once(exit) else { panic!("it hangs") };
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(!called.get());
        assert_eq!(Rc::strong_count(&called), 1, "the callback is dropped");
        drop(input);
    });
}
