//! What the trait [`Reactor`](crate::Reactor) is made of, for those who implement it or bind a C
//! library.
//!
//! Code that calls `add_reader`, `call_soon` and `call_later` needs nothing of this module.
//!
//! | who | needs |
//! |---|---|
//! | binds a C library, whose callback gives the direction as a value | [`Direction`] and [`Watcher`], for [`Reactor::watch`](crate::Reactor::watch) |
//! | posts to a reactor from another thread | [`Poster`], which [`Reactor::poster`](crate::Reactor::poster) gives |
//! | wraps a reactor in another | all of these but [`Post`] |
//! | implements [`Reactor`](crate::Reactor) for a loop of another library | [`Callback`] and [`Watcher`], which it calls; [`Owner`], which the handles ask that it returns; [`Post`] and [`Posted`], for other threads |
//!
//! [How a reactor is implemented](crate::Reactor#for-implementors) says what each of them has to
//! keep. In the repository, `drivers/glib` makes a reactor of GLib's main loop.

pub(crate) mod callback;
pub(crate) mod contract;
pub(crate) mod coroutine;
pub(crate) mod grid;
pub(crate) mod guard;
pub(crate) mod handles;
pub(crate) mod hook;
pub(crate) mod lent;
pub(crate) mod post;
pub(crate) mod readiness;
pub(crate) mod refused;
pub(crate) mod time;
pub(crate) mod timer;
pub(crate) mod trigger;
pub(crate) mod watcher;

pub use self::callback::{Callback, Posted};
pub use self::contract::Direction;
pub use self::coroutine::Coroutine;
pub use self::handles::Owner;
pub use self::hook::SleepHook;
pub use self::post::{Post, Poster};
pub use self::watcher::Watcher;
