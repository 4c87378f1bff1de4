//! What a descriptor is watched for, and what came of it. The bits are those of poll(2), and so of epoll.

use bitflags::bitflags;

bitflags! {
    /// What a handler waits for; see [`IOLoop::add_handler`](crate::IOLoop::add_handler).
    ///
    /// Empty pauses the handler.
    ///
    /// ```
    /// use ioloop::Interest;
    ///
    /// let both = Interest::READ | Interest::WRITE;
    /// assert!(both.contains(Interest::READ));
    /// assert!(Interest::empty().is_empty());
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Interest: u16 {
        /// Something can be read, or accepted, or the end was reached.
        const READ = 1;
        /// Something can be written, or a connection was made.
        const WRITE = 4;
        /// Something urgent came: out-of-band data of a socket, a change of a sysfs attribute.
        ///
        /// The table of mounts, pressure triggers and the files of `/proc/sys` tell a change once,
        /// and a loop that its host polls never: they need [a thread of their
        /// own](crate::guide::threads#files-that-tell-a-change-once).
        const PRIORITY = 2;
        /// The descriptor is in error, for example because its queue of errors (`IP_RECVERR`) is
        /// not empty.
        ///
        /// Errors and hang-ups are told with every other interest too. This one is for those who
        /// wait for nothing else.
        const ERROR = 8;
        /// The peer of a stream socket has ended its writing, or has gone, whatever is unread of
        /// its data.
        ///
        /// Linux tells it. Elsewhere, and with the portable poller, it is refused as
        /// [`Unsupported`](std::io::ErrorKind::Unsupported): watch for `READ` there, and read to
        /// the end.
        const READ_CLOSED = 0x2000;
    }
}

bitflags! {
    /// What a handler was called for.
    ///
    /// `ERROR` and `HANGUP` arrive whether or not they were asked for, as in Tornado. If one arrives alone, the
    /// next read or write returns the error. (On other systems than Linux they come with the `READ` and the `WRITE`
    /// that were asked for.)
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Events: u16 {
        /// Something can be read, or accepted, or the end was reached.
        const READ = 1;
        /// Something can be written, or a connection was made.
        const WRITE = 4;
        /// Something urgent came.
        const PRIORITY = 2;
        /// The descriptor is in error.
        const ERROR = 8;
        /// The peer has hung up, in both directions.
        const HANGUP = 16;
        /// The peer has ended its writing; only for those who asked for it.
        const READ_CLOSED = 0x2000;
    }
}

impl Interest {
    /// Told of what is new, and not again of what stays: edge-triggered, in the kernel's words.
    ///
    /// Not for users. An [`Async`](crate::Async) asks for it while an error stays that its waiters
    /// have seen.
    pub(crate) const EDGE: Interest = Interest::from_bits_retain(0x8000);

    /// What a descriptor is watched for on behalf of two: edge-triggered only if that is enough for
    /// both.
    pub(crate) fn beside(self, other: Interest) -> Interest {
        let both = self | other;
        let suffices = |one: Interest| one.is_empty() || one.contains(Interest::EDGE);
        match both.contains(Interest::EDGE) {
            true if !(suffices(self) && suffices(other)) => both - Interest::EDGE,
            _ => both,
        }
    }
}

impl Events {
    /// What comes to everybody, asked for or not.
    pub(crate) const UNASKED: Events = Events::ERROR.union(Events::HANGUP);

    /// What of these concerns somebody with this interest: an error or a hang-up everybody.
    pub(crate) fn of(self, interest: Interest) -> Events {
        self & (Events::from_bits_truncate(interest.bits()) | Events::UNASKED)
    }

    /// Whether there is something of what was asked for.
    pub(crate) fn answers(self, interest: Interest) -> bool {
        self.intersects(Events::from_bits_truncate(interest.bits()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_needs_level_triggering_gets_it_beside_one_that_does_not() {
        let (read, write, edge) = (Interest::READ, Interest::WRITE, Interest::EDGE);
        assert_eq!((read | edge).beside(write), read | write);
        assert_eq!(read.beside(write | edge), read | write);
        assert_eq!((read | edge).beside(write | edge), read | write | edge);
        assert_eq!((read | edge).beside(Interest::empty()), read | edge);
        assert_eq!(Interest::empty().beside(write | edge), write | edge);
        assert!(!Interest::all().contains(edge), "no user's interest has it");
    }
}
