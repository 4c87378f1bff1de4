//! A connection, and what is called through it.

use std::env;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use dbus::arg::{AppendAll, ReadAll};
use dbus::message::MatchRule;
use dbus::strings::{BusName, Interface, Member, Path};
use ioloop::{Reactor, deferred};

use crate::driver::Driver;
use crate::error::{Error, invalid};
use crate::proxy::Proxy;
use crate::remote::Remote;
use crate::reply::Reply;
use crate::serve::{MethodCall, Served};
use crate::signals::Signals;

/// The bus itself, as a destination.
const BUS: (&str, &str, &str) =
    ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");

/// A connection to a message bus, on a loop. A clone is a share.
///
/// It lives as long as a share, or a [`Proxy`], a stream of [`Signals`] or a [`Served`] that was
/// made of it. Then it is closed, and what libdbus could not send yet is lost: await
/// [`flush`](Self::flush) before. A handler that holds the connection keeps it:
/// [`close`](Self::close) ends that.
///
/// It holds the loop that it was given. Pass a [`WeakIOLoop`](ioloop::WeakIOLoop) where a task or a
/// callback of the loop holds the connection.
#[derive(Clone)]
pub struct Connection {
    pub(crate) driver: Rc<Driver>,
}

impl Connection {
    /// Connects to the bus at an address, such as `unix:path=/run/user/1000/bus`, and waits until
    /// that has given it a name.
    ///
    /// What precedes the wait is done at once: connect(2), which is quick for a Unix socket. An
    /// address of another kind may block for long in libdbus: `tcp:` resolves a name, `autolaunch:`
    /// and `unixexec:` start programs.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`]: there is no bus. [`Error::Disconnected`]: the bus refuses the user.
    /// [`Error::TimedOut`]: it does not answer in 25 seconds. [`Error::Loop`]: the loop is closed,
    /// or has no room for a watch.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ioloop::IOLoop;
    /// use ioloop_dbus::Connection;
    ///
    /// let io_loop = IOLoop::new()?;
    /// let bus = io_loop.run_sync(Connection::open(io_loop.downgrade(), "unix:path=/tmp/bus"))??;
    /// println!("I am {}", bus.unique_name());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn open(reactor: impl Reactor + 'static, address: &str) -> Result<Self, Error> {
        let driver = Driver::open(Rc::new(reactor), address)?;
        let connection = Connection { driver };
        let (name,) = connection.call_bus::<(), (String,)>("Hello", ()).await?;
        // It is asked once.
        let _ = connection.driver.name.set(name);
        Ok(connection)
    }

    /// Connects to the bus of the user's session: at `DBUS_SESSION_BUS_ADDRESS`, or, where that is
    /// not set, at `bus` in `XDG_RUNTIME_DIR`. It never starts a bus.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] too if neither variable is set; otherwise as for [`open`](Self::open).
    ///
    /// # Cancel safety
    ///
    /// As for [`open`](Self::open).
    pub async fn session(reactor: impl Reactor + 'static) -> Result<Self, Error> {
        let address = env::var("DBUS_SESSION_BUS_ADDRESS").or_else(|_| {
            env::var("XDG_RUNTIME_DIR").map(|directory| format!("unix:path={directory}/bus"))
        });
        let address = address.map_err(|_| Error::Connect {
            address: "$DBUS_SESSION_BUS_ADDRESS".into(),
            reason: "neither that nor XDG_RUNTIME_DIR is set".into(),
        })?;
        Self::open(reactor, &address).await
    }

    /// Connects to the bus of the machine: at `DBUS_SYSTEM_BUS_ADDRESS`, or, where that is not set,
    /// at `/run/dbus/system_bus_socket`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    ///
    /// # Cancel safety
    ///
    /// As for [`open`](Self::open).
    pub async fn system(reactor: impl Reactor + 'static) -> Result<Self, Error> {
        let address = env::var("DBUS_SYSTEM_BUS_ADDRESS")
            .unwrap_or_else(|_| "unix:path=/run/dbus/system_bus_socket".into());
        Self::open(reactor, &address).await
    }

    /// The name that the bus has given to the connection, such as `:1.42`.
    pub fn unique_name(&self) -> &str {
        self.driver.name.get().map_or("", String::as_str)
    }

    /// How long a call waits for its reply from now on; `None` is for ever. 25 seconds at first, as
    /// in libdbus.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        self.driver.timeout.set(timeout);
    }

    /// Calls a method. The call is sent at once, and any number may be out; the future is its
    /// reply.
    ///
    /// Arguments and reply are tuples of the types in [`arg`](dbus::arg): see
    /// [the table](crate#types).
    ///
    /// # Errors
    ///
    /// As the future's answer: [`Error::Reply`], that of the other side, or of the bus where there
    /// is no such name; [`Error::Invalid`], a name or path that D-Bus does not allow;
    /// [`Error::Type`], the reply is of other types; [`Error::TimedOut`]; and the end of the
    /// connection.
    ///
    /// # Panics
    ///
    /// A string among the arguments has a NUL in it.
    ///
    /// # Cancel safety
    ///
    /// See [`Reply`]: the call was sent, and dropping the future ends the waiting alone.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(bus: ioloop_dbus::Connection) -> Result<(), ioloop_dbus::Error> {
    /// let bus_itself = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
    /// let (names,): (Vec<String>,) =
    ///     bus.call(bus_itself.0, bus_itself.1, "org.freedesktop.DBus", "ListNames", ()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<A: AppendAll, T: ReadAll + 'static>(
        &self,
        destination: &str,
        path: &str,
        interface: &str,
        method: &str,
        args: A,
    ) -> Reply<T> {
        let call = method_call(destination, path, interface, method, args);
        self.driver.call(call, self.driver.timeout.get())
    }

    /// An object of another connection, to call its methods with less words.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a name or path that D-Bus does not allow.
    pub fn proxy(&self, destination: &str, path: &str, interface: &str) -> Result<Proxy, Error> {
        Proxy::new(self.clone(), destination, path, interface)
    }

    /// Has the bus send the signals that match a rule; they are the stream's.
    ///
    /// # Errors
    ///
    /// As for a [`call`](Self::call): the bus refuses the rule, or the connection has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the rule.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(bus: ioloop_dbus::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::StreamExt;
    /// use ioloop_dbus::MatchRule;
    ///
    /// let rule = MatchRule::new_signal("org.freedesktop.DBus", "NameOwnerChanged");
    /// let mut signals = bus.signals(rule).await?;
    /// while let Some(signal) = signals.next().await {
    ///     let (name, old, new): (String, String, String) = signal.read()?;
    ///     println!("{name}: from {old:?} to {new:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn signals(&self, rule: MatchRule<'_>) -> Result<Signals, Error> {
        Signals::add(self.clone(), rule.static_clone()).await
    }

    /// Sends a signal of an object to whoever listens.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a name or path that D-Bus does not allow; or the connection has ended.
    ///
    /// # Panics
    ///
    /// A string among the arguments has a NUL in it.
    pub fn emit(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        args: impl AppendAll,
    ) -> Result<(), Error> {
        let path = Path::new(path).map_err(invalid)?;
        let interface = Interface::new(interface).map_err(invalid)?;
        let member = Member::new(member).map_err(invalid)?;
        let mut signal = dbus::Message::signal(&path, &interface, &member);
        signal.append_all(args);
        self.driver.send(signal).map(drop)
    }

    /// Has `handler` answer the calls of an interface of an object, until the [`Served`] is
    /// dropped.
    ///
    /// The loop calls it, one call a time, never inside of libdbus. It may answer at once, or move
    /// the call into a task that does. `org.freedesktop.DBus.Peer` is answered without a handler,
    /// and a call that has none gets the error `UnknownMethod`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a path or interface that D-Bus does not allow; [`Error::Served`]: there
    /// is a handler; or the connection has ended.
    ///
    /// # Panics
    ///
    /// A handler that panics is reported by the loop, its caller gets an error, and it goes on
    /// serving.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(bus: ioloop_dbus::Connection) -> Result<(), ioloop_dbus::Error> {
    /// let served = bus.serve("/calculator", "com.example.Calculator", |call| {
    ///     let answered = match (call.member(), call.read::<(i32, i32)>()) {
    ///         ("Add", Ok((a, b))) => call.reply((a + b,)),
    ///         _ => call.error("com.example.Error.Unknown", "there is Add(ii)"),
    ///     };
    ///     // An error is the end of the connection, after which nobody waits for an answer.
    ///     let _ = answered;
    /// })?;
    /// bus.request_name("com.example.Calculator").await?;
    /// bus.disconnected().await;
    /// # drop(served);
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve(
        &self,
        path: &str,
        interface: &str,
        handler: impl Fn(MethodCall) + 'static,
    ) -> Result<Served, Error> {
        Path::new(path).map_err(invalid)?;
        Interface::new(interface).map_err(invalid)?;
        if let Some(error) = self.driver.ended() {
            return Err(error);
        }
        let (path, interface) = (path.to_owned(), interface.to_owned());
        if !self.driver.add_handler(&path, &interface, Rc::new(handler)) {
            return Err(Error::Served { path, interface });
        }
        Ok(Served { connection: self.clone(), path, interface })
    }

    /// Asks the bus for a well-known name, such as `com.example.Calculator`. The bus keeps it for
    /// the connection until [`release_name`](Self::release_name), or the end of it.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`]: it has another owner, and this connection is not queued for it.
    /// Otherwise as for a [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// The bus was asked, and may give the name also when the future is dropped.
    pub async fn request_name(&self, name: &str) -> Result<(), Error> {
        const DO_NOT_QUEUE: u32 = 4;
        const PRIMARY_OWNER: u32 = 1;
        const ALREADY_OWNER: u32 = 4;
        let (answer,) = self.call_bus::<_, (u32,)>("RequestName", (name, DO_NOT_QUEUE)).await?;
        match answer {
            PRIMARY_OWNER | ALREADY_OWNER => Ok(()),
            _ => Err(Error::NameTaken(name.to_owned())),
        }
    }

    /// Gives a name back to the bus; false if the connection does not own it.
    ///
    /// # Errors
    ///
    /// As for a [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// The bus was asked, whether or not the future is dropped.
    pub async fn release_name(&self, name: &str) -> Result<bool, Error> {
        const RELEASED: u32 = 1;
        let (answer,) = self.call_bus::<_, (u32,)>("ReleaseName", (name,)).await?;
        Ok(answer == RELEASED)
    }

    /// Waits until all that was sent has been handed to the kernel.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn flush(&self) -> Result<(), Error> {
        let (resolver, flushed) = deferred();
        self.driver.flush(resolver);
        flushed.await.unwrap_or(Err(Error::Closed))
    }

    /// Waits for the end of the connection, and gives its reason: [`Error::Disconnected`] where the
    /// bus ended it, [`Error::Closed`] where this side did.
    ///
    /// A connection is not made again: names, rules and the state of the other side would be lost
    /// in silence.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn disconnected(&self) -> Error {
        let (resolver, end) = deferred();
        self.driver.await_end(resolver);
        end.await.unwrap_or(Error::Closed)
    }

    /// Closes the connection, for all its shares. Calls that are out answer [`Error::Closed`],
    /// streams end, handlers are dropped.
    pub fn close(&self) {
        self.driver.end_with(Error::Closed);
    }

    /// A handle for other threads, whose calls wake the loop.
    ///
    /// The first of a connection takes a descriptor and a watch of the loop, until the connection
    /// has ended and the last of them was dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Loop`]: there is no descriptor left; or the connection has ended.
    pub fn remote(&self) -> Result<Remote, Error> {
        if let Some(error) = self.driver.ended() {
            return Err(error);
        }
        if let Some(remote) = &*self.driver.remote.borrow() {
            return Ok(remote.clone());
        }
        let remote = Remote::new(&self.driver)?;
        self.driver.remote.replace(Some(remote.clone()));
        Ok(remote)
    }

    /// Calls a method of the bus itself.
    pub(crate) fn call_bus<A: AppendAll, T: ReadAll + 'static>(
        &self,
        method: &str,
        args: A,
    ) -> Reply<T> {
        self.driver.call(bus_call(method, args), self.driver.timeout.get())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("unique_name", &self.unique_name())
            .field("end", &self.driver.ended())
            .finish_non_exhaustive()
    }
}

/// A call of a method of the bus itself.
pub(crate) fn bus_call(method: &str, args: impl AppendAll) -> Result<dbus::Message, Error> {
    let (destination, path, interface) = BUS;
    method_call(destination, path, interface, method, args)
}

/// A call as a message.
///
/// # Errors
///
/// A name or path that D-Bus does not allow.
pub(crate) fn method_call(
    destination: &str,
    path: &str,
    interface: &str,
    method: &str,
    args: impl AppendAll,
) -> Result<dbus::Message, Error> {
    let destination = BusName::new(destination).map_err(invalid)?;
    let path = Path::new(path).map_err(invalid)?;
    let interface = Interface::new(interface).map_err(invalid)?;
    let method = Member::new(method).map_err(invalid)?;
    let mut call = dbus::Message::method_call(&destination, &path, &interface, &method);
    call.append_all(args);
    Ok(call)
}
