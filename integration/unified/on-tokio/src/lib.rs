//! Written as after `cargo add ioloop --no-default-features -F tokio`.

use std::error::Error;
use std::time::Duration;

use ioloop::{IOLoop, Reactor};

/// Spawns on tokio in a callback, and sleeps by its timer. Gives the name of the backend.
///
/// # Errors
///
/// Whatever the loop answers.
pub fn on_its_runtime() -> Result<String, Box<dyn Error>> {
    // No choice: of the backends that are compiled in, tokio comes first.
    let io_loop = IOLoop::new()?;
    io_loop.set_exception_handler(|exception| panic!("{exception}"));
    io_loop.call_soon(|| {
        let task = tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        let io_loop = IOLoop::current().expect("a callback's loop");
        io_loop.add_future(task, |slept| {
            slept.expect("a task that sleeps");
            IOLoop::current().expect("a callback's loop").stop();
        });
    });
    io_loop.start()?;
    Ok(io_loop.backend_name().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn its_loop_is_on_tokio() {
        assert_eq!(super::on_its_runtime().unwrap(), "tokio");
    }
}
