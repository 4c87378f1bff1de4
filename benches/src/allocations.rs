//! The allocator of the programs that measure: the system's, and counts when it is asked to.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// Off where time is measured: then an allocation costs one more load.
static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// From now on.
pub fn start_counting() {
    COUNTING.store(true, Relaxed);
}

/// How many there were, of all threads.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

/// The bytes that are allocated more than when the counting started.
pub fn live_bytes() -> i64 {
    LIVE.load(Relaxed)
}

/// Has the allocator give back to the system what it can.
pub fn trim() {
    unsafe extern "C" {
        safe fn malloc_trim(keep: usize) -> i32;
    }
    malloc_trim(0);
}

fn count(bytes: i64, allocations: u64) {
    if COUNTING.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
        ALLOCATIONS.fetch_add(allocations, Relaxed);
    }
}

/// Declared as the `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64, 1);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
