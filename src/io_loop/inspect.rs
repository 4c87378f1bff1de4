//! What a loop says of itself to those who inspect the process.

use std::rc::Rc;

use crate::engine::local;
use crate::engine::shown::{About, Driven};
use crate::io_loop::IOLoop;

/// Puts a new loop on the list of those there are.
pub(super) fn introduce(io_loop: &IOLoop, name: Option<&str>) {
    let about = About {
        name: name.map(str::to_owned),
        backend: io_loop.backend_name().to_owned(),
        attached: io_loop.is_attached(),
    };
    let engine = Rc::downgrade(&io_loop.inner.engine);
    let describe = move || Some(describe(&IOLoop::of(&*engine.upgrade()?)?));
    io_loop.inner.engine.introduce(about, Box::new(describe));
}

fn describe(io_loop: &IOLoop) -> Driven {
    let embedded = !io_loop.is_attached() && !local::is_blocked();
    Driven { name: io_loop.name().to_owned(), metrics: io_loop.metrics(), embedded }
}
