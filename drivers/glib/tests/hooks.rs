//! Hooks around GLib's polls, and what may go wrong inside of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use glib::{MainContext, MainLoop};
use ioloop::Reactor;
use ioloop::hooks::BeforeSleep;
use ioloop_glib::GlibReactor;

fn site() -> (MainContext, GlibReactor) {
    let context = MainContext::new();
    let reactor = GlibReactor::new(&context);
    (context, reactor)
}

#[test]
fn hooks_are_called_in_order_around_each_poll_and_none_once_removed() {
    let (context, reactor) = site();
    let log = Rc::new(RefCell::new(Vec::new()));
    let says = |word: &'static str| {
        let log = Rc::clone(&log);
        move || log.borrow_mut().push(word)
    };
    let (one, two) = (says("one"), says("two"));
    let after = reactor.after_wake(says("after")).unwrap();
    let one = reactor.before_sleep(move || {
        one();
        BeforeSleep::Sleep
    });
    let one = one.unwrap();
    let two = reactor.before_sleep(move || {
        two();
        BeforeSleep::Sleep
    });
    let two = two.unwrap();
    let called = says("callback");
    reactor.call_soon(called);
    context.iteration(false);
    assert_eq!(log.take(), ["one", "two", "after", "callback"]);
    assert!(one.remove() && !one.remove());
    context.iteration(false);
    assert_eq!(log.take(), ["two", "after"]);
    assert!(two.remove() && after.remove());
    context.iteration(false);
    assert!(log.take().is_empty());
}

#[test]
fn a_hook_that_panics_is_removed_and_the_others_go_on() {
    let (context, reactor) = site();
    let calls = Rc::new(Cell::new(0));
    let panics = reactor.before_sleep(|| panic!("on purpose")).unwrap();
    let counted = Rc::clone(&calls);
    let counts = reactor.before_sleep(move || {
        counted.set(counted.get() + 1);
        BeforeSleep::Sleep
    });
    let counts = counts.unwrap();
    context.iteration(false);
    context.iteration(false);
    assert_eq!(calls.get(), 2);
    assert!(!panics.remove() && counts.remove());
    assert_eq!(Rc::strong_count(&calls), 1);
}

#[test]
fn a_hook_may_remove_all_of_them_or_close_the_reactor() {
    for closes in [false, true] {
        let (context, reactor) = site();
        let calls = Rc::new(Cell::new(0));
        let hooks: Rc<RefCell<Vec<ioloop::hooks::Hook>>> = Rc::default();
        let (inner, mine, counted) = (reactor.clone(), Rc::clone(&hooks), Rc::clone(&calls));
        let first = reactor.before_sleep(move || {
            counted.set(counted.get() + 1);
            if closes {
                inner.close();
            } else {
                mine.borrow().iter().for_each(|hook| assert!(hook.remove()));
            }
            BeforeSleep::StayAwake
        });
        let counted = Rc::clone(&calls);
        let second = reactor.after_wake(move || counted.set(counted.get() + 100));
        hooks.borrow_mut().extend([first.unwrap(), second.unwrap()]);
        context.iteration(false);
        context.iteration(false);
        assert_eq!(calls.get(), 1, "also not in this round");
        assert_eq!(Rc::strong_count(&calls), 1);
        assert!(hooks.take().iter().all(|hook| !hook.remove()));

        // One is added to a closed reactor: it is dropped, and its handle says so.
        reactor.close();
        let counted = Rc::clone(&calls);
        let late = reactor.after_wake(move || counted.set(0)).unwrap();
        assert_eq!(Rc::strong_count(&calls), 1);
        assert!(!late.remove());
    }
}

#[test]
fn a_context_that_another_thread_iterates_or_frees_calls_no_hook() {
    let (context, reactor) = site();
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    let hook = reactor.after_wake(move || counted.set(counted.get() + 1)).unwrap();
    let there = context.clone();
    thread::spawn(move || there.iteration(false)).join().unwrap();
    assert_eq!(calls.get(), 0);
    context.iteration(false);
    assert_eq!(calls.get(), 1);
    drop((hook, reactor));
    assert_eq!(Rc::strong_count(&calls), 1);
    thread::spawn(move || drop(context)).join().unwrap();
}

#[test]
fn a_timer_that_ran_a_main_loop_of_its_own_held_up_the_others() {
    let (context, reactor) = site();
    let (outer, inner) =
        (MainLoop::new(Some(&context), false), MainLoop::new(Some(&context), false));
    let dialog = inner.clone();
    let quit = outer.clone();
    reactor.call_later(Duration::ZERO, move || {
        dialog.run();
        quit.quit();
    });
    // Due later than the first, whose callback has not returned by then.
    reactor.call_later(Duration::from_millis(2), move || inner.quit());
    outer.run();
}
