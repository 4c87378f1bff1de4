//! The numbers of the engine and its driver that were chosen, each with what was measured.
//!
//! The measurements are those of PERFORMANCE.md, made with `benches/` on two cores, unless a line
//! says that a number was not measured. To try another number, change it here and run the benches
//! and their `guard`.

// The budget: how long a busy loop goes on before it polls, and before an attached one yields.

/// Calls of callbacks, watches, timers and tasks after which the budget is spent, whatever they
/// take.
///
/// A poll costs as much as twenty small callbacks, so it is a quarter of 61 of them. tokio polls
/// its driver after as many tasks. The count and the clock cost a chain of callbacks ten
/// instructions each (257, were 246).
pub(crate) const BUDGET_CALLS: usize = 61;

/// Nanoseconds after which the budget is spent, however few the calls: some hundred times what a
/// poll takes.
///
/// Without a limit in time a ready descriptor waited for a second beside sixteen callbacks of a
/// millisecond, and the host's timers as long.
pub(crate) const BUDGET_NANOS: u64 = 100_000;

/// Calls between two readings of the clock, at most. A reading costs as much as three small
/// callbacks.
///
/// When cheap calls are followed by slow ones, twice as many of these may pass before it is
/// noticed: one reading begins the time, the next one ends it.
pub(crate) const BUDGET_CALLS_PER_READING: usize = 8;

// Sleeping, and leaving the host.

/// Nanoseconds for which a loop sleeps at the least, for a timer. The kernel's own wake-up takes as
/// long.
///
/// Timers that come closer together share a wake-up. A million timers at random within a second
/// took 1.09 of what a heap takes when each was a sleep of its own.
pub(crate) const SHORTEST_SLEEP: i64 = 8_000;

/// After how many calls of watches without a rest the loop takes its descriptor out of the host's
/// reactor, until there is nothing to do; and how many more for each watch that there is.
///
/// While the descriptor is there, every event wakes the host's reactor as well, for nothing: that
/// is 15 to 60 % of a small event. To put it back the kernel goes through all watches, at about a
/// tenth of such an event each, under a lock of the whole system. So a busy spell has to be long
/// enough for this to be a twentieth of it at most.
pub(crate) const LEAVE_HOST_AFTER: u64 = 1024;
pub(crate) const LEAVE_HOST_PER_WATCH: u64 = 2;

/// Most events taken from the kernel at once, and so served in a turn.
///
/// What a post, a timer or a host waits for is the turn. So a turn of events is as long as the
/// budget of a busy loop. With 1024, a post waited for 40 ms where each of 19,000 connections wants
/// an answer. The kernel hands out what is ready in turn, so none is left out. A poll more for 64
/// events costs a hundredth of what they cost, if each reads a byte and writes one.
/// With 16, a descriptor among 300 waits four times as long beside callbacks that queue themselves: a
/// loop with callbacks polls after 61 of them.
pub(crate) const EVENTS_PER_POLL: usize = 64;

/// Most callbacks that are run in a turn, and most timers that are fired in it. The rest of a crowd
/// waits for the next turn.
///
/// All at once, a million posts that had been made during a callback kept descriptors and timers
/// waiting for 60 ms. A poll for a thousand calls costs a thousandth of what they cost. With the
/// readers and writers of 64 events, 960 of both are 2048 calls, within which the host is told.
pub(crate) const CALLS_PER_TURN: usize = 960;

/// Slots of the table of watches that are moved in a turn to a kernel's set that is made anew.
///
/// A watch takes two system calls. All at once, 19,000 watches were 38,000 of them in one turn.
pub(crate) const MOVED_PER_TURN: usize = 256;

/// How often a wake of the poller is tried that fails.
///
/// Not measured: a lost wake is a loop that sleeps on, and a descriptor that is open and not full
/// refuses nothing. A write that fails so often fails for ever.
pub(crate) const WAKE_TRIES: usize = 8;

// The callback queue.

/// Words of a chunk of the queue, a power of two.
///
/// A chunk is 4 KiB, a page of memory. A chain of callbacks takes a new one every hundred callbacks
/// or so.
pub(crate) const QUEUE_CHUNK: usize = 512;

/// A closure of more words is queued in a box.
///
/// A callback is copied into the queue and called where it lies. A plain queue of boxes spends most
/// of its time on allocations. Eight words are a cache line.
pub(crate) const QUEUE_CLOSURE: usize = 8;

// The deadline queue.

/// A bucket of the lowest level spans two to the power of this nanoseconds, about a millisecond.
///
/// Nearer deadlines are sorted by the heap, farther ones wait unsorted: a timer that is cancelled
/// took 0.3 of the time that it takes libevent, which has a heap.
pub(crate) const TIMER_GRAIN_BITS: u32 = 20;

/// So many deadlines are as well off in the heap; so many that are stale are not worth a search at
/// all.
///
/// Not measured closely: a heap of 64 is six comparisons deep, and a kilobyte.
pub(crate) const TIMERS_FEW: usize = 64;

/// A bucket with more slots is not searched for its earliest deadline before its time.
///
/// Without a limit 65 time-outs of ten minutes, the first of which was cancelled, had every shorter
/// one go through the heap.
pub(crate) const TIMERS_SEARCHED: usize = 64;

/// So many references are moved from a bucket at once, to finer ones.
///
/// All at once, a bucket of a million held a turn up for 37 ms. With 4096 the tenth longest of all
/// turns was 0.5 ms, with 1024 it is 0.2 ms.
pub(crate) const TIMERS_MOVED: usize = 1024;

/// Nanoseconds by which a bucket is opened earlier for each reference in it, if there are more.
///
/// A move takes some 40, so a loop that does as much again between the parts is in time.
pub(crate) const TIMER_MOVED_IN: i64 = 128;

/// Nanoseconds by which a loop may wake too early for a timer that was put off.
///
/// A server puts a time-out off at each request. With one connection each of them was a search and a
/// system call; now it is one a second.
pub(crate) const TIMER_PUT_OFF: i64 = 1_000_000_000;

/// So many references are checked for staleness at each cancellation, while many are stale.
///
/// All at once, the longest cancellation among a million was 50 ms; with this it is 0.2 ms.
pub(crate) const TIMERS_SWEPT: usize = 8;

// The memory that a crowd leaves behind: buffers up to these sizes are kept, larger ones shrink
// (see `room.rs`).
//
// Not measured one by one. Most are some 64 KiB for a loop, the table of descriptor numbers is 256
// KiB. Items that arrive and leave by thousands cause no allocation.

/// Slots of a page of a table. A table is cut off by pages, so a page is what it holds at the least
/// once it was used.
pub(crate) const ARENA_PAGE: usize = 1024;

/// Slots that a table keeps when none is in use.
pub(crate) const ARENA_KEPT: usize = 2 * ARENA_PAGE;

/// Bytes of a crowd of timers that are given back at once: of their table, of the heap, of a bucket.
///
/// All at once, the 58 MB of a million timers held a turn up for 3 ms.
pub(crate) const GIVEN_BACK: usize = 4 << 20;

/// Empty chunks of the callback queue: eight thousand small callbacks.
pub(crate) const QUEUE_CHUNKS_KEPT: usize = 16;

/// Chunks that the list of chunks has room for.
pub(crate) const QUEUE_LIST_KEPT: usize = 1024;

/// Near deadlines in the heap, or due at once.
pub(crate) const HEAP_KEPT: usize = 4096;

/// Slots of a bucket of deadlines.
pub(crate) const BUCKET_KEPT: usize = 64;

/// Descriptor numbers in the table of watches.
pub(crate) const NUMBERS_KEPT: usize = 1 << 16;

/// Hooks of one kind.
pub(crate) const HOOKS_KEPT: usize = 64;

/// Wakers of tasks that have ended, for those to come: 64 KiB.
///
/// A task that is spawned and run takes two allocations with one, and three without: 64 of them left a
/// batch of a thousand tasks at 2.94.
pub(crate) const TASK_WAKERS_KEPT: usize = 1024;
