//! The client against servers of the tests' own that behave and misbehave, in every way there is to
//! run a loop.

mod bench;
mod bodies;
mod ends;
mod faults;
mod http2;
mod limits;
mod requests;
mod scripted;
#[path = "../../../../examples/curl/server.rs"]
mod server;
mod sockets;
mod tap;
