//! A storm of signals interrupts every wait of a loop, and changes nothing for what it waits for.
// Signals are aimed at the loop's thread, which is unsafe.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ioloop::{IOLoop, Reactor};
use signal_hook::{consts::SIGUSR2, flag};
use testkit::alone::alone;
use testkit::ways::every_way;

const EVENTS: u32 = 50;
const SIGNALS_PER_EVENT: u32 = 10;

#[test]
fn a_loop_loses_no_event_and_no_timer_in_a_storm_of_signals() {
    alone(module_path!(), "a_loop_loses_no_event_and_no_timer_in_a_storm_of_signals", || {
        let came = Arc::new(AtomicBool::new(false));
        flag::register(SIGUSR2, Arc::clone(&came)).unwrap();
        every_way(|way| {
            let io_loop = way.io_loop();
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let (events, interrupted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let count = (Rc::clone(&events), Rc::clone(&interrupted), Arc::clone(&came));
            let timer = Rc::new(Cell::new(false));
            let fired = Rc::clone(&timer);
            let watch = io_loop.add_reader(ours, move |mut ours| {
                ours.read_exact(&mut [0]).unwrap();
                let (events, interrupted, came) = &count;
                events.set(events.get() + 1);
                interrupted.set(interrupted.get() + u32::from(came.swap(false, Ordering::SeqCst)));
                if events.get() == EVENTS {
                    let fired = Rc::clone(&fired);
                    IOLoop::current().unwrap().call_later(Duration::from_millis(1), move || {
                        fired.set(true);
                        IOLoop::current().unwrap().stop();
                    });
                }
                ours.write_all(b"x").unwrap();
            });
            watch.unwrap();
            // SAFETY: it has no condition. With musl it is a pointer, and cannot be sent as one.
            let looping = unsafe { libc::pthread_self() } as usize;
            let storm = thread::spawn(move || {
                let signal = || {
                    let looping = looping as libc::pthread_t;
                    // SAFETY: the loop's thread lives until this one was joined.
                    assert_eq!(unsafe { libc::pthread_kill(looping, SIGUSR2) }, 0);
                    thread::yield_now();
                };
                for _ in 0..EVENTS {
                    (0..SIGNALS_PER_EVENT).for_each(|_| signal());
                    peer.write_all(b"x").unwrap();
                    peer.read_exact(&mut [0]).unwrap();
                }
                // For the timer.
                (0..SIGNALS_PER_EVENT).for_each(|_| signal());
                peer
            });
            way.until_stopped(&io_loop);
            storm.join().unwrap();
            assert_eq!((events.get(), interrupted.get()), (EVENTS, EVENTS));
            assert!(timer.get());
        });
    });
}
