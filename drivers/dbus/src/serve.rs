//! Objects that answer calls.

use std::ffi::CString;
use std::fmt;

use dbus::arg::{AppendAll, ReadAll};
use dbus::strings::{BusName, ErrorName};

use crate::connection::Connection;
use crate::error::{Error, invalid};
use crate::message::Message;

/// What answers the calls of an interface.
pub(crate) type Handler = dyn Fn(MethodCall);

/// A handler of an interface of an object, until it is dropped. It holds the connection.
#[must_use = "an object is served for as long as this is held"]
pub struct Served {
    pub(crate) connection: Connection,
    pub(crate) path: String,
    pub(crate) interface: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.connection.driver.remove_handler(&self.path, &self.interface);
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("path", &self.path)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

/// A call that somebody made, to be answered now or later.
///
/// Dropped without an answer, also by a panic, it answers with the error
/// `org.freedesktop.DBus.Error.Failed`, so the caller does not wait for ever.
#[must_use = "a call that is dropped is answered with an error"]
pub struct MethodCall {
    /// None once it is answered.
    message: Option<Message>,
    member: String,
}

impl MethodCall {
    pub(crate) fn new(message: Message) -> Self {
        let member = message.member().map(|member| member.to_string());
        MethodCall { member: member.unwrap_or_default(), message: Some(message) }
    }

    /// The call as a message: its path, sender, and so on.
    pub fn message(&self) -> &Message {
        let Some(message) = &self.message else { unreachable!("answering takes the call") };
        message
    }

    /// The name of the method.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// The unique name of the caller, such as `:1.42`.
    pub fn sender(&self) -> Option<BusName<'_>> {
        self.message().sender()
    }

    /// The arguments, as a tuple.
    ///
    /// # Errors
    ///
    /// [`Error::Type`]: they are of other types, or too few.
    pub fn read<T: ReadAll>(&self) -> Result<T, Error> {
        self.message().read()
    }

    /// Answers with values, a tuple.
    ///
    /// A caller that wants no reply gets none.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    ///
    /// # Panics
    ///
    /// A string among the values has a NUL in it.
    pub fn reply(mut self, values: impl AppendAll) -> Result<(), Error> {
        let mut reply = self.message().as_libdbus().method_return();
        reply.append_all(values);
        self.answer(reply)
    }

    /// Answers with an error: a name such as `com.example.Error.NoSuchFile`, and what it says to
    /// people.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: the name is none for an error, or the text has a NUL in it, which
    /// answers with `org.freedesktop.DBus.Error.Failed`; or the connection has ended.
    pub fn error(mut self, name: &str, text: &str) -> Result<(), Error> {
        let name = ErrorName::new(name).map_err(invalid)?;
        let text = CString::new(text).map_err(|error| Error::Invalid(error.to_string()))?;
        let reply = self.message().as_libdbus().error(&name, &text);
        self.answer(reply)
    }

    fn answer(&mut self, reply: dbus::Message) -> Result<(), Error> {
        let Some(message) = self.message.take() else { return Ok(()) };
        if message.as_libdbus().get_no_reply() {
            return Ok(());
        }
        let driver = message.driver().ok_or(Error::Closed)?;
        driver.send(reply).map(drop)
    }
}

impl Drop for MethodCall {
    fn drop(&mut self) {
        if let Some(message) = &self.message {
            let name = ErrorName::from("org.freedesktop.DBus.Error.Failed");
            let reply = message.as_libdbus().error(&name, c"the call was not answered");
            // A connection that has ended needs no reply.
            let _ = self.answer(reply);
        }
    }
}

impl fmt::Debug for MethodCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MethodCall").field(&self.message).finish()
    }
}
