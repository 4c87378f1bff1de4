//! Values of the loop's thread that other threads know by a key.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use super::arena::{Arena, Key};
use crate::observe::exceptions::Exceptions;

pub(crate) struct Kept(RefCell<Arena<Rc<dyn Any>>>);

impl Kept {
    pub(crate) const fn new() -> Self {
        Kept(RefCell::new(Arena::new()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().len() == 0
    }

    pub(crate) fn add(&self, value: impl Any) -> Key {
        self.0.borrow_mut().insert(Rc::new(value))
    }

    /// Shares the value, which then outlives the loop if that is closed meanwhile.
    pub(crate) fn get(&self, key: Key) -> Option<Rc<dyn Any>> {
        self.0.borrow().get(key).cloned()
    }

    pub(crate) fn take(&self, key: Key) -> Option<Rc<dyn Any>> {
        self.0.borrow_mut().remove(key)
    }

    /// Drops every value, for a loop that is closed.
    pub(crate) fn clear(&self, exceptions: &Exceptions) {
        let mut values = self.0.replace(Arena::new());
        exceptions.discard_all(values.drain());
    }
}
