//! An object of another connection.

use std::fmt;
use std::time::Duration;

use dbus::arg::{AppendAll, Arg, Get, ReadAll, Variant};
use dbus::message::MatchRule;
use dbus::strings::{BusName, Interface, Member, Path};

use crate::connection::{Connection, method_call};
use crate::error::{Error, invalid};
use crate::reply::Reply;
use crate::signals::Signals;

/// An interface of an object of another connection. It holds the connection; a clone is another.
#[derive(Clone)]
pub struct Proxy {
    connection: Connection,
    destination: String,
    path: String,
    interface: String,
    timeout: Option<Option<Duration>>,
}

impl Proxy {
    pub(crate) fn new(
        connection: Connection,
        destination: &str,
        path: &str,
        interface: &str,
    ) -> Result<Self, Error> {
        BusName::new(destination).map_err(invalid)?;
        Path::new(path).map_err(invalid)?;
        Interface::new(interface).map_err(invalid)?;
        Ok(Proxy {
            connection,
            destination: destination.to_owned(),
            path: path.to_owned(),
            interface: interface.to_owned(),
            timeout: None,
        })
    }

    /// The same object, whose calls wait that long for a reply; `None` is for ever. Otherwise the
    /// [connection's](Connection::set_timeout) is theirs.
    #[must_use = "it is another proxy"]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Calls a method of the object; the rest is as for [`Connection::call`].
    ///
    /// # Errors
    ///
    /// # Panics
    ///
    /// # Cancel safety
    ///
    /// As for [`Connection::call`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(bus: ioloop_dbus::Connection) -> Result<(), ioloop_dbus::Error> {
    /// let notifications = bus.proxy(
    ///     "org.freedesktop.Notifications",
    ///     "/org/freedesktop/Notifications",
    ///     "org.freedesktop.Notifications",
    /// )?;
    /// let (name, _vendor, version, _spec): (String, String, String, String) =
    ///     notifications.call("GetServerInformation", ()).await?;
    /// println!("{name} {version}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<A: AppendAll, T: ReadAll + 'static>(&self, method: &str, args: A) -> Reply<T> {
        self.call_of(&self.interface, method, args)
    }

    /// Reads a property of the object.
    ///
    /// # Errors
    ///
    /// As for [`Connection::call`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Connection::call`].
    pub async fn get<T: Arg + for<'a> Get<'a> + 'static>(
        &self,
        property: &str,
    ) -> Result<T, Error> {
        let reply = self.call_of::<_, (Variant<T>,)>(
            "org.freedesktop.DBus.Properties",
            "Get",
            (&*self.interface, property),
        );
        let (Variant(value),) = reply.await?;
        Ok(value)
    }

    /// The signals of one name that the object emits.
    ///
    /// # Errors
    ///
    /// As for [`Connection::signals`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Connection::signals`].
    pub async fn signals(&self, member: &str) -> Result<Signals, Error> {
        let interface = Interface::new(&*self.interface).map_err(invalid)?;
        let member = Member::new(member).map_err(invalid)?;
        let rule = MatchRule::new_signal(interface, member)
            .with_sender(BusName::new(&*self.destination).map_err(invalid)?)
            .with_path(Path::new(&*self.path).map_err(invalid)?);
        self.connection.signals(rule).await
    }

    fn call_of<A: AppendAll, T: ReadAll + 'static>(
        &self,
        interface: &str,
        method: &str,
        args: A,
    ) -> Reply<T> {
        let call = method_call(&self.destination, &self.path, interface, method, args);
        let driver = &self.connection.driver;
        driver.call(call, self.timeout.unwrap_or(driver.timeout.get()))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("destination", &self.destination)
            .field("path", &self.path)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}
