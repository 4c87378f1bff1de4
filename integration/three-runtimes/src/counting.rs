//! An allocator that knows how much is allocated. It needs `unsafe`, since every allocator does.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, and what it has given and not got back.
#[derive(Debug, Default)]
pub struct Counting {
    blocks: AtomicUsize,
    bytes: AtomicUsize,
}

/// What is allocated at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Allocations.
    pub blocks: usize,
    /// Their bytes together.
    pub bytes: usize,
}

impl Counting {
    /// To be made the global allocator.
    pub const fn new() -> Counting {
        Counting { blocks: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// What is allocated now.
    pub fn allocated(&self) -> Allocated {
        let (blocks, bytes) = (&self.blocks, &self.bytes);
        Allocated { blocks: blocks.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }
}

// SAFETY: everything is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.blocks.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: handed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.blocks.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: handed on as it came, and it came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
