//! Callbacks that run the main loop themselves.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use glib::MainContext;
use ioloop::{Reactor, Timer};
use ioloop_glib::GlibReactor;

#[test]
fn a_timer_whose_time_came_while_it_was_called_was_never_called_again() {
    let context = MainContext::new();
    let _acquired = context.acquire().unwrap();
    let reactor = GlibReactor::new(&context);
    let (called, held) = (Rc::new(Cell::new(0)), Rc::new(OnceCell::<Timer>::new()));
    let (count, weak, inner) = (Rc::clone(&called), Rc::downgrade(&held), context.clone());
    let outer = reactor.clone();
    let timer = Timer::new(&reactor, move || {
        count.set(count.get() + 1);
        if count.get() == 1 {
            let held = weak.upgrade().unwrap();
            held.get().unwrap().set(Duration::ZERO);
            let later = Rc::new(Cell::new(false));
            let seen = Rc::clone(&later);
            outer.call_later(Duration::from_millis(1), move || seen.set(true));
            while !later.get() {
                inner.iteration(true);
            }
        }
    });
    timer.set(Duration::ZERO);
    assert!(held.set(timer).is_ok());
    while called.get() < 2 {
        context.iteration(true);
    }
    assert!(!held.get().unwrap().is_set());
}
