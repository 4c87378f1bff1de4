//! What other threads queue, until the loop takes all of it at once.
//!
//! A flood of a million posts is taken by moving the list of its chunks. Those of one chunk are
//! copied behind the entries that are there, so the chunk is used again.
#![allow(unsafe_code)]

use std::mem;
use std::ptr::{self, without_provenance};

use super::{END, Other, QUEUE_CHUNK, QUEUE_LIST_KEPT, Queue, Word};
use crate::reactor::callback::Posted;

/// A queue that nothing is taken from. Each chunk begins with an entry.
pub(crate) struct Posts(Queue);

// SAFETY: the chunks are its own. They hold closures of `Posted`, which are `Send`, and numbers;
// locations and methods are static.
unsafe impl Send for Posts {}

impl Posts {
    pub(crate) const fn new() -> Posts {
        Posts(Queue::new())
    }

    pub(crate) fn push(&mut self, callback: Posted) {
        self.0.push_callback(callback.into());
    }

    pub(crate) fn push_other(&mut self, other: Other) {
        self.0.push_other(other);
    }

    /// All of it, as the queue of the thread that takes it.
    pub(crate) fn into_queue(self) -> Queue {
        self.0
    }
}

impl Queue {
    /// Appends all entries, in their order, and leaves none.
    pub(crate) fn append_posts(&mut self, Posts(posts): &mut Posts) {
        if posts.len == 0 {
            return;
        }
        self.own += mem::take(&mut posts.own);
        if posts.chunks.len() > 1 {
            return self.append_chunks(posts);
        }
        let words = (posts.back - posts.first) as usize;
        if words >= QUEUE_CHUNK - self.back as usize % QUEUE_CHUNK {
            self.add_chunk();
        }
        // SAFETY: they lie in one chunk, the words of whole entries, which mean the same anywhere.
        // There is room for them in this last chunk, and for its end. They are not used where they
        // were, since that chunk is empty again.
        unsafe {
            self.write.copy_from_nonoverlapping(posts.read, words);
            self.write = self.write.add(words);
        }
        self.back += words as u64;
        self.len += posts.len;
        (posts.write, posts.back, posts.len) = (posts.read.cast_mut(), posts.first, 0);
    }

    #[cold]
    fn append_chunks(&mut self, posts: &mut Queue) {
        if self.len == 0 {
            self.leave_chunk();
        } else {
            // SAFETY: a chunk always has room for its end.
            unsafe { self.write.write(Word::new(without_provenance(END))) };
        }
        let first = self.back.next_multiple_of(QUEUE_CHUNK as u64);
        if self.chunks.is_empty() {
            (self.first, self.read) = (first, posts.read);
        }
        self.back = first + (posts.back - posts.first);
        (self.write, self.len) = (posts.write, self.len + posts.len);
        self.chunks.append(&mut posts.chunks);
        posts.chunks.shrink_to(QUEUE_LIST_KEPT);
        (posts.read, posts.write, posts.len) = (ptr::null(), ptr::null_mut(), 0);
        posts.back = QUEUE_CHUNK as u64 - 1;
        // Chunks go round: those that come with posts go back when they are empty.
        while posts.spare.len() < self.spare.len() {
            posts.spare.extend(self.spare.pop());
        }
    }
}
