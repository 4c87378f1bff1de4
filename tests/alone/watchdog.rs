//! The watchdog's thread: it ends with its loop, and a forked child does not have it.

use std::fs;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
use testkit::alone::{alone, end_a_hang, end_at_first_panic};
use testkit::ways::every_way;

use crate::fork::{fork, wait_for};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How many threads of this process are watchdogs.
fn watchdogs() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("watchdog of")).count()
}

fn until(number: usize) {
    while watchdogs() != number {
        thread::yield_now();
    }
}

#[test]
fn a_watchdog_ends_with_its_loop_and_with_its_limit() {
    alone(module_path!(), "a_watchdog_ends_with_its_loop_and_with_its_limit", || {
        end_at_first_panic();
        end_a_hang();
        every_way(|way| {
            let make = || {
                let io_loop = way.io_loop();
                io_loop.set_watchdog(Some(HOUR)).unwrap();
                io_loop
            };
            let (closed, dropped, off) = (make(), make(), make());
            until(3);
            // Another limit is no other watchdog.
            closed.set_watchdog(Some(2 * HOUR)).unwrap();
            until(3);
            closed.close().unwrap();
            until(2);
            drop(dropped);
            until(1);
            off.set_watchdog(None).unwrap();
            until(0);
        });
    });
}

#[test]
fn a_forked_child_has_no_watchdog_and_may_have_one_of_its_own() {
    alone(module_path!(), "a_forked_child_has_no_watchdog_and_may_have_one_of_its_own", || {
        end_at_first_panic();
        let make = || IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let parents = make();
        parents.set_watchdog_handler(|_| ());
        parents.set_watchdog(Some(HOUR)).unwrap();
        until(1);
        wait_for(fork(|| {
            assert_eq!(watchdogs(), 0);
            assert!(parents.set_watchdog(Some(HOUR)).is_err());
            parents.set_watchdog_handler(|_| ());
            parents.close().unwrap();
            let io_loop = make();
            let (told, hangs) = channel();
            io_loop.set_watchdog_handler(move |hang| told.send(hang.loop_name.clone()).unwrap());
            io_loop.set_watchdog(Some(Duration::from_millis(1))).unwrap();
            io_loop.call_soon(move || {
                hangs.recv().unwrap();
                IOLoop::current().unwrap().stop();
            });
            io_loop.start().unwrap();
        }));
        assert_eq!(watchdogs(), 1);
        parents.set_watchdog(Some(2 * HOUR)).unwrap();
        parents.close().unwrap();
        until(0);
    });
}
