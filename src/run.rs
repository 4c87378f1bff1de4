//! The futures that drive an attached loop: what [`run`](crate::IOLoop::run) and
//! [`run_until`](crate::IOLoop::run_until) return.

pub use crate::io_loop::running::{Run, RunUntil};
