//! Callbacks without the types of their closures: for the loop's thread, and on their way to it.
//!
//! A closure that is small lies in the callback itself, without an allocation.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::Location;

/// Where something was handed to a loop, as `Location::caller` tells it.
pub(crate) type Caller = &'static Location<'static>;

/// The unit of the room for a closure.
pub(crate) type Word = MaybeUninit<*const ()>;

/// Room for what most callbacks capture: a pointer to some state, and a number or a second pointer.
pub(crate) type Room = [Word; 2];

const EMPTY: Room = [Word::uninit(); 2];

/// How many words an `F` takes.
pub(crate) const fn words<F>() -> usize {
    size_of::<F>().div_ceil(size_of::<Word>())
}

/// Whether an `F` can be kept in so many words.
pub(crate) const fn fits<F>(room: usize) -> bool {
    words::<F>() <= room && align_of::<F>() <= align_of::<Word>()
}

/// The operations on a closure whose type is erased.
pub(crate) struct Methods {
    /// The size of the closure.
    pub(crate) words: usize,
    /// # Safety
    ///
    /// There lies the closure that these methods are [of](Methods::of), and it is not used there
    /// any more.
    pub(crate) call: unsafe fn(*const Word),
    /// # Safety
    ///
    /// That of `call`.
    pub(crate) discard: unsafe fn(*const Word),
}

impl Methods {
    #[inline]
    pub(crate) const fn of<F: FnOnce() + 'static>() -> &'static Methods {
        const { &Methods { words: words::<F>(), call: call::<F>, discard: discard::<F> } }
    }
}

/// Moves the closure out before it runs: whoever keeps the room may use it for something else
/// meanwhile.
///
/// # Safety
///
/// An `F` lies there, which is not used there any more.
unsafe fn call<F: FnOnce()>(room: *const Word) {
    // SAFETY: as above.
    let closure = unsafe { room.cast::<F>().read() };
    closure();
}

/// # Safety
///
/// That of `call`.
unsafe fn discard<F>(room: *const Word) {
    // SAFETY: as above.
    drop(unsafe { room.cast::<F>().read() });
}

/// A callback that a loop runs once, whatever closure it was made of.
///
/// A closure that captures no more than two pointers is kept in the callback itself, a larger one
/// in a box. ([`call_soon`](crate::Reactor::call_soon) of an [`IOLoop`](crate::IOLoop) makes no
/// `Callback`: there up to eight need no box.)
#[must_use = "a callback that is dropped is not called"]
pub struct Callback {
    methods: &'static Methods,
    /// Holds the closure that `methods` are of, or the box that it lies in, as long as this lives.
    room: Room,
    location: Caller,
    /// The captures stay on their thread.
    _captures: PhantomData<*const ()>,
}

impl Callback {
    /// Erases the type of a closure.
    #[track_caller]
    pub fn new(callback: impl FnOnce() + 'static) -> Self {
        Callback::at(Location::caller(), callback)
    }

    #[inline]
    pub(crate) fn at<F: FnOnce() + 'static>(location: Caller, closure: F) -> Self {
        if const { fits::<F>(EMPTY.len()) } {
            // SAFETY: it fits.
            unsafe { Callback::keep(location, closure) }
        } else {
            // SAFETY: a box is one pointer, and is called as what is in it.
            unsafe { Callback::keep(location, Box::new(closure)) }
        }
    }

    /// # Safety
    ///
    /// An `F` fits the room.
    #[inline]
    unsafe fn keep<F: FnOnce() + 'static>(location: Caller, closure: F) -> Self {
        let mut room = EMPTY;
        // SAFETY: it fits, as the caller says.
        unsafe { (&raw mut room).cast::<F>().write(closure) };
        Callback { methods: Methods::of::<F>(), room, location, _captures: PhantomData }
    }

    /// Runs it.
    ///
    /// # Panics
    ///
    /// With the closure's own panic.
    #[inline]
    pub fn call(self) {
        let (_, methods, room) = self.into_parts();
        // SAFETY: the room holds the closure of these methods, and no other code has it.
        unsafe { (methods.call)((&raw const room).cast()) }
    }

    /// Where it was made: for the methods of [`Reactor`](crate::Reactor), where they were called.
    #[doc(alias = "place")]
    pub fn location(&self) -> Caller {
        self.location
    }

    /// Where it was made, its methods, and the words that its closure lies in: the caller has to
    /// call or discard it.
    #[inline]
    pub(crate) fn into_parts(self) -> (Caller, &'static Methods, Room) {
        let this = ManuallyDrop::new(self);
        (this.location, this.methods, this.room)
    }
}

impl Drop for Callback {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the room holds the closure of these methods, which nothing has taken.
        unsafe { (self.methods.discard)((&raw const self.room).cast()) }
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("location", &self.location()).finish_non_exhaustive()
    }
}

/// A callback that goes to another thread; there it becomes a [`Callback`].
#[must_use = "a callback that is dropped is not called"]
pub struct Posted(Callback);

// SAFETY: made of a closure that is `Send`; beside it there are pointers to what is static.
unsafe impl Send for Posted {}

impl Posted {
    /// Erases the type of a closure.
    #[track_caller]
    pub fn new(callback: impl FnOnce() + Send + 'static) -> Self {
        Posted(Callback::at(Location::caller(), callback))
    }
}

impl From<Posted> for Callback {
    fn from(posted: Posted) -> Self {
        posted.0
    }
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted").field("location", &self.0.location).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// How often a closure was called, and its captures were dropped.
    #[derive(Clone, Default)]
    struct Counts(Arc<[AtomicUsize; 2]>);

    impl Counts {
        fn get(&self) -> [usize; 2] {
            [0, 1].map(|index| self.0[index].load(Ordering::Relaxed))
        }
    }

    /// Captured by a closure.
    struct Token(Counts);

    impl Token {
        fn call(&self) {
            self.0.0[0].fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Drop for Token {
        fn drop(&mut self) {
            self.0.0[1].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has `check` make a closure of whatever it is given, from one word to many, and of more than
    /// a word's alignment.
    fn each_kind(check: impl Fn(Callback, &Counts)) {
        fn of<T: Copy + PartialEq + 'static>(value: T, check: impl Fn(Callback, &Counts)) {
            let (counts, before) = (Counts::default(), Box::new(value));
            let token = Token(counts.clone());
            let closure = move || {
                assert!(value == *before, "what it captured is as it was");
                token.call();
            };
            check(Callback::new(closure), &counts);
            assert_eq!(counts.get()[1], 1, "its captures are dropped once");
        }
        #[derive(Clone, Copy, PartialEq)]
        #[repr(align(64))]
        struct Aligned(u8);
        of((), &check);
        of(1_u8, &check);
        of(usize::MAX, &check);
        of([usize::MAX; 2], &check);
        of([7_u8; 1000], &check);
        of(Aligned(7), &check);
    }

    #[test]
    fn a_closure_of_any_size_is_called_or_dropped_once() {
        each_kind(|callback, counts| {
            callback.call();
            assert_eq!(counts.get(), [1, 1]);
        });
        each_kind(|callback, counts| {
            drop(callback);
            assert_eq!(counts.get(), [0, 1]);
        });
        // One that captures nothing takes no room.
        assert_eq!(words::<fn()>(), 1);
        Callback::new(|| ()).call();
    }

    #[test]
    fn its_words_can_be_moved_to_another_place() {
        each_kind(|callback, counts| {
            let (_, methods, room) = callback.into_parts();
            let mut elsewhere = [EMPTY; 3];
            elsewhere[1] = room;
            // SAFETY: the closure lies there, and is called once.
            unsafe { (methods.call)((&raw const elsewhere[1]).cast()) };
            assert_eq!(counts.get(), [1, 1]);
        });
        each_kind(|callback, counts| {
            let (_, methods, room) = callback.into_parts();
            // SAFETY: the closure lies there, and is dropped once.
            unsafe { (methods.discard)((&raw const room).cast()) };
            assert_eq!(counts.get(), [0, 1]);
        });
    }

    #[test]
    fn a_closure_that_panics_drops_its_captures_once() {
        let counts = Counts::default();
        let token = Token(counts.clone());
        let callback = Callback::new(move || {
            token.call();
            resume_unwind(Box::new(()));
        });
        assert!(catch_unwind(AssertUnwindSafe(|| callback.call())).is_err());
        assert_eq!(counts.get(), [1, 1]);
    }

    #[test]
    fn one_that_may_go_is_called_on_another_thread() {
        let counts = Counts::default();
        let token = Token(counts.clone());
        let there = Posted::new(move || token.call());
        thread::spawn(move || Callback::from(there).call()).join().unwrap();
        assert_eq!(counts.get(), [1, 1]);
    }
}
