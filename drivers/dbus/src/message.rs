//! A message as it arrived.

use std::fmt;
use std::rc::{Rc, Weak};

use dbus::Path;
use dbus::arg::ReadAll;
use dbus::strings::{BusName, Interface, Member};

use crate::driver::{self, Driver};
use crate::error::Error;

/// A message as it arrived. A clone is a share.
///
/// libdbus stops reading from the bus while some 60 MB of messages are held, and goes on when they
/// are dropped.
#[derive(Clone)]
pub struct Message(Rc<Held>);

struct Held {
    /// None only while it is dropped.
    message: Option<dbus::Message>,
    driver: Weak<Driver>,
}

impl Message {
    pub(crate) fn new(message: dbus::Message, driver: Weak<Driver>) -> Self {
        Message(Rc::new(Held { message: Some(message), driver }))
    }

    pub(crate) fn as_libdbus(&self) -> &dbus::Message {
        let Some(message) = &self.0.message else { unreachable!("it is being dropped") };
        message
    }

    pub(crate) fn driver(&self) -> Option<Rc<Driver>> {
        self.0.driver.upgrade()
    }

    /// The object that it is from, or for.
    pub fn path(&self) -> Option<Path<'_>> {
        self.as_libdbus().path()
    }

    /// The interface of its method or signal.
    pub fn interface(&self) -> Option<Interface<'_>> {
        self.as_libdbus().interface()
    }

    /// The name of its method or signal.
    pub fn member(&self) -> Option<Member<'_>> {
        self.as_libdbus().member()
    }

    /// The unique name of the connection that sent it, such as `:1.42`.
    pub fn sender(&self) -> Option<BusName<'_>> {
        self.as_libdbus().sender()
    }

    /// Its arguments, as a tuple of Rust's types; those behind the last one are not read.
    ///
    /// # Errors
    ///
    /// [`Error::Type`]: they are of other types, or too few.
    pub fn read<T: ReadAll>(&self) -> Result<T, Error> {
        driver::read(self.as_libdbus())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_libdbus().fmt(f)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.message.take());
        if let Some(driver) = self.driver.upgrade() {
            // libdbus may read again.
            driver.follow();
        }
    }
}
