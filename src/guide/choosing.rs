//! Choosing among tokio, smol, calloop, mio and this.
//!
//! | | take it for | it does better than this crate |
//! |---|---|---|
//! | tokio | a server that uses all cores, and the libraries made for it | work stealing; an ecosystem; Windows; io_uring is on its way |
//! | smol, async-io | small async programs; libraries in futures-io's terms | Windows; macOS and BSD tested; `Send` tasks on many threads |
//! | calloop | a Wayland compositor, a desktop program on one thread | event sources as objects with state; kqueue and IOCP tested |
//! | mio | the bottom of a runtime that you write | edges without a callback table: the least there is; Windows |
//! | GLib, Qt, libuv | a program that lives in their world | everything that belongs to that world |
//!
//! *Take this crate* if you want level-triggered callbacks or `!Send` tasks on the runtime that you
//! have, if your library must not choose, if something from another world has to come along, or if
//! you come from Tornado or asyncio. *Do not take it* for CPU-bound work on many threads (a
//! [pool](super::executors) spreads tasks, and no more), nor on Windows. If all you need is `await`
//! on sockets under tokio, tokio is enough.
//!
//! They go together: an attached loop is a guest of tokio's or smol's, and costs the host one
//! descriptor.
//!
//! # Programs that hang on a raw `AsyncFd` or `Async`
//!
//! A runtime's readiness is made for code that reads until it is told "would block", through a
//! descriptor that it owns. C libraries do neither. What happens then, in a few lines each
//! (`tests/it/raw_readiness.rs` keeps them as tests, with the same on this crate):
//!
//! - *Bytes that are left over.* tokio keeps an edge. After a partial read and "clear ready", the
//!   `readable` of tokio's `AsyncFd` does not return again for the bytes that are there already.
//!   Here a reader is called until it has read everything.
//! - *The same descriptor twice.* tokio and async-io each refuse a second registration with
//!   `EEXIST`: a library's socket cannot be watched by the library and by you. Here the loop's set
//!   is its own.
//! - *A number that is closed and used again.* Dropping a stale tokio registration removes the new
//!   one of the same number, and the new descriptor is silent for ever; async-io returns `ENOENT`.
//!   Here the new watch works, and the old callback is never called.
//!
//! # What it costs
//!
//! `PERFORMANCE.md` in the repository has the numbers, with one command to repeat them: an own loop
//! beside a raw epoll loop, and an attached one beside its host's own tasks.
//!
//! # What goes wrong, and how one sees it
//!
//! That the choice was another one's, one sees by this:
//!
//! - *One processor is at 100 %, the others are idle, and everything is late*: a loop is one
//!   thread. [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold) names what
//!   holds it: *"a task held the loop up for 1.5s, from src/main.rs:20:13"*. Computing goes to
//!   [`run_in_executor`](crate::IOLoop::run_in_executor), or the program to tokio.
//! - *"ioloop runs on Unix only: it watches descriptors through one that can be watched itself,
//!   which Windows and WASM do not have"*: it does not compile for Windows. tokio, smol and mio do.
//! - *"cannot watch descriptor 7: regular files, directories and devices like /dev/null are always
//!   ready, and epoll refuses them; use a blocking thread"*: readiness says nothing about files. A
//!   runtime on io_uring reads them without a thread.
//! - *Everything goes through* [`bridge`](crate::bridge): most of the program is of another
//!   runtime's world. Attach the loop to that runtime, and drop the bridges; if no callback is left
//!   then, drop the loop.
//! - *A profile shows the host's wake-ups*: an attached loop costs its host one for each of its
//!   events. Where the loop is most of the program, make it an own one.
