//! A key-value store behind a line protocol, client and server, on any loop.
//!
//! Written once over [`Reactor`](ioloop::Reactor): sockets are [`Async`](ioloop::Async), time-outs
//! are [`timeout`](ioloop::timeout), and which runtime there is, if any, is for its users to know.
//!
//! A request is a line, and so is its reply; replies come in the order of the requests, of which
//! any number may be under way. A line ends in `\n` and is UTF-8.
//!
//! | request | reply |
//! |---|---|
//! | `GET key` | `DATA value`, or `NONE` |
//! | `SET key value` | `OK` |
//! | `DELETE key` | `OK`, or `NONE` |
//! | `ECHO text` | `DATA text` |
//! | anything else | `ERROR`, and what is wrong with it |
//!
//! A [`Server`] is a future, which holds its connections and polls them itself: dropping it ends
//! them all. A [`Client`] asks and waits; its two halves ask and listen in two tasks.

mod client;
mod error;
mod lines;
mod protocol;
mod server;
mod socket;

pub use client::{Client, Replies, Requests};
pub use error::Error;
pub use protocol::{BadRequest, Reply, Request};
pub use server::{Limits, Served, Server, Stop};
pub use socket::{Listener, Socket};
