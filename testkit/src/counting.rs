//! An allocator that counts: for each thread, and for the process. It needs `unsafe`, since every
//! allocator does.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, which counts: to be made the global one of a test binary.
#[derive(Debug)]
pub struct Counting;

/// What is counted of one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Allocations, and those that were made larger.
    pub allocations: usize,
    /// Bytes that it has allocated, less those that it has freed.
    pub bytes: isize,
    /// The bytes of its largest allocation since [`forget_largest`].
    pub largest: usize,
}

/// What is allocated in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Allocations.
    pub blocks: usize,
    /// Their bytes together.
    pub bytes: usize,
}

static BLOCKS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Made of a constant and without a destructor, so it allocates nothing itself.
    static COUNTS: Cell<Counts> =
        const { Cell::new(Counts { allocations: 0, bytes: 0, largest: 0 }) };
}

/// What this thread has allocated.
pub fn counts() -> Counts {
    COUNTS.get()
}

/// From here on [`Counts::largest`] counts anew.
pub fn forget_largest() {
    COUNTS.set(Counts { largest: 0, ..COUNTS.get() });
}

/// What the process has allocated.
pub fn allocated() -> Allocated {
    Allocated { blocks: BLOCKS.load(Relaxed), bytes: BYTES.load(Relaxed) }
}

fn note(change: impl FnOnce(&mut Counts)) {
    // A thread that is ending counts no more.
    let _ = COUNTS.try_with(|counts| {
        let mut changed = counts.get();
        change(&mut changed);
        counts.set(changed);
    });
}

fn note_more(size: usize) {
    BLOCKS.fetch_add(1, Relaxed);
    BYTES.fetch_add(size, Relaxed);
    note(|counts| {
        counts.allocations += 1;
        counts.bytes += size as isize;
        counts.largest = counts.largest.max(size);
    });
}

fn note_less(size: usize) {
    BLOCKS.fetch_sub(1, Relaxed);
    BYTES.fetch_sub(size, Relaxed);
    note(|counts| counts.bytes -= size as isize);
}

// SAFETY: every call is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_more(layout.size());
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note_less(layout.size());
        note_more(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note_less(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
