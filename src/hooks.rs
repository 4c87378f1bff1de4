//! What the hooks around a sleep take and give.
//!
//! A hook is for a library whose work makes no descriptor ready. One has read ahead (OpenSSL). One
//! has to act before its descriptor is polled (Wayland). One has output to flush (X11). One holds a
//! lock that must be free while the loop sleeps (Python). Code without such a library needs nothing
//! of this module.
//!
//! | method | called |
//! |---|---|
//! | [`IOLoop::before_sleep`](crate::IOLoop::before_sleep) | before each sleep, and each poll of a busy loop; returns a [`BeforeSleep`] |
//! | [`IOLoop::after_wake`](crate::IOLoop::after_wake) | once after each round of those |
//! | [`IOLoop::around_sleep`](crate::IOLoop::around_sleep) | around the sleep itself |
//! | [`IOLoop::on_interrupt`](crate::IOLoop::on_interrupt) | when a signal has interrupted a sleep |
//! | [`IOLoop::on_idle`](crate::IOLoop::on_idle) | in turn after turn, while there is nothing else to do |
//!
//! The first two are those of any [`Reactor`](crate::Reactor) that has hooks, for code that is
//! generic over it. Each returns a [`Hook`], which removes it.

pub use crate::reactor::hook::{BeforeSleep, Hook};
