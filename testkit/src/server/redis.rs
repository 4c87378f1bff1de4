//! A private Redis server: on a Unix socket in a temporary directory, and gone with its value.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::Directory;

/// A server that runs, or was stopped; dropped, it is killed and waited for, and its directory
/// removed.
///
/// It is killed as well when the thread that started it dies, however that happens.
#[derive(Debug)]
pub struct Server {
    process: Child,
    directory: Directory,
}

impl Server {
    /// Starts a server; none where Redis is not installed, which is said on standard error.
    ///
    /// # Panics
    ///
    /// The server cannot be started; or it is not installed, and the variable `CI` is `true`.
    pub fn start_or_skip() -> Option<Server> {
        if !super::is_installed("redis-server") {
            return None;
        }
        let directory = Directory::new("redis").expect("making a directory");
        let process = launch(&directory).expect("starting redis-server");
        Some(Server { process, directory })
    }

    /// Where a client connects to.
    pub fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// Has it end its connections in order, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// Those of waiting for it.
    pub fn stop(&mut self) -> io::Result<()> {
        super::signal(&self.process, Signal::TERM);
        self.process.wait().map(drop)
    }

    /// Starts it again, without its data, and waits until it can be connected to.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.kill()?;
        self.process = launch(&self.directory)?;
        Ok(())
    }

    /// Kills it outright, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// Those of waiting for it.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Stops its process, as if it were busy for ever, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        super::signal(&self.process, Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        super::signal(&self.process, Signal::CONT);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Starts a server, and reads what it logs until it says that it is ready.
fn launch(directory: &Directory) -> io::Result<Child> {
    let mut redis = Command::new("setpriv");
    redis.args(["--pdeathsig", "KILL", "--", "redis-server", "--port", "0", "--save", ""]);
    redis.arg("--unixsocket").arg(socket(directory)).arg("--dir").arg(directory.path());
    redis.stdout(Stdio::piped()).stderr(Stdio::null());
    let ready = "The server is now ready to accept connections";
    super::launch(&mut redis, |process| process.stdout.take(), ready)
}

fn socket(directory: &Directory) -> PathBuf {
    directory.path().join("socket")
}
