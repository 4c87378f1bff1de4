//! Hosting a loop on a runtime that is not here: writing a [`Backend`](crate::backends::Backend).
//!
//! A loop is one descriptor, which becomes readable when the loop has something to do. So a runtime
//! that can tell when a descriptor is readable can host a loop, and that is all it has to do:
//! order, timers, watches and tasks are the loop's. [`Backend`](crate::backends::Backend) has a
//! whole one in its documentation; the steps are these.
//!
//! 1. *[`register`](crate::backends::Backend::register)* puts the descriptor into the runtime's
//!    reactor, for reading. The loop may take it out again (it drops the
//!    [`Registration`](crate::backends::Registration), which ends it at once) and put it back. It
//!    is called where the loop is made, inside `enter`, but not always inside the runtime's own
//!    `block_on`: a thread-local runtime that has no reactor outside of that registers at the first
//!    `poll_ready`.
//! 2. *[`poll_ready`](crate::backends::Registration::poll_ready)* returns whether it has become
//!    readable, and otherwise arranges for the wake. `Ready` is consumed. If the runtime caches
//!    readiness, clear the cache before returning, so an event that arrives while the loop polls is
//!    kept.
//! 3. *[`enter`](crate::backends::Backend::enter)*, where the runtime's types need a context. It
//!    runs what it is given once.
//! 4. *[`block_on`](crate::backends::Backend::block_on)*, where an own loop cannot park in its own
//!    descriptor, because the runtime makes progress only in its `block_on`; then also
//!    [`is_embeddable`](crate::backends::Backend::is_embeddable) is false.
//!
//! # Who may wake whom
//!
//! The future of an attached loop is woken by two sides: by your reactor, when the descriptor is
//! readable, and by threads that post to the loop, through the waker of the loop's last poll. After
//! each wake the loop polls its descriptors. Where your `poll_ready` always returns `Ready` after a
//! wake of its own, say so with [`is_exact`](crate::backends::Registration::is_exact): then the
//! loop takes `Pending` for "no descriptor became ready", and a post costs a system call less.
//!
//! # Proving it
//!
//! The crate `ioloop-conformance` has the promises of the loop as a test suite that takes a
//! backend: one `cargo add --dev ioloop-conformance` (with `--path` until it is published), and one
//! macro call in an integration test.
//!
//! ```ignore (the suite depends on this crate)
//! use ioloop::IOLoop;
//! use ioloop_conformance::Rig;
//!
//! ioloop_conformance::suite! {
//!     own { mine_own => Rig::own(|| IOLoop::builder().host(Mine::new()).build()), }
//!     attached {
//!         mine_attached => Rig::attached(
//!             || IOLoop::builder().host(Mine::new()).attach(),
//!             |future| my_runtime::block_on(future),
//!         ),
//!     }
//!     embedded {}
//! }
//! ```
//!
//! `conformance/tests/third_party` of the repository has four backends from outside with the suite
//! run over them: a plain one, one whose reactor is made at the first wait, one whose reactor is in
//! a thread-local and there only inside its `block_on`, and one that gives a descriptor back late.
//! Beside them is a foreign loop that implements [`Reactor`](crate::Reactor), with the part of the
//! suite that is for those. `conformance/tests/mutants` has some sixty reactors and backends that
//! each break one promise, with the cases that find each of them out: what goes wrong, and how it
//! shows.
//!
//! # What goes wrong, and how one sees it
//!
//! - *"hangs: a_post_from_another_thread_wakes_a_sleeping_loop"* and the promise's text, from the
//!   suite, after two minutes (`IOLOOP_CONFORMANCE_PATIENCE` is the number of seconds): a wake was
//!   lost. Most often [`poll_ready`](crate::backends::Registration::poll_ready) keeps the waker of
//!   its first poll, or clears its cache at the next poll, and not before it returns `Ready`.
//! - *"the backend `mine` breaks the contract of `Backend`: its `enter` ran what it was given 2
//!   times, and not once"*, or *0 times*: it runs its closure once.
//! - *"the loop cannot run: the backend `mine` breaks the contract of `Backend`: its `block_on`
//!   returned before the `Drive` was done: run it to its end, as a future or by `park`"*: the
//!   runtime has returned for a reason of its own.
//! - *A case that counts descriptors fails*: a [`Registration`](crate::backends::Registration) that
//!   was dropped has to leave the runtime's reactor at once. A runtime of completions asks for that
//!   and waits, as `integration/compio` does.
//! - *A panic of the runtime at `attach`*: the loop is registered outside of the runtime's
//!   `block_on`. Register at the first `poll_ready` instead.
//! - *Timers of the host are late beside a busy loop*: its driver does not get its turn.
//!   [`yield_now`](crate::backends::Backend::yield_now) has to let it.
