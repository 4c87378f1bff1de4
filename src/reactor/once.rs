//! A closure that is called once, its type erased, and kept without an allocation if it is small.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

/// What the room for a closure is measured in.
pub(crate) type Word = MaybeUninit<*const ()>;

/// Room for what most callbacks capture: a pointer to some state, and a number or a second pointer.
type Room = [Word; 2];

const EMPTY: Room = [Word::uninit(); 2];

/// How many words an `F` takes.
pub(crate) const fn words<F>() -> usize {
    size_of::<F>().div_ceil(size_of::<Word>())
}

/// Whether an `F` can be kept in so many words.
pub(crate) const fn fits<F>(room: usize) -> bool {
    words::<F>() <= room && align_of::<F>() <= align_of::<Word>()
}

/// What can be done to a closure whose type is forgotten.
pub(crate) struct Methods {
    /// What it takes.
    pub(crate) words: usize,
    /// # Safety
    ///
    /// There lies the closure that these methods are [of](Methods::of), and it is not used there any more.
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

/// Moves the closure out before it runs: whoever keeps the room may use it for something else meanwhile.
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

/// The closure, or the box that it lies in.
pub(crate) struct Once {
    methods: &'static Methods,
    /// Holds the closure that `methods` are of, as long as this lives.
    room: Room,
    /// What the closure captured stays on its thread.
    _captures: PhantomData<*const ()>,
}

impl Once {
    #[inline]
    pub(crate) fn new<F: FnOnce() + 'static>(closure: F) -> Once {
        if const { fits::<F>(EMPTY.len()) } {
            // SAFETY: it fits.
            unsafe { Once::keep(closure) }
        } else {
            // SAFETY: a box is one pointer, and is called as what is in it.
            unsafe { Once::keep(Box::new(closure)) }
        }
    }

    /// # Safety
    ///
    /// An `F` fits the room.
    #[inline]
    unsafe fn keep<F: FnOnce() + 'static>(closure: F) -> Once {
        let mut room = EMPTY;
        // SAFETY: it fits, as the caller says.
        unsafe { (&raw mut room).cast::<F>().write(closure) };
        Once { methods: Methods::of::<F>(), room, _captures: PhantomData }
    }

    /// Calls it.
    #[inline]
    pub(crate) fn call(self) {
        let (methods, room) = self.into_parts();
        // SAFETY: the room holds the closure of these methods, and nobody else has it.
        unsafe { (methods.call)((&raw const room).cast()) }
    }

    /// Its methods, and the words that it lies in: whoever has them has to call or discard it.
    #[inline]
    pub(crate) fn into_parts(self) -> (&'static Methods, [Word; 2]) {
        let this = ManuallyDrop::new(self);
        (this.methods, this.room)
    }
}

impl Drop for Once {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the room holds the closure of these methods, which nobody has taken.
        unsafe { (self.methods.discard)((&raw const self.room).cast()) }
    }
}

/// A closure that may go to another thread.
pub(crate) struct SendOnce(Once);

// SAFETY: made of a closure that is `Send`, which is all that it holds but for pointers to functions.
unsafe impl Send for SendOnce {}

impl SendOnce {
    pub(crate) fn new(closure: impl FnOnce() + Send + 'static) -> SendOnce {
        SendOnce(Once::new(closure))
    }

    pub(crate) fn into_inner(self) -> Once {
        self.0
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

    /// Has `check` make a closure of whatever it is given, from one word to many, and of more than a
    /// word's alignment.
    fn each_kind(check: impl Fn(Once, &Counts)) {
        fn of<T: Copy + PartialEq + 'static>(value: T, check: impl Fn(Once, &Counts)) {
            let (counts, before) = (Counts::default(), Box::new(value));
            let token = Token(counts.clone());
            let closure = move || {
                assert!(value == *before, "what it captured is as it was");
                token.call();
            };
            check(Once::new(closure), &counts);
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
        each_kind(|once, counts| {
            once.call();
            assert_eq!(counts.get(), [1, 1]);
        });
        each_kind(|once, counts| {
            drop(once);
            assert_eq!(counts.get(), [0, 1]);
        });
        // One that captures nothing takes no room.
        assert_eq!(words::<fn()>(), 1);
        Once::new(|| ()).call();
    }

    #[test]
    fn its_words_can_be_moved_to_another_place() {
        each_kind(|once, counts| {
            let (methods, room) = once.into_parts();
            let mut elsewhere = [EMPTY; 3];
            elsewhere[1] = room;
            // SAFETY: the closure lies there, and is called once.
            unsafe { (methods.call)((&raw const elsewhere[1]).cast()) };
            assert_eq!(counts.get(), [1, 1]);
        });
        each_kind(|once, counts| {
            let (methods, room) = once.into_parts();
            // SAFETY: the closure lies there, and is dropped once.
            unsafe { (methods.discard)((&raw const room).cast()) };
            assert_eq!(counts.get(), [0, 1]);
        });
    }

    #[test]
    fn a_closure_that_panics_drops_its_captures_once() {
        let counts = Counts::default();
        let token = Token(counts.clone());
        let once = Once::new(move || {
            token.call();
            resume_unwind(Box::new(()));
        });
        assert!(catch_unwind(AssertUnwindSafe(|| once.call())).is_err());
        assert_eq!(counts.get(), [1, 1]);
    }

    #[test]
    fn one_that_may_go_is_called_on_another_thread() {
        let counts = Counts::default();
        let token = Token(counts.clone());
        let there = SendOnce::new(move || token.call());
        thread::spawn(move || there.into_inner().call()).join().unwrap();
        assert_eq!(counts.get(), [1, 1]);
    }
}
