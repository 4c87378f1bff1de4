//! A private Redis server: on a Unix socket in a temporary directory, and gone with its value.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// A server that runs, or was stopped; dropped, it is killed and waited for, and its directory removed.
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
        let path = env::var_os("PATH").unwrap_or_default();
        if !env::split_paths(&path).any(|directory| directory.join("redis-server").is_file()) {
            assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "redis-server is not installed");
            // Not `eprintln`, whose output the test harness keeps for tests that fail.
            let _ = writeln!(io::stderr(), "SKIPPED: redis-server is not installed");
            return None;
        }
        let directory = Directory::new().expect("making a directory");
        let process = launch(&directory).expect("starting redis-server");
        Some(Server { process, directory })
    }

    /// Where a client connects to.
    pub fn socket(&self) -> PathBuf {
        self.directory.socket()
    }

    /// Has it end its connections in order, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// Those of waiting for it.
    pub fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM);
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
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            // The number is its own unless it was waited for, and then nobody signals it again.
            let _ = kill_process(pid, signal);
        }
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
    redis.arg("--unixsocket").arg(directory.socket()).arg("--dir").arg(&directory.0);
    redis.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = redis.spawn()?;
    let Some(log) = process.stdout.take() else {
        unreachable!("it is piped");
    };
    let mut log = BufReader::new(log);
    let mut said = String::new();
    while !said.contains("The server is now ready to accept connections") {
        if log.read_line(&mut said)? == 0 {
            process.wait()?;
            return Err(io::Error::other(said));
        }
    }
    // The rest is read as well, so that it never waits.
    thread::spawn(move || io::copy(&mut log, &mut io::sink()));
    Ok(process)
}

/// Removed with all that is in it when it is dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Directory> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        // Short, since the path of a socket may have some hundred bytes.
        let name = format!("ioloop-redis-{}-{number}", std::process::id());
        let directory = Directory(env::temp_dir().join(name));
        DirBuilder::new().mode(0o700).create(&directory.0)?;
        Ok(directory)
    }

    fn socket(&self) -> PathBuf {
        Path::join(&self.0, "socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
