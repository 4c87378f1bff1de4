//! smol, under whatever executor polls the loop.
//!
//! smol's reactor is async-io's: one for the process, driven by its own thread, or by whoever is in
//! `smol::block_on`. An attached loop is woken through it; an own loop parks in its own descriptor
//! and leaves it alone, so that two own loops do not queue for one reactor.

use std::io;

use crate::Descriptor;
use crate::backends::reactor::Registered;
use crate::backends::{Backend, Registration};

/// Hosts a loop on smol's reactor.
#[derive(Debug, Default)]
pub struct SmolBackend(());

impl SmolBackend {
    /// The backend; there is one reactor, so that there is nothing to choose.
    pub fn new() -> Self {
        SmolBackend(())
    }
}

impl Backend for SmolBackend {
    fn name(&self) -> &str {
        "smol"
    }

    fn register(&self, descriptor: Descriptor) -> io::Result<Box<dyn Registration>> {
        Ok(Box::new(Registered::new(descriptor)?))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}
