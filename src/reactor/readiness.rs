//! What a descriptor is watched for, and which events arrived. The bits are those of poll(2), and
//! so of epoll.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

/// Declares a set of named bits, with its operators.
macro_rules! bits {
    (
        $(#[$doc:meta])*
        $set:ident {
            $($(#[$bit_doc:meta])* $bit:ident = $value:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $set(u16);

        impl $set {
            $($(#[$bit_doc])* pub const $bit: $set = $set($value);)*

            /// None of them.
            pub const fn empty() -> Self {
                $set(0)
            }

            /// All of them.
            pub const fn all() -> Self {
                $set(0 $(| $value)*)
            }

            /// Whether none is in the set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether all of `other` are in the set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any of `other` is in the set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// As bits of poll(2).
            pub const fn bits(self) -> u16 {
                self.0
            }

            /// Of bits of poll(2) those that have a name here.
            pub const fn from_bits_truncate(bits: u16) -> Self {
                $set(bits & Self::all().0)
            }

            /// Puts `other` into the set, or takes it out.
            pub fn set(&mut self, other: Self, is_in: bool) {
                *self = if is_in { *self | other } else { *self - other };
            }
        }

        impl BitOr for $set {
            type Output = Self;

            /// Those in either.
            fn bitor(self, other: Self) -> Self {
                $set(self.0 | other.0)
            }
        }

        impl BitOrAssign for $set {
            fn bitor_assign(&mut self, other: Self) {
                *self = *self | other;
            }
        }

        impl BitAnd for $set {
            type Output = Self;

            /// Those in both.
            fn bitand(self, other: Self) -> Self {
                $set(self.0 & other.0)
            }
        }

        impl Sub for $set {
            type Output = Self;

            /// Those that are not in `other`.
            fn sub(self, other: Self) -> Self {
                $set(self.0 & !other.0)
            }
        }

        impl SubAssign for $set {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl fmt::Debug for $set {
            /// The names, as they are written in code.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names = [$(($set::$bit, stringify!($bit)),)*];
                let here: Vec<&str> =
                    names.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| *name).collect();
                write!(f, "{}({})", stringify!($set), here.join(" | "))
            }
        }
    };
}

bits! {
    /// What a handler waits for; see [`Reactor::add_handler`](crate::Reactor::add_handler).
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
    Interest {
        /// Something can be read, or accepted, or the end was reached.
        READ = 1,
        /// Something can be written, or a connection was made.
        WRITE = 4,
        /// Something urgent arrived: out-of-band data of a socket, a change of a sysfs attribute.
        ///
        /// The table of mounts, pressure triggers and the files of `/proc/sys` report a change
        /// once. Where a host polls the loop, the host gets that report and the loop does not. Give
        /// them [a thread of their own](crate::guide::threads#files-that-tell-a-change-once).
        PRIORITY = 2,
        /// The descriptor is in error, for example because its queue of errors (`IP_RECVERR`) is
        /// not empty.
        ///
        /// Errors and hang-ups are reported with every other interest too. This one is for a
        /// handler that waits for nothing else.
        ERROR = 8,
        /// The peer of a stream socket has ended its writing, or has gone, whatever is unread of
        /// its data.
        ///
        /// Linux reports it. Elsewhere, and with the portable poller, it is refused as
        /// [`Unsupported`](std::io::ErrorKind::Unsupported): watch for `READ` there, and read to
        /// the end.
        READ_CLOSED = 0x2000,
    }
}

bits! {
    /// What a handler was called for.
    ///
    /// `ERROR` and `HANGUP` arrive whether or not they were asked for, as in Tornado. If one
    /// arrives alone, the next read or write returns the error. (On systems other than Linux they
    /// arrive with the `READ` and the `WRITE` that were asked for.)
    Events {
        /// Something can be read, or accepted, or the end was reached.
        READ = 1,
        /// Something can be written, or a connection was made.
        WRITE = 4,
        /// Something urgent arrived.
        PRIORITY = 2,
        /// The descriptor is in error.
        ERROR = 8,
        /// The peer has hung up, in both directions.
        HANGUP = 16,
        /// The peer has ended its writing; only for those who asked for it.
        READ_CLOSED = 0x2000,
    }
}

impl Interest {
    /// Reported once for each new event, and not again while it stays: edge-triggered, in the
    /// kernel's words.
    ///
    /// Not for users. An [`Async`](crate::Async) asks for it while an error stays that its waiters
    /// have seen, and for a socket that it has read empty. A reader is told of
    /// [`Events::BESIDE_DATA`] with it, which may be all that is left after a read. It saves work and
    /// no more: whoever does not know it watches level-triggered.
    pub(crate) const EDGE: Interest = Interest(0x8000);

    /// Whether it is a reader's, and edge-triggered.
    pub(crate) fn reads_by_edges(self) -> bool {
        self.contains(Interest::READ | Interest::EDGE)
    }

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
    /// What arrives with every interest.
    pub(crate) const UNASKED: Events = Events(Events::ERROR.0 | Events::HANGUP.0);

    /// With one of these, more may be there after a read that left room: the end, an error, or what
    /// is behind urgent data.
    pub(crate) const BESIDE_DATA: Events =
        Events(Events::UNASKED.0 | Events::READ_CLOSED.0 | Events::PRIORITY.0);

    /// Those that concern this interest. An error and a hang-up concern each.
    pub(crate) fn of(self, interest: Interest) -> Events {
        let unasked = if interest.reads_by_edges() { Events::BESIDE_DATA } else { Events::UNASKED };
        self & (Events::from_bits_truncate(interest.bits()) | unasked)
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

    #[test]
    fn a_set_is_what_its_operators_make_of_it() {
        let (read, write) = (Interest::READ, Interest::WRITE);
        let mut set = read | write;
        assert!(set.contains(read) && set.contains(write) && set.intersects(read));
        assert!(set.contains(Interest::empty()) && !set.intersects(Interest::PRIORITY));
        set -= read;
        assert_eq!(set, write);
        set.set(Interest::ERROR, true);
        set.set(write, false);
        assert_eq!(set, Interest::ERROR);
        set |= read;
        assert_eq!((set & read, set - read), (read, Interest::ERROR));
        assert_eq!(format!("{set:?}"), "Interest(READ | ERROR)");
        assert_eq!(format!("{:?}", Events::empty()), "Events()");
        assert!(Events::all().contains(Events::HANGUP) && Interest::empty().is_empty());
        assert_eq!(Events::from_bits_truncate(0x8000 | 1), Events::READ, "no bit without a name");
    }
}
