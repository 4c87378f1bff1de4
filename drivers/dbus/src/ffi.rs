//! libdbus' socket as watches of a loop. The crate `dbus` does the talking to libdbus, so lending
//! the socket's number is all that is unsafe here.
#![expect(unsafe_code, reason = "libdbus owns its socket")]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use dbus::Message;
use dbus::channel::Channel;
use ioloop::reactor::{Direction, Watcher};
use ioloop::{Guard, Lent, Reactor, Watch};

/// A connection of libdbus' and the watches of its socket.
///
/// The socket is closed inside of a call of libdbus', when that finds it broken, or when the
/// channel is dropped. Both happen in the methods below alone, which end the watches: after the
/// first before they return, before the second.
pub(crate) struct Socket {
    channel: RefCell<Option<Channel>>,
    reader: Side,
    writer: Side,
}

/// One direction of the socket. libdbus has a watch for each, and says which are enabled.
struct Side {
    direction: Direction,
    watch: Cell<Option<Guard<Watch>>>,
    is_enabled: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(mut channel: Channel) -> Self {
        channel.set_watch_enabled(true);
        Socket {
            channel: RefCell::new(Some(channel)),
            reader: Side::new(Direction::Read),
            writer: Side::new(Direction::Write),
        }
    }

    /// Sends a message, or queues what the socket does not take yet; its serial number.
    pub(crate) fn send(&self, message: Message) -> Option<u32> {
        let sent = self.channel.borrow().as_ref()?.send(message).ok();
        self.end_if_broken();
        sent
    }

    /// Reads what has arrived, as far as libdbus goes in one turn, and writes what is queued.
    pub(crate) fn read_write(&self) {
        if let Some(channel) = &*self.channel.borrow() {
            // An error is a broken connection, which is seen below.
            let _ = channel.read_write(Some(Duration::ZERO));
        }
        self.end_if_broken();
    }

    /// The next message of those that were read.
    pub(crate) fn pop(&self) -> Option<Message> {
        self.channel.borrow().as_ref()?.pop_message()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.channel.borrow().as_ref().is_some_and(Channel::is_connected)
    }

    /// Whether libdbus holds messages that the socket did not take yet.
    pub(crate) fn has_output(&self) -> bool {
        self.channel.borrow().as_ref().is_some_and(Channel::has_messages_to_send)
    }

    /// Brings the watches in line with what libdbus waits for; `watcher` makes those that there are
    /// not yet.
    ///
    /// libdbus stops reading while some 60 MB of messages are held, and wants to write while output
    /// is queued.
    ///
    /// # Errors
    ///
    /// Those of watching a descriptor.
    pub(crate) fn follow(
        &self,
        reactor: &Rc<dyn Reactor>,
        watcher: impl Fn(Lent) -> Watcher,
    ) -> io::Result<()> {
        let wanted = match &*self.channel.borrow() {
            Some(channel) if channel.is_connected() => channel.watch(),
            _ => return Ok(()),
        };
        for (side, enabled) in [(&self.reader, wanted.read), (&self.writer, wanted.write)] {
            side.enable(enabled, wanted.fd, reactor, &watcher)?;
        }
        Ok(())
    }

    /// Whether there are watches that were not ended here.
    pub(crate) fn is_watched(&self) -> bool {
        [&self.reader, &self.writer].into_iter().any(Side::is_watched)
    }

    /// Closes the connection.
    pub(crate) fn close(&self) {
        self.unwatch();
        let channel = self.channel.take();
        drop(channel);
    }

    /// libdbus has closed the socket of a connection that it found broken.
    fn end_if_broken(&self) {
        if !self.is_connected() {
            self.unwatch();
        }
    }

    fn unwatch(&self) {
        // Both are taken before one ends: `is_watched` is asked then.
        let watches = (self.reader.watch.take(), self.writer.watch.take());
        drop(watches);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

impl Side {
    fn new(direction: Direction) -> Self {
        Side { direction, watch: Cell::default(), is_enabled: Cell::new(false) }
    }

    fn is_watched(&self) -> bool {
        let watch = self.watch.take();
        let is_watched = watch.is_some();
        self.watch.set(watch);
        is_watched
    }

    fn enable(
        &self,
        enabled: bool,
        fd: RawFd,
        reactor: &Rc<dyn Reactor>,
        watcher: impl Fn(Lent) -> Watcher,
    ) -> io::Result<()> {
        if self.is_enabled.replace(enabled) == enabled {
            return Ok(());
        }
        let watch = match self.watch.take() {
            Some(watch) if !enabled => {
                watch.pause();
                watch
            }
            Some(watch) if watch.resume()? => watch,
            _ if !enabled => return Ok(()),
            _ => {
                // SAFETY: the channel is alive and connected, so the socket is open. The watch ends
                // before the socket is closed, or in the same call: see `Socket`.
                let lent = unsafe { Lent::new(fd) };
                reactor.watch(self.direction, watcher(lent))?.remove_on_drop()
            }
        };
        self.watch.set(Some(watch));
        Ok(())
    }
}
