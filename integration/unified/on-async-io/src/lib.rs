//! Written as after `cargo add ioloop`.

use std::error::Error;
use std::thread;

use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop::backends::async_io::AsyncIoBackend;

/// Runs a task on the executor of its loop. Gives the name of the backend.
///
/// # Errors
///
/// Whatever the loop answers.
pub fn on_its_executor() -> Result<String, Box<dyn Error>> {
    // One line: it needs this backend, whatever others are compiled in.
    let io_loop = IOLoop::builder().backend(BackendKind::AsyncIo).build()?;
    let executor = io_loop.backend::<AsyncIoBackend>().ok_or("another backend")?.executor();
    let thread = io_loop.run_sync(executor.spawn(async { thread::current().id() }))?;
    assert_eq!(thread, thread::current().id());
    Ok(io_loop.backend_name().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn its_loop_is_on_async_io() {
        assert_eq!(super::on_its_executor().unwrap(), "async-io");
    }
}
