//! Futures on the loop: tasks, and what async code needs of any `Reactor`.

pub(crate) mod async_source;
pub(crate) mod deferred;
mod io;
mod net;
pub(crate) mod spawn;
mod waiters;
