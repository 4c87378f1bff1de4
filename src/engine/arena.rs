//! Storage whose keys go stale: a slot that is used again answers only to its new key.

/// A slot and the serial number it had when the key was made.
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
    Vacant { next: u32 },
    Full(T),
}

struct Slot<T> {
    /// Raised at each removal, so that the keys of the value that left match no longer.
    serial: u32,
    content: Content<T>,
}

/// Ends the list of vacant slots.
const NONE: u32 = u32::MAX;

pub(crate) struct Arena<T> {
    slots: Vec<Slot<T>>,
    vacant: u32,
    len: usize,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Arena { slots: Vec::new(), vacant: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The key that the next [`insert`](Self::insert) will return, for values that hold their own.
    pub(crate) fn next_key(&self) -> Key {
        match self.slots.get(self.vacant as usize) {
            Some(slot) => Key { slot: self.vacant, serial: slot.serial },
            None => Key { slot: self.slots.len() as u32, serial: 0 },
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        self.len += 1;
        match self.slots.get_mut(key.slot as usize) {
            Some(slot) => {
                if let Content::Vacant { next } = slot.content {
                    self.vacant = next;
                }
                slot.content = Content::Full(value);
            }
            None => self.slots.push(Slot { serial: 0, content: Content::Full(value) }),
        }
        key
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.slot as usize) {
            Some(Slot { serial, content: Content::Full(value) }) if *serial == key.serial => {
                Some(value)
            }
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.slot as usize) {
            Some(Slot { serial, content: Content::Full(value) }) if *serial == key.serial => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value of a slot, whatever its serial number.
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        match self.slots.get(slot as usize) {
            Some(Slot { content: Content::Full(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// As [`at`](Self::at).
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

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.slot as usize];
        slot.serial = slot.serial.wrapping_add(1);
        let content = std::mem::replace(&mut slot.content, Content::Vacant { next: self.vacant });
        self.vacant = key.slot;
        self.len -= 1;
        match content {
            Content::Full(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// Takes every value out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<'_, T> {
        let keys: Vec<Key> = self.iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.remove(key))
    }

    /// Every value with its key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| match &entry.content {
            Content::Full(value) => Some((Key { slot: slot as u32, serial: entry.serial }, value)),
            Content::Vacant { .. } => None,
        })
    }

    /// Every value.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| match &mut slot.content {
            Content::Full(value) => Some(value),
            Content::Vacant { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_value_finds_nothing_even_when_its_slot_is_used_again() {
        let mut arena = Arena::new();
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
        let mut arena = Arena::new();
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
}
