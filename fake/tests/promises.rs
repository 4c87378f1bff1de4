//! What any reactor promises, kept by the fake: all of it in real time, and nearly all on a clock
//! that is moved.

use std::rc::Rc;

use ioloop_conformance::{REACTOR_CASES, ReactorRig};
use ioloop_fake::FakeReactor;

fn rig(fake: FakeReactor) -> ReactorRig {
    // As a loop does, it reports them and goes on.
    fake.catch_panics(drop);
    let [run, stop, close] = [(); 3].map(|()| fake.clone());
    // One that never waits is run again until another thread has done what it is to see.
    let run = move || while run.run().is_err() {};
    ReactorRig::new(Rc::new(fake), run, move || stop.stop(), move || close.close())
}

ioloop_conformance::reactor_suite! {
    fake_in_real_time => rig(FakeReactor::real_time()),
}

/// What a clock that moves by hand does not do.
const OF_REAL_TIME: [&str; 2] = [
    // It stands still while a callback blocks,
    "a_delay_counts_from_its_call",
    // and jumps past what another thread is about to post.
    "a_post_wakes_a_reactor_that_has_nothing_else_to_do",
];

#[test]
fn a_fake_whose_clock_is_moved_keeps_the_promises_but_those_of_real_time() {
    let names = REACTOR_CASES.iter().map(|case| case.name);
    assert!(OF_REAL_TIME.iter().all(|name| names.clone().any(|known| known == *name)));
    for name in names.filter(|name| !OF_REAL_TIME.contains(name)) {
        ioloop_conformance::run_reactor(name, "", || rig(FakeReactor::new()));
    }
}
