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
    pub struct Interest: u8 {
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
    }
}

bitflags! {
    /// What a handler was called for.
    ///
    /// `ERROR` and `HANGUP` arrive whether or not they were asked for, as in Tornado. If one arrives alone, the
    /// next read or write returns the error. (On other systems than Linux they come with the `READ` and the `WRITE`
    /// that were asked for.)
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Events: u8 {
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
    }
}

impl Events {
    /// What of these concerns somebody with this interest: an error or a hang-up everybody.
    pub(crate) fn of(self, interest: Interest) -> Events {
        self & (Events::from_bits_truncate(interest.bits()) | Events::ERROR | Events::HANGUP)
    }
}
