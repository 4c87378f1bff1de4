//! The callback queue: first in, first out. Each entry is known by its number, so it can be
//! cancelled.
//!
//! The queue is a stream of words in chunks of 512. An entry is a head of two words, followed by
//! the closure itself.
//!
//! ```text
//!            read                                        write
//!             v                                            v
//!   chunk 0  [....|methods|location|capture|capture|methods|....|END]
//!   chunk 1  [methods|location|TASK|slot|serial|CANCELLED|3|_|_|_|    ]
//! ```
//!
//! So a queued callback takes sixteen bytes more than its captures, and no allocation of its own. A
//! closure of more than eight words lies in a box. The number of an entry is its position in the
//! stream since the beginning, and is never used again.
//!
//! Two things always hold. From `read` to `write` there are whole entries, and each chunk except
//! the last is ended by `END`. And an entry that is being called has left the stream, so its
//! callback may do anything to the queue.
#![allow(unsafe_code)]

mod posts;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::{self, NonNull, without_provenance};

pub(crate) use self::posts::Posts;
use super::arena::Key;
use super::room::excess;
use super::tuning::{QUEUE_CHUNK, QUEUE_CHUNKS_KEPT, QUEUE_CLOSURE, QUEUE_LIST_KEPT};
use crate::contain::contain;
use crate::reactor::callback::{Callback, Caller, Methods, Word, fits, words};

/// An entry of the callback phase of a turn.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    /// A callback, and where it was handed in.
    Callback(Caller),
    Other(Other),
}

#[derive(Clone, Copy)]
pub(crate) enum Other {
    /// A task to poll.
    Task(Key),
    /// The future that `run_until` or `run_sync` waits for.
    Main,
    /// The tasks of the runtime's executor.
    Runtime,
    /// The stop of a `Handle`.
    Stop,
    /// What those who inspect the process ask for.
    Show,
    /// A callback that was cancelled. Its captures are dropped, its position is kept.
    Cancelled,
}

/// What became of the entry at the front.
pub(crate) enum Front {
    /// A callback was called, and has returned.
    Called,
    /// It is still there: a callback that is called with more around it.
    Left(Caller),
    /// It was taken off.
    Taken(Other),
}

impl Other {
    /// Whether it is no work that anybody has given to the loop: nothing is left to do where there
    /// is no other. The future of a run is the run's, and a wake of it may come after its end.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        matches!(self, Other::Main | Other::Show | Other::Cancelled)
    }
}

/// Words of an entry before its closure.
const HEAD: usize = 2;

type Chunk = [Word; QUEUE_CHUNK];

// The first word of an entry is the address of its closure's methods; the second word is the
// callback's location then. Or the first word is one of these numbers, which are no addresses.

/// Ends a chunk; there is no second word.
const END: usize = 0;
/// The second word is the key's slot, the third its serial number.
const TASK: usize = 1;
const MAIN: usize = 2;
const STOP: usize = 3;
const RUNTIME: usize = 4;
const SHOW: usize = 5;
/// The second word is the number of words that follow. This is the last of these numbers.
const CANCELLED: usize = 6;

/// The entries are the words from `read` to the end of the first chunk, those of the chunks after
/// it, and those of the last one up to `write`. Each chunk except the last is ended by an [`END`].
pub(crate) struct Queue {
    chunks: VecDeque<NonNull<Chunk>>,
    spare: Vec<NonNull<Chunk>>,
    len: usize,
    /// How many entries [are the loop's own](Other::is_own).
    own: usize,
    /// Where the next entry is taken from, in the first chunk,
    read: *const Word,
    /// and where the next one goes, in the last one.
    write: *mut Word,
    /// The number of the first chunk's first word,
    first: u64,
    /// and that of the next entry.
    back: u64,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Queue {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            len: 0,
            own: 0,
            read: ptr::null(),
            write: ptr::null_mut(),
            first: 0,
            // As at the end of a chunk: the first entry needs a new one.
            back: QUEUE_CHUNK as u64 - 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many entries are not the loop's own.
    pub(crate) fn given(&self) -> usize {
        self.len - self.own
    }

    /// Appends a callback and returns its number.
    #[inline]
    pub(crate) fn push<F: FnOnce() + 'static>(&mut self, location: Caller, closure: F) -> u64 {
        if const { fits::<F>(QUEUE_CLOSURE) } {
            // SAFETY: the closure is short enough, and no more aligned than a word.
            unsafe { self.put(location, closure) }
        } else {
            // SAFETY: a box is one word, and calls its closure.
            unsafe { self.put(location, Box::new(closure)) }
        }
    }

    /// # Safety
    ///
    /// An `F` [fits](fits) in `QUEUE_CLOSURE` words.
    #[inline]
    unsafe fn put<F: FnOnce() + 'static>(&mut self, location: Caller, closure: F) -> u64 {
        let at = self.append(
            ptr::from_ref(Methods::of::<F>()).cast(),
            location_word(location),
            words::<F>(),
        );
        // SAFETY: there is room for the closure's words, aligned as words.
        unsafe { at.cast::<F>().write(closure) };
        self.back - (HEAD + words::<F>()) as u64
    }

    /// Appends a callback without the type of its closure.
    pub(crate) fn push_callback(&mut self, callback: Callback) -> u64 {
        let (location, methods, room) = callback.into_parts();
        let at = self.append(ptr::from_ref(methods).cast(), location_word(location), methods.words);
        // SAFETY: there is room for the closure's words, which are no more than its room has. With
        // them the duty to call or to discard the closure moves here.
        unsafe { at.copy_from_nonoverlapping(room.as_ptr(), methods.words) };
        self.back - (HEAD + methods.words) as u64
    }

    #[inline]
    pub(crate) fn push_other(&mut self, other: Other) {
        let none = without_provenance(0);
        self.own += usize::from(other.is_own());
        match other {
            Other::Task(key) => {
                let [slot, serial] = [key.slot, key.serial].map(|n| without_provenance(n as usize));
                let third = self.append(without_provenance(TASK), slot, 1);
                // SAFETY: there is room for a word.
                unsafe { third.write(Word::new(serial)) };
            }
            Other::Main => _ = self.append(without_provenance(MAIN), none, 0),
            Other::Runtime => _ = self.append(without_provenance(RUNTIME), none, 0),
            Other::Stop => _ = self.append(without_provenance(STOP), none, 0),
            Other::Show => _ = self.append(without_provenance(SHOW), none, 0),
            Other::Cancelled => _ = self.append(without_provenance(CANCELLED), none, 0),
        }
    }

    /// Appends a head, with room for `words` words behind it, at most `QUEUE_CLOSURE`.
    #[inline]
    fn append(&mut self, what: *const (), word: *const (), words: usize) -> *mut Word {
        let size = HEAD + words;
        // One word is left for the end.
        if self.back as usize % QUEUE_CHUNK + size >= QUEUE_CHUNK {
            self.add_chunk();
        }
        self.len += 1;
        self.back += size as u64;
        let at = self.write;
        // SAFETY: the last chunk has room for `size` words at `at`, and holds no entry there.
        unsafe {
            at.write(Word::new(what));
            at.add(1).write(Word::new(word));
            self.write = at.add(size);
            at.add(HEAD)
        }
    }

    /// Makes room for another entry.
    #[cold]
    fn add_chunk(&mut self) {
        let emptied = if self.len == 0 { self.chunks.pop_front() } else { None };
        if !self.chunks.is_empty() {
            // SAFETY: a chunk always has room for its end.
            unsafe { self.write.write(Word::new(without_provenance(END))) };
        }
        let chunk = emptied.or_else(|| self.spare.pop()).unwrap_or_else(|| {
            NonNull::from(Box::leak(Box::new([const { Word::uninit() }; QUEUE_CHUNK])))
        });
        self.back = self.back.next_multiple_of(QUEUE_CHUNK as u64);
        self.write = chunk.as_ptr().cast();
        if self.chunks.is_empty() {
            (self.first, self.read) = (self.back, self.write);
        }
        self.chunks.push_back(chunk);
    }

    /// Leaves the first chunk, whose entries were all taken, for the next one.
    #[cold]
    fn leave_chunk(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else { return };
        if self.spare.len() < QUEUE_CHUNKS_KEPT {
            self.spare.push(chunk);
        } else {
            free(chunk);
        }
        if let Some(room) = excess(self.chunks.capacity(), self.chunks.len(), QUEUE_LIST_KEPT) {
            self.chunks.shrink_to(room);
        }
        self.first += QUEUE_CHUNK as u64;
        self.read = self.chunks.front().map_or(ptr::null(), |chunk| chunk.as_ptr().cast());
    }

    /// The entry at the front.
    #[inline]
    pub(crate) fn front(&mut self) -> Option<Entry> {
        // SAFETY: it is the head of an entry.
        self.head().map(|head| unsafe { entry(head) })
    }

    /// Where the entry at the front begins.
    #[inline]
    fn head(&mut self) -> Option<*const Word> {
        if self.len == 0 {
            return None;
        }
        // SAFETY: there is an entry, so `read` is at its head, or at the end of a chunk that is
        // followed by another.
        if unsafe { self.read.read().assume_init().is_null() } {
            self.leave_chunk();
        }
        Some(self.read)
    }

    /// Takes the front entry off. Returns where its closure lies, if it has one; that holds until
    /// another entry is appended or asked for.
    #[inline]
    fn take(&mut self) -> Option<(&'static Methods, *const Word)> {
        let head = self.head()?;
        self.len -= 1;
        // SAFETY: it is the head of an entry, and the next `words` words of this chunk are the
        // entry's.
        unsafe {
            let Some(methods) = methods(head) else {
                if let Entry::Other(other) = entry(head) {
                    self.leave_other(head, other);
                }
                return None;
            };
            self.read = head.add(HEAD + methods.words);
            Some((methods, head.add(HEAD)))
        }
    }

    /// Goes on behind the entry at the front, which has no closure.
    ///
    /// # Safety
    ///
    /// It is `other`, and its head is `head`.
    #[inline]
    unsafe fn leave_other(&mut self, head: *const Word, other: Other) {
        self.own -= usize::from(other.is_own());
        // SAFETY: as above. These words of this chunk are the entry's.
        self.read = unsafe { head.add(HEAD + words_of_other(head, other)) };
    }

    /// Calls the callback at the front if `calls`, having noted its location; takes any other entry
    /// off.
    ///
    /// Where the entry was asked for its location first, and then taken, a callback took sixteen
    /// instructions more.
    #[inline(always)]
    pub(crate) fn run_front(
        queue: &RefCell<Queue>,
        calls: bool,
        running: &Cell<Option<Caller>>,
    ) -> Option<Front> {
        let mut borrowed = queue.borrow_mut();
        let head = borrowed.head()?;
        // SAFETY: it is the head of an entry.
        let (entry, methods) = unsafe { (entry(head), methods(head)) };
        match (entry, methods) {
            (Entry::Callback(location), Some(methods)) => {
                if !calls {
                    return Some(Front::Left(location));
                }
                borrowed.len -= 1;
                // SAFETY: the next `words` words of this chunk are the entry's.
                borrowed.read = unsafe { head.add(HEAD + methods.words) };
                drop(borrowed);
                running.set(Some(location));
                // SAFETY: the closure of these methods lies there. Its entry was taken off, and
                // `call` moves it out before an entry can be appended.
                unsafe { (methods.call)(head.add(HEAD)) };
                Some(Front::Called)
            }
            (Entry::Other(other), _) => {
                borrowed.len -= 1;
                // SAFETY: it is the head of this entry.
                unsafe { borrowed.leave_other(head, other) };
                Some(Front::Taken(other))
            }
            (Entry::Callback(_), None) => None,
        }
    }

    /// Calls the callback at the front, and takes any other entry off.
    pub(crate) fn call_front(queue: &RefCell<Queue>) {
        let _ = Queue::run_front(queue, true, &Cell::new(None));
    }

    /// Takes the front entry off, with its captures if it is a callback.
    pub(crate) fn pop(&mut self) -> Option<Option<Captures>> {
        self.head()?;
        let taken = self.take();
        // SAFETY: the closure lies there, and its entry was taken off.
        Some(taken.map(|(methods, closure)| unsafe { Captures::of(methods, closure) }))
    }

    /// The location of the callback with this number, while it is queued.
    pub(crate) fn location(&self, number: u64) -> Option<Caller> {
        // SAFETY: the number of a queued entry is that of its head.
        match unsafe { entry(self.find(number)?) } {
            Entry::Callback(location) => Some(location),
            Entry::Other(_) => None,
        }
    }

    /// Takes back the captures of the callback with this number, unless it has run or was
    /// cancelled.
    pub(crate) fn cancel(&mut self, number: u64) -> Option<Captures> {
        let head = self.find(number)?;
        // SAFETY: the number of a queued entry is that of its head. The entry stays at its length,
        // without its closure, which is moved out.
        unsafe {
            let methods = methods(head)?;
            let captures = Captures::of(methods, head.add(HEAD));
            head.write(Word::new(without_provenance(CANCELLED)));
            head.add(1).write(Word::new(without_provenance(methods.words)));
            self.own += 1;
            Some(captures)
        }
    }

    /// The head of the entry with this number, if it is queued. The number must have been returned
    /// before.
    fn find(&self, number: u64) -> Option<*mut Word> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let chunk = self.chunks.get(place / QUEUE_CHUNK)?.as_ptr().cast::<Word>();
        // SAFETY: the offset is within the chunk.
        let head = unsafe { chunk.add(place % QUEUE_CHUNK) };
        let taken = place < QUEUE_CHUNK && head.cast_const() < self.read;
        (!taken && number < self.back).then_some(head)
    }

    /// The locations of the queued callbacks.
    pub(crate) fn locations(&self) -> impl Iterator<Item = Caller> {
        let (mut chunks, mut at) = (self.chunks.iter().skip(1), self.read);
        let entries = (0..self.len).map(move |_| {
            // SAFETY: there is another entry, so `at` is at its head, or at the end of a chunk that
            // is followed by another.
            unsafe {
                if at.read().assume_init().is_null() {
                    at = chunks.next().map_or(at, |chunk| chunk.as_ptr().cast_const().cast());
                }
                let (entry, methods) = (entry(at), methods(at));
                let words = match (entry, methods) {
                    (Entry::Other(other), _) => words_of_other(at, other),
                    (Entry::Callback(_), methods) => methods.map_or(0, |methods| methods.words),
                };
                at = at.add(HEAD + words);
                entry
            }
        });
        entries.filter_map(|entry| match entry {
            Entry::Callback(location) => Some(location),
            Entry::Other(_) => None,
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A loop takes everything out itself, and reports the panics of destructors.
        while let Some(popped) = self.pop() {
            contain(|| drop(popped));
        }
        self.chunks.drain(..).chain(self.spare.drain(..)).for_each(free);
    }
}

fn free(chunk: NonNull<Chunk>) {
    // SAFETY: it is the pointer of a leaked box, and no other pointer to it is left.
    drop(unsafe { Box::from_raw(chunk.as_ptr()) });
}

fn location_word(location: Caller) -> *const () {
    ptr::from_ref(location).cast()
}

/// # Safety
///
/// `head` points to the head of an entry.
#[inline]
unsafe fn entry(head: *const Word) -> Entry {
    // SAFETY: as above. These words were written, by `append` or `cancel`.
    let word = |index| unsafe { head.add(index).read().assume_init() };
    let what = word(0).addr();
    if what > CANCELLED {
        // SAFETY: it is a callback's, whose second word is a `Caller`.
        return Entry::Callback(unsafe { &*word(1).cast() });
    }
    // First, without the jump of a table: the most frequent one.
    if what == TASK {
        let [slot, serial] = [1, 2].map(|index| word(index).addr() as u32);
        return Entry::Other(Other::Task(Key { slot, serial }));
    }
    Entry::Other(match what {
        MAIN => Other::Main,
        RUNTIME => Other::Runtime,
        STOP => Other::Stop,
        SHOW => Other::Show,
        _ => Other::Cancelled,
    })
}

/// The methods of the entry's closure; none if it has none.
///
/// # Safety
///
/// That of `entry`.
#[inline]
unsafe fn methods(head: *const Word) -> Option<&'static Methods> {
    // SAFETY: as above.
    let what = unsafe { head.read().assume_init() };
    // SAFETY: a word that is no number is the address of methods.
    (what.addr() > CANCELLED).then(|| unsafe { &*what.cast() })
}

/// The words of an entry behind its head, if it is `other`.
///
/// # Safety
///
/// That of `entry`.
#[inline]
unsafe fn words_of_other(head: *const Word, other: Other) -> usize {
    match other {
        Other::Task(_) => 1,
        // SAFETY: as above.
        Other::Cancelled => unsafe { head.add(1).read().assume_init().addr() },
        _ => 0,
    }
}

/// The closure of a callback that was taken back, to be dropped.
pub(crate) struct Captures {
    methods: &'static Methods,
    /// Holds the closure that `methods` are of, as long as this lives.
    room: [Word; QUEUE_CLOSURE],
}

impl Captures {
    /// Moves a closure out of the stream.
    ///
    /// # Safety
    ///
    /// The closure of these methods, of at most `QUEUE_CLOSURE` words, lies there, and is not used
    /// there afterwards.
    unsafe fn of(methods: &'static Methods, closure: *const Word) -> Captures {
        let mut room = [Word::uninit(); QUEUE_CLOSURE];
        // SAFETY: as above.
        unsafe { room.as_mut_ptr().copy_from_nonoverlapping(closure, methods.words) };
        Captures { methods, room }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        // SAFETY: the room holds the closure of these methods, and no other code has it.
        unsafe { (self.methods.discard)(self.room.as_ptr()) }
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
