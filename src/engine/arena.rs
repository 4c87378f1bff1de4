//! Storage whose keys go stale: when a slot is used again, only its new key finds it.
//!
//! The slots are one table, which is cut off behind the last slot in use. To find that slot without
//! a search, the table is divided into pages. Each page has its own list of vacant slots, and
//! counts the slots in use. When a page is cut off, the highest serial number of its slots is kept.
//! Its slots begin with that number when they are needed again, so no earlier key matches. A slot
//! that has used up its serial numbers is never used again.

use std::mem::{self, ManuallyDrop};

use super::room::excess;
use super::tuning::{ARENA_KEPT, ARENA_PAGE, GIVEN_BACK};

/// A slot, and its serial number when the key was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

impl Key {
    pub(crate) fn from_bits(bits: u64) -> Key {
        Key { slot: bits as u32, serial: (bits >> 32) as u32 }
    }

    pub(crate) fn bits(self) -> u64 {
        u64::from(self.slot) | u64::from(self.serial) << 32
    }
}

enum Content<T> {
    /// The next vacant slot of its page.
    Vacant { next: u32 },
    /// Not dropped with its slot: a page that is cut off need not be searched for values.
    Full(ManuallyDrop<T>),
}

struct Slot<T> {
    /// Raised at each removal, so keys of the removed value no longer match.
    serial: u32,
    content: Content<T>,
}

/// The end of a list.
const NONE: u32 = u32::MAX;

/// In place of the next page: the page is in no list.
const CLOSED: u32 = u32::MAX - 1;

struct Page {
    /// The first vacant slot.
    vacant: u32,
    /// How many slots are in use.
    used: u32,
    /// The highest serial number that a slot of it has had.
    serial: u32,
    /// The next page in the list of open ones, or [`CLOSED`].
    next: u32,
}

/// `LAST` is the last serial number of a slot.
pub(crate) struct Arena<T, const LAST: u32 = { u32::MAX }> {
    slots: Vec<Slot<T>>,
    /// The pages of the slots, and those that were cut off.
    pages: Vec<Page>,
    /// The first page of the open ones. A page is in their list since a slot of it was vacated,
    /// until `find_vacant` finds it full.
    open: u32,
    len: usize,
    /// How many slots are given back at once, at the most.
    most_given_back: usize,
}

impl<T, const LAST: u32> Arena<T, LAST> {
    pub(crate) const fn new() -> Self {
        let most_given_back = usize::MAX;
        Arena { slots: Vec::new(), pages: Vec::new(), open: NONE, len: 0, most_given_back }
    }

    /// One that gives memory back a part at a time: the owner has to call
    /// [`give_back`](Self::give_back) until nothing is left over.
    pub(crate) const fn giving_back_in_parts() -> Self {
        let mut arena = Arena::new();
        arena.most_given_back = GIVEN_BACK / size_of::<Slot<T>>();
        arena
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many slots there are, in use or vacant.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The key that the next [`insert`](Self::insert) will return, for values that hold their own
    /// key.
    #[inline]
    pub(crate) fn next_key(&mut self) -> Key {
        if let Some(Page { vacant: slot, .. }) = self.pages.get(self.open as usize) {
            if let Some(Slot { serial, .. }) = self.slots.get(*slot as usize) {
                return Key { slot: *slot, serial: *serial };
            }
        }
        if self.find_vacant() { self.next_key() } else { self.key_of_new() }
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(page) = self.pages.get_mut(self.open as usize) {
            if let Some(slot) = self.slots.get_mut(page.vacant as usize) {
                let key = Key { slot: page.vacant, serial: slot.serial };
                if let Content::Vacant { next } = slot.content {
                    page.vacant = next;
                }
                page.used += 1;
                self.len += 1;
                slot.content = Content::Full(ManuallyDrop::new(value));
                return key;
            }
        }
        self.insert_in_next(value)
    }

    /// As [`insert`](Self::insert), when the first open page has no vacant slot.
    #[inline(never)]
    fn insert_in_next(&mut self, value: T) -> Key {
        if self.find_vacant() {
            return self.insert(value);
        }
        let slot = self.slots.len();
        if self.pages.len() <= slot / ARENA_PAGE {
            self.pages.push(Page { vacant: NONE, used: 0, serial: 0, next: CLOSED });
        }
        let page = &mut self.pages[slot / ARENA_PAGE];
        page.used += 1;
        self.len += 1;
        let serial = page.serial;
        self.slots.push(Slot { serial, content: Content::Full(ManuallyDrop::new(value)) });
        // No memory holds four billion values.
        Key { slot: slot as u32, serial }
    }

    fn key_of_new(&self) -> Key {
        let slot = self.slots.len();
        let serial = self.pages.get(slot / ARENA_PAGE).map_or(0, |page| page.serial);
        Key { slot: slot as u32, serial }
    }

    /// Closes the full pages before the first one with a vacant slot. Returns false if the table
    /// has to grow.
    fn find_vacant(&mut self) -> bool {
        while let Some(page) = self.pages.get_mut(self.open as usize) {
            if page.vacant != NONE {
                return true;
            }
            self.open = mem::replace(&mut page.next, CLOSED);
        }
        false
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.slot as usize) {
            Some(Slot { serial, content: Content::Full(value) }) if *serial == key.serial => {
                Some(value)
            }
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.slot as usize) {
            Some(Slot { serial, content: Content::Full(value) }) if *serial == key.serial => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value of a slot, whatever its serial number.
    #[inline]
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        match self.slots.get(slot as usize) {
            Some(Slot { content: Content::Full(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// As [`at`](Self::at).
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.slots.get_mut(slot as usize) {
            Some(Slot { content: Content::Full(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// The present key of a slot.
    pub(crate) fn key_of(&self, slot: u32) -> Key {
        Key { slot, serial: self.slots[slot as usize].serial }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.serial != key.serial || !matches!(slot.content, Content::Full(_)) {
            return None;
        }
        let content = mem::replace(&mut slot.content, Content::Vacant { next: NONE });
        self.vacate(key, (key.serial < LAST).then(|| key.serial + 1));
        match content {
            Content::Full(value) => Some(ManuallyDrop::into_inner(value)),
            Content::Vacant { .. } => None,
        }
    }

    /// Removes a value of which nothing is left to be dropped, for those that have given out keys of
    /// their own. `take` returns what is wanted of it, and the serial number of the next value in
    /// this slot; without one the slot is not used again.
    #[inline]
    pub(crate) fn remove_emptied<R>(
        &mut self,
        key: Key,
        take: impl FnOnce(&T) -> (R, Option<u32>),
    ) -> Option<R> {
        let (taken, next) = take(self.get(key)?);
        self.vacate(key, next);
        Some(taken)
    }

    /// Enters a slot among the vacant ones.
    #[inline]
    fn vacate(&mut self, key: Key, next: Option<u32>) {
        let index = key.slot as usize / ARENA_PAGE;
        let (slot, page) = (&mut self.slots[key.slot as usize], &mut self.pages[index]);
        slot.content = Content::Vacant { next: page.vacant };
        slot.serial = next.unwrap_or(LAST);
        if slot.serial > page.serial {
            page.serial = slot.serial;
        }
        if next.is_some() {
            page.vacant = key.slot;
        }
        page.used -= 1;
        self.len -= 1;
        if page.next == CLOSED || (page.used == 0 && index > 0) {
            self.settle(index);
        }
    }

    #[cold]
    fn settle(&mut self, index: usize) {
        if self.pages[index].next == CLOSED {
            self.open(index);
        }
        if self.pages[index].used == 0 {
            self.cut_off();
        }
    }

    /// Adds a page to the open ones. It becomes the first if it is lower than the present first, so
    /// low pages are filled first.
    fn open(&mut self, index: usize) {
        match self.pages.get_mut(self.open as usize) {
            Some(first) if (self.open as usize) < index => {
                let second = mem::replace(&mut first.next, index as u32);
                self.pages[index].next = second;
            }
            _ => self.pages[index].next = mem::replace(&mut self.open, index as u32),
        }
    }

    /// Cuts off the pages at the end without a slot in use, except for one: values that are added
    /// and removed at the edge of a page need no new memory. A page whose serial numbers are half
    /// used up stays, since all its slots would begin with the highest.
    fn cut_off(&mut self) {
        let mut end = self.slots.len().div_ceil(ARENA_PAGE);
        let is_spare = |page: &Page| page.used == 0 && page.serial <= LAST / 2;
        while end > 1 && self.pages[end - 2..end].iter().all(is_spare) {
            end -= 1;
            self.pages[end].vacant = NONE;
        }
        self.slots.truncate(end * ARENA_PAGE);
        self.give_back();
    }

    /// Whether there is memory that is to be given back.
    #[inline]
    pub(crate) fn has_excess(&self) -> bool {
        self.excess().is_some()
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>()
    }

    fn excess(&self) -> Option<usize> {
        excess(self.slots.capacity(), self.slots.len(), ARENA_KEPT)
    }

    /// Gives memory back, or a part of it. Returns whether there was any.
    pub(crate) fn give_back(&mut self) -> bool {
        let Some(room) = self.excess() else { return false };
        let least = self.slots.capacity().saturating_sub(self.most_given_back);
        self.slots.shrink_to(room.max(least));
        true
    }

    /// Takes every value out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<'_, T, LAST> {
        let keys: Vec<Key> = self.iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.remove(key))
    }

    /// All values, with their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| match &entry.content {
            Content::Full(value) => {
                Some((Key { slot: slot as u32, serial: entry.serial }, &**value))
            }
            Content::Vacant { .. } => None,
        })
    }
}

impl<T, const LAST: u32> Drop for Arena<T, LAST> {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_key_of_a_removed_value_finds_nothing_even_when_its_slot_is_used_again() {
        let mut arena = Arena::<_>::new();
        let old = arena.insert("old");
        assert_eq!(arena.remove(old), Some("old"));
        let new = arena.insert("new");
        assert_eq!(new.slot, old.slot, "the slot is used again");
        assert_eq!(arena.get(old), None);
        assert_eq!(arena.remove(old), None);
        assert_eq!(arena.get(new), Some(&"new"));
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn next_key_foretells_the_key_of_the_next_insert() {
        let mut arena = Arena::<_>::new();
        for round in 0..3 {
            let foretold = arena.next_key();
            assert_eq!(arena.insert(round), foretold);
        }
        arena.remove(Key { slot: 1, serial: 0 });
        let foretold = arena.next_key();
        assert_eq!(foretold, Key { slot: 1, serial: 1 });
        assert_eq!(arena.insert(9), foretold);
    }

    #[test]
    fn a_key_survives_the_way_through_its_bits() {
        let key = Key { slot: 7, serial: u32::MAX };
        assert_eq!(Key::from_bits(key.bits()), key);
    }

    #[test]
    fn a_slot_that_has_used_up_its_numbers_is_never_used_again() {
        let mut arena = Arena::<u32, 3>::new();
        let keys: Vec<Key> = (0..20)
            .map(|value| {
                let key = arena.insert(value);
                assert_eq!(arena.remove(key), Some(value));
                key
            })
            .collect();
        let different: BTreeSet<Key> = keys.iter().copied().collect();
        assert_eq!(different.len(), keys.len(), "no key comes again");
        let live = arena.insert(20);
        for key in keys {
            assert!(arena.get(key).is_none() && arena.remove(key).is_none());
        }
        assert_eq!(arena.get(live), Some(&20));
    }

    /// Many values at once, so pages are cut off and used again, in three orders of removal.
    #[test]
    fn no_key_of_a_page_that_was_given_back_finds_anything_in_its_next_life() {
        let mut arena = Arena::<usize, 30>::new();
        let crowd = if cfg!(miri) { 2 * ARENA_PAGE + 9 } else { 5 * ARENA_PAGE };
        let mut gone = BTreeSet::new();
        for round in 0..60 {
            let mut keys: Vec<Key> = (0..crowd).map(|value| arena.insert(value)).collect();
            assert!(keys.iter().all(|key| !gone.contains(key)), "a key that is used again");
            match round % 3 {
                0 => keys.reverse(),
                1 => keys.rotate_left(crowd / 2),
                _ => {}
            }
            for key in &keys {
                assert!(arena.remove(*key).is_some());
            }
            assert_eq!((arena.len(), arena.iter().count()), (0, 0));
            gone.extend(keys);
            if cfg!(miri) && round == 5 {
                break;
            }
        }
        assert!(gone.iter().all(|key| arena.get(*key).is_none()));
    }

    #[test]
    fn the_room_of_a_crowd_is_given_back() {
        let mut arena = Arena::<usize>::new();
        for _ in 0..3 {
            let keys: Vec<Key> = (0..20 * ARENA_PAGE).map(|value| arena.insert(value)).collect();
            keys.into_iter().for_each(|key| _ = arena.remove(key));
            assert!(arena.slots.capacity() <= ARENA_KEPT);
        }
    }

    #[test]
    fn what_comes_and_goes_at_the_edge_of_a_page_cut_the_page_off_each_time() {
        let mut arena = Arena::<usize>::new();
        (0..2 * ARENA_PAGE).for_each(|value| _ = arena.insert(value));
        for value in 0..10 {
            let key = arena.insert(value);
            assert_eq!(key, Key { slot: 2 * ARENA_PAGE as u32, serial: value as u32 });
            arena.remove(key);
            assert_eq!(arena.slots.len(), 2 * ARENA_PAGE + 1);
        }
    }

    #[test]
    fn values_are_dropped_with_the_table() {
        let (value, mut arena) = (Rc::new(()), Arena::<Rc<()>>::new());
        let keys: Vec<Key> = (0..3).map(|_| arena.insert(Rc::clone(&value))).collect();
        drop(arena.remove(keys[1]));
        assert_eq!(Rc::strong_count(&value), 3);
        drop(arena);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    /// Against a list, with few serial numbers.
    #[test]
    fn agrees_with_a_list_whatever_comes_and_goes() {
        let mut random = 7_u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % limit
        };
        let mut arena = Arena::<usize, 9>::new();
        let (mut live, mut gone) = (Vec::<(Key, usize)>::new(), BTreeSet::new());
        let (steps, crowd) = if cfg!(miri) { (6_000, 1_500) } else { (60_000, 4_000) };
        for step in 0..steps {
            // Grows for a while, and shrinks for a while.
            let grows = below(10) < if step / crowd % 2 == 0 { 8 } else { 2 };
            if grows || live.is_empty() {
                let foretold = arena.next_key();
                let key = arena.insert(step);
                assert!(key == foretold && !gone.contains(&key));
                live.push((key, step));
            } else {
                let (key, value) = live.swap_remove(below(live.len()));
                assert_eq!(
                    (arena.get_mut(key).copied(), arena.at(key.slot)),
                    (Some(value), Some(&value))
                );
                assert_eq!(arena.remove(key), Some(value));
                gone.insert(key);
            }
            assert_eq!(arena.len(), live.len());
        }
        assert!(live.iter().all(|(key, value)| arena.get(*key) == Some(value)));
        assert!(gone.iter().all(|key| arena.get(*key).is_none()));
        let mut expected: Vec<usize> = live.into_iter().map(|(_, value)| value).collect();
        let mut drained: Vec<usize> = arena.drain().collect();
        expected.sort_unstable();
        drained.sort_unstable();
        assert_eq!(drained, expected);
    }
}
