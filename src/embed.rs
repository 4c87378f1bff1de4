//! What a loop gives to a foreign loop, or to another language, that it is embedded in.
//!
//! Code that drives a loop by [`start`](crate::IOLoop::start),
//! [`run_sync`](crate::IOLoop::run_sync) or [`run`](crate::IOLoop::run) needs nothing of this
//! module.
//!
//! | who | needs |
//! |---|---|
//! | drives a loop by [`IOLoop::turn`](crate::IOLoop::turn), inside GLib, winit, calloop, Qt | [`Turn`], which says what a turn left |
//! | binds a language that makes a loop on one thread and runs it on another | [`SendableLoop`] and [`NotSendable`], of [`IOLoop::into_sendable`](crate::IOLoop::into_sendable) |
//! | binds a language whose garbage collector drops handles on any thread | [`Portable`], of [`IOLoop::portable`](crate::IOLoop::portable) |
//!
//! What the foreign loop watches is a [`Descriptor`](crate::backends::Descriptor). The guide has [a
//! page on embedding](crate::guide::embedding).

pub use crate::io_loop::embedded::Turn;
pub use crate::io_loop::portable::Portable;
pub use crate::io_loop::sendable::{NotSendable, SendableLoop};
