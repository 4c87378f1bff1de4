//! The default: async-io, under whatever executor polls the loop.
//!
//! async-io's reactor is one for the process and is driven by its own thread, or by whoever is in
//! `async_io::block_on`. An attached loop is woken through it; an own loop parks in its own descriptor
//! and leaves it alone, so that two own loops do not queue for one reactor.

use std::io;

use crate::Descriptor;
use crate::backends::reactor::Registered;
use crate::backends::{Backend, Registration};

/// Hosts a loop on async-io's reactor.
#[derive(Debug, Default)]
pub struct AsyncIoBackend(());

impl AsyncIoBackend {
    /// The backend; there is one reactor, so that there is nothing to choose.
    pub fn new() -> Self {
        AsyncIoBackend(())
    }
}

impl Backend for AsyncIoBackend {
    fn name(&self) -> &str {
        "async-io"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered::new(descriptor)?))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}
