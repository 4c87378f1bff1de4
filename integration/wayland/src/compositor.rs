//! A compositor that knows nothing but its display: enough for `sync`.

use std::io;
use std::os::unix::net::UnixStream;

use ioloop::{IOLoop, LoopThread, Reactor};

use crate::ffi::Compositor;

/// Serves the client at the other end of a connection, on a loop of a thread of its own.
///
/// # Errors
///
/// Those of libwayland, and of starting the loop.
pub fn serve(client: UnixStream) -> io::Result<LoopThread> {
    IOLoop::spawn_thread("compositor", move || {
        let io_loop = IOLoop::new()?;
        let compositor = Compositor::new(client)?;
        io_loop.add_reader(compositor.descriptor(), move |_| compositor.dispatch())?;
        Ok(io_loop)
    })
}
