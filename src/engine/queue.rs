//! The callback queue: first in, first out, each entry known by its number so that it can be cancelled.

use std::collections::VecDeque;

use super::arena::Key;
use crate::reactor::Callback;

/// What runs in the callback phase of a turn.
///
/// Two levels, so that an entry is no larger than a callback.
pub(crate) enum Entry {
    Callback(Callback),
    Other(Other),
}

pub(crate) enum Other {
    /// A task to poll.
    Task(Key),
    /// The future that `run_until` or `run_sync` waits for.
    Main,
    /// What `Handle::stop` leaves.
    Stop,
    /// A callback that was cancelled: its captures are gone, its place is kept.
    Cancelled,
}

pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// The number of the entry at the front.
    front: u64,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Queue { entries: VecDeque::new(), front: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends an entry and returns its number.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        self.entries.push_back(entry);
        self.front + self.entries.len() as u64 - 1
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.front += 1;
        Some(entry)
    }

    /// The callback with this number, while it is queued.
    pub(crate) fn get(&self, number: u64) -> Option<&Callback> {
        let index = usize::try_from(number.checked_sub(self.front)?).ok()?;
        match self.entries.get(index)? {
            Entry::Callback(callback) => Some(callback),
            _ => None,
        }
    }

    /// The callbacks that are queued.
    pub(crate) fn callbacks(&self) -> impl Iterator<Item = &Callback> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Callback(callback) => Some(callback),
            _ => None,
        })
    }

    /// Takes back the callback with this number, if it has not run and was not cancelled before.
    pub(crate) fn cancel(&mut self, number: u64) -> Option<Callback> {
        let index = usize::try_from(number.checked_sub(self.front)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        match std::mem::replace(entry, Entry::Other(Other::Cancelled)) {
            Entry::Callback(callback) => Some(callback),
            other => {
                *entry = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_two_pointers_beside_the_room_for_the_closure() {
        assert_eq!(size_of::<Entry>(), 4 * size_of::<usize>());
    }

    #[test]
    fn a_number_names_its_callback_only_while_that_is_queued() {
        let mut queue = Queue::new();
        let first = queue.push(Entry::Callback(Callback::new(|| ())));
        let second = queue.push(Entry::Callback(Callback::new(|| ())));
        assert!(queue.pop().is_some());
        assert!(queue.cancel(first).is_none(), "it has left the queue");
        assert!(queue.cancel(second).is_some());
        assert!(queue.cancel(second).is_none(), "it was cancelled");
        assert!(matches!(queue.pop(), Some(Entry::Other(Other::Cancelled))), "its place is kept");
        assert!(queue.cancel(second).is_none());
        assert!(queue.cancel(u64::MAX).is_none());
    }
}
