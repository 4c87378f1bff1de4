//! The queue against a plain list. Under Miri there is less of everything, see RELIABILITY.md.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::{mem, thread};

use super::*;
use crate::reactor::callback::Posted;

/// A capture, and whether its closure is called or dropped exactly once.
struct Token {
    id: u32,
    log: Rc<Log>,
}

#[derive(Default)]
struct Log {
    called: RefCell<Vec<u32>>,
    alive: Cell<usize>,
}

impl Token {
    fn new(id: u32, log: &Rc<Log>) -> Token {
        log.alive.set(log.alive.get() + 1);
        Token { id, log: Rc::clone(log) }
    }

    fn call(&self) {
        self.log.called.borrow_mut().push(self.id);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.log.alive.set(self.log.alive.get() - 1);
    }
}

/// Pushes a closure that captures a token and `N` words, which must come back as they were.
fn push<const N: usize>(queue: &mut Queue, token: Token) -> u64 {
    let words = [u64::from(token.id) * 3; N];
    queue.push(Location::caller(), move || {
        assert_eq!(words, [u64::from(token.id) * 3; N]);
        token.call();
    })
}

const PUSH: [fn(&mut Queue, Token) -> u64; 9] = [
    push::<0>, push::<1>, push::<2>, push::<3>, push::<5>, push::<6>, push::<7>, push::<8>,
    push::<40>,
];

fn below(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % limit
}

/// Against a plain list, through growing and shrinking crowds.
#[test]
fn whatever_is_pushed_is_called_in_order_or_taken_back_and_dropped_once() {
    let (seeds, steps) = if cfg!(miri) { (2, 1400) } else { (40, 3000) };
    for seed in 0..seeds {
        let (mut random, log) = (seed, Rc::new(Log::default()));
        let queue = RefCell::new(Queue::new());
        let (mut model, mut numbers) = (VecDeque::new(), Vec::new());
        let mut posts = Posts::new();
        for id in 0..steps {
            let growing = below(&mut random, 1000) < if id / 700 % 2 == 0 { 650 } else { 350 };
            if growing {
                let which = below(&mut random, PUSH.len() + 3);
                let number = match PUSH.get(which) {
                    Some(push) => push(&mut queue.borrow_mut(), Token::new(id, &log)),
                    None if which == PUSH.len() => {
                        let token = Token::new(id, &log);
                        queue.borrow_mut().push_callback(Callback::new(move || token.call()))
                    }
                    None if which == PUSH.len() + 1 => {
                        let key = Key { slot: id, serial: !id };
                        queue.borrow_mut().push_other(Other::Task(key));
                        model.push_back((id, None));
                        continue;
                    }
                    None => {
                        // Sometimes of several chunks.
                        let number = [0, 1, 3, 5, 170, 600][below(&mut random, 6)];
                        let key = Key { slot: id, serial: !id };
                        (0..number).for_each(|_| posts.push_other(Other::Task(key)));
                        queue.borrow_mut().append_posts(&mut posts);
                        model.extend((0..number).map(|_| (id, None)));
                        for _ in 0..number {
                            queue.borrow_mut().pop();
                            model.pop_front();
                        }
                        continue;
                    }
                };
                assert!(numbers.last().is_none_or(|(last, _)| *last < number));
                numbers.push((number, id));
                model.push_back((id, Some(true)));
            } else if below(&mut random, 4) > 0 {
                let front = queue.borrow_mut().front();
                match (model.pop_front(), front) {
                    (None, None) => {}
                    (Some((id, Some(true))), Some(Entry::Callback(_))) => {
                        Queue::call_front(&queue);
                        assert_eq!(log.called.borrow_mut().pop(), Some(id));
                    }
                    (Some((_, Some(false))), Some(Entry::Other(Other::Cancelled))) => {
                        assert!(queue.borrow_mut().pop().is_some_and(|popped| popped.is_none()));
                    }
                    (Some((id, None)), Some(Entry::Other(Other::Task(key)))) => {
                        assert_eq!(key, Key { slot: id, serial: !id });
                        queue.borrow_mut().pop();
                    }
                    _ => panic!("another entry is at the front"),
                }
            } else if !numbers.is_empty() {
                let (number, id) = numbers[below(&mut random, numbers.len())];
                let entry = model.iter_mut().find(|(other, _)| *other == id);
                let queued = entry.is_some_and(|(_, live)| live.replace(false) == Some(true));
                assert_eq!(queue.borrow().location(number).is_some(), queued);
                assert_eq!(queue.borrow_mut().cancel(number).is_some(), queued);
            }
            let queue = queue.borrow();
            let live = model.iter().filter(|(_, live)| *live == Some(true)).count();
            assert_eq!((queue.len(), queue.locations().count()), (model.len(), live));
            assert_eq!(log.alive.get(), live);
        }
        assert!(log.called.borrow().is_empty());
        drop(queue);
        assert_eq!(log.alive.get(), 0, "a queue drops what is in it");
    }
}

#[test]
fn a_callback_may_push_while_it_runs_and_keeps_what_it_captured() {
    let queue = Rc::new(RefCell::new(Queue::new()));
    let log = Rc::new(Log::default());
    for id in 0..2000 {
        let (inner, token) = (Rc::clone(&queue), Token::new(id, &log));
        queue.borrow_mut().push(Location::caller(), move || {
            for _ in 0..id % 5 {
                let token = Token::new(u32::MAX, &token.log);
                inner.borrow_mut().push(Location::caller(), move || token.call());
            }
            token.call();
        });
    }
    while queue.borrow().len() > 0 {
        queue.borrow_mut().front();
        Queue::call_front(&queue);
    }
    let called = log.called.borrow();
    assert_eq!(called.len(), 2000 + 400 * (1 + 2 + 3 + 4));
    assert!(called[..2000].iter().enumerate().all(|(n, id)| n as u32 == *id));
    assert_eq!(log.alive.get(), 0);
}

#[test]
fn a_callback_that_panics_has_left_the_queue_and_drops_its_captures() {
    let queue = RefCell::new(Queue::new());
    let log = Rc::new(Log::default());
    let token = Token::new(0, &log);
    queue.borrow_mut().push(Location::caller(), move || {
        let _token = token;
        std::panic::resume_unwind(Box::new(()));
    });
    push::<3>(&mut queue.borrow_mut(), Token::new(1, &log));
    let called = catch_unwind(AssertUnwindSafe(|| Queue::call_front(&queue)));
    assert!(called.is_err());
    assert_eq!((log.alive.get(), queue.borrow().len()), (1, 1));
    Queue::call_front(&queue);
    assert_eq!((log.alive.get(), queue.borrow().len()), (0, 0));
}

/// Runs something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_destructor_may_push_and_may_panic() {
    let queue = Rc::new(RefCell::new(Queue::new()));
    let log = Rc::new(Log::default());
    let (inner, token) = (Rc::clone(&queue), Token::new(0, &log));
    let pushes = OnDrop(move || _ = push::<2>(&mut inner.borrow_mut(), Token::new(1, &token.log)));
    queue.borrow_mut().push(Location::caller(), move || drop(pushes));
    Queue::call_front(&queue);
    assert_eq!((log.alive.get(), queue.borrow().len()), (1, 1));
    let panics = OnDrop(|| std::panic::resume_unwind(Box::new(())));
    let number = queue.borrow_mut().push(Location::caller(), move || drop(panics));
    let taken = queue.borrow_mut().cancel(number);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(taken))).is_err());
    let panics = OnDrop(|| std::panic::resume_unwind(Box::new(())));
    queue.borrow_mut().push(Location::caller(), move || drop(panics));
    push::<8>(&mut queue.borrow_mut(), Token::new(2, &log));
    // The remaining entries are dropped with the queue, each by itself.
    drop(queue.replace(Queue::new()));
    assert_eq!(log.alive.get(), 0);
}

#[test]
fn closures_of_any_size_and_alignment_are_kept() {
    #[repr(align(64))]
    struct Aligned(u8);
    let queue = RefCell::new(Queue::new());
    let seen = Rc::new(Cell::new(0));
    let (one, other, none) = (Rc::clone(&seen), Rc::clone(&seen), Rc::clone(&seen));
    let aligned = Aligned(7);
    queue.borrow_mut().push(Location::caller(), move || {
        assert_eq!(ptr::from_ref(&aligned).addr() % 64, 0);
        one.set(one.get() + usize::from(aligned.0));
    });
    let large = [1_u8; 5000];
    queue.borrow_mut().push(Location::caller(), move || other.set(other.get() + large.len()));
    queue.borrow_mut().push(Location::caller(), || ());
    queue.borrow_mut().push(Location::caller(), move || none.set(none.get() + 1));
    for _ in 0..4 {
        Queue::call_front(&queue);
    }
    assert_eq!(seen.get(), 7 + 5000 + 1);
    assert_eq!(Rc::strong_count(&seen), 1);
}

#[test]
fn the_memory_of_a_crowd_is_given_back() {
    let queue = RefCell::new(Queue::new());
    let crowd = if cfg!(miri) { 10_000 } else { 100_000 };
    for _ in 0..crowd {
        queue.borrow_mut().push(Location::caller(), || ());
    }
    assert!(queue.borrow().chunks.len() > crowd / 333);
    while queue.borrow_mut().front().is_some() {
        Queue::call_front(&queue);
    }
    let queue = queue.borrow();
    assert!(queue.chunks.len() + queue.spare.len() <= QUEUE_CHUNKS_KEPT + 1);
}

#[test]
fn one_chunk_is_enough_for_a_chain() {
    let mut queue = Queue::new();
    for _ in 0..10_000 {
        queue.push(Location::caller(), || ());
        queue.pop();
    }
    assert_eq!((queue.chunks.len(), queue.spare.len()), (1, 0));
}

#[test]
fn posts_of_another_thread_keep_their_order_and_run_or_are_dropped_once() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let post = |posts: &mut Posts, id: usize| {
        let (log, words) = (Arc::clone(&log), [id; 6]);
        match id % 3 {
            0 => posts.push(Posted::new(move || log.lock().unwrap().push(id))),
            1 => posts.push(Posted::new(move || log.lock().unwrap().push(words[5]))),
            _ => posts.push_other(Other::Stop),
        }
    };
    let queue = RefCell::new(Queue::new());
    let (mut posts, mut id) = (Posts::new(), 0);
    let ids = |number: usize, id: &mut usize| *id..mem::replace(id, *id + number) + number;
    for number in [1, 2, 300, 1, 40, 0, 700, 30, 1, 1, 1, 170] {
        let posted = ids(number, &mut id);
        posts = thread::scope(|scope| {
            let posting = scope.spawn(|| {
                posted.for_each(|id| post(&mut posts, id));
                posts
            });
            posting.join().unwrap()
        });
        queue.borrow_mut().append_posts(&mut posts);
        // Nothing is left over, and between them are those of this thread.
        queue.borrow_mut().append_posts(&mut posts);
        for id in ids(number / 7, &mut id) {
            let log = Arc::clone(&log);
            queue.borrow_mut().push(Location::caller(), move || log.lock().unwrap().push(id));
        }
        let half = queue.borrow().len() / 2;
        for _ in 0..half {
            Queue::call_front(&queue);
        }
    }
    let (called, all) = (log.lock().unwrap().clone(), id - queue.borrow().len());
    assert!(called.is_sorted() && called.len() > all / 2 && called.iter().all(|id| *id < all));
    (0..900).for_each(|id| post(&mut posts, id));
    drop(posts);
    drop(queue);
    assert_eq!(Arc::strong_count(&log), 1, "dropped once");
}
