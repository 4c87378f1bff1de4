//! Written as after `cargo add ioloop --no-default-features`, for a foreign loop on poll(2).

use std::error::Error;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
use rustix::event::{PollFd, PollFlags, poll};

/// Waits for a timer of an embedded loop. Gives the name of the backend.
///
/// # Errors
///
/// Whatever the loop answers.
pub fn embedded() -> Result<String, Box<dyn Error>> {
    // Whoever embeds names the backend: one on tokio would refuse `turn`.
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
    io_loop.call_later(Duration::from_millis(1), || {
        IOLoop::current().expect("a callback's loop").stop();
    });
    loop {
        let descriptor = io_loop.descriptor()?;
        poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)?;
        if io_loop.turn(Some(Duration::ZERO))?.stopped {
            return Ok(io_loop.backend_name().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn its_loop_is_embedded() {
        assert_eq!(super::embedded().unwrap(), "bare");
    }
}
