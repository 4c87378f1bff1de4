//! A closure that is called once, its type erased, and kept without an allocation if it is small.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

/// Room for what most callbacks capture: a pointer to some state, and a number or a second pointer.
///
/// It is handed on by value: where a queue is inlined a closure goes through registers, and is never read in wider
/// steps than it was written, which a processor waits for.
type Room = [MaybeUninit<*const ()>; 2];

const EMPTY: Room = [MaybeUninit::uninit(); 2];

/// Whether an `F` can be kept in the room.
const fn fits<F>() -> bool {
    size_of::<F>() <= size_of::<Room>() && align_of::<F>() <= align_of::<Room>()
}

/// What can be done to a closure whose type is forgotten.
struct Methods {
    call: unsafe fn(Room),
    discard: unsafe fn(Room),
}

/// The closure in a room.
///
/// # Safety
///
/// The room holds an `F`, which fits, and is not used any more.
#[inline]
unsafe fn take<F>(room: Room) -> F {
    // SAFETY: as above.
    unsafe { (&raw const room).cast::<F>().read() }
}

/// # Safety
///
/// That of `take`.
unsafe fn call<F: FnOnce()>(room: Room) {
    // SAFETY: as above.
    let closure = unsafe { take::<F>(room) };
    closure();
}

/// # Safety
///
/// That of `take`.
unsafe fn discard<F>(room: Room) {
    // SAFETY: as above.
    drop(unsafe { take::<F>(room) });
}

/// The closure, or the box that it lies in.
pub(crate) struct Once {
    methods: &'static Methods,
    /// Holds the closure that `methods` were made for, as long as this lives.
    room: Room,
    /// What the closure captured stays on its thread.
    _captures: PhantomData<*const ()>,
}

impl Once {
    #[inline]
    pub(crate) fn new<F: FnOnce() + 'static>(closure: F) -> Once {
        if const { fits::<F>() } {
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
        let methods = &Methods { call: call::<F>, discard: discard::<F> };
        Once { methods, room, _captures: PhantomData }
    }

    /// Calls it.
    #[inline]
    pub(crate) fn call(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the room holds the closure of these methods, and `this` is neither used nor dropped after.
        unsafe { (this.methods.call)(this.room) }
    }
}

impl Drop for Once {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the room holds the closure of these methods, which `call` has not taken.
        unsafe { (self.methods.discard)(self.room) }
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
