//! A private PostgreSQL server: on a Unix socket in a temporary directory, and gone with its value.

use std::env;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use rustix::process::{Signal, geteuid};

use super::Directory;

/// The superuser of the database, and the name of the database that exists.
pub const USER: &str = "postgres";

/// `nobody`: PostgreSQL refuses to run as root, so this is who runs it for root.
const NOBODY: u32 = 65534;

/// Whether there is one to start.
pub fn is_installed() -> bool {
    programs().is_some()
}

/// A server that runs; dropped, it is killed and waited for, and its directory removed.
///
/// It is told to stop as well when the thread that started it dies, however that happens.
#[derive(Debug)]
pub struct Server {
    process: Child,
    directory: Directory,
}

/// How a server is told to stop.
#[derive(Clone, Copy, Debug)]
pub enum Shutdown {
    /// It tells its clients that it shuts down, and then does.
    Fast,
    /// It ends as after a crash.
    Immediate,
}

impl Server {
    /// Starts a server; none where PostgreSQL is not installed, which is said on standard error.
    ///
    /// # Panics
    ///
    /// The server cannot be started; or it is not installed, and the variable `CI` is `true`.
    pub fn start_or_skip() -> Option<Server> {
        let Some(programs) = programs() else {
            super::skip("PostgreSQL");
            return None;
        };
        Some(Server::start(&programs).expect("starting PostgreSQL"))
    }

    fn start(programs: &Path) -> io::Result<Server> {
        let directory = make_directory()?;
        let data = directory.path().join("data");
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb.args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust"]);
        initdb.arg(format!("--username={USER}")).arg("--pgdata").arg(&data);
        let made = initdb.current_dir(directory.path()).output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        Ok(Server { process: launch(programs, &directory)?, directory })
    }

    /// Has it stop, and waits until it has.
    ///
    /// # Errors
    ///
    /// Those of waiting for it.
    pub fn stop(&mut self, how: Shutdown) -> io::Result<()> {
        self.shut_down(how);
        self.process.wait().map(drop)
    }

    /// Starts it with the data that it had, after [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_again(&mut self) -> io::Result<()> {
        let programs = programs().ok_or(io::ErrorKind::NotFound)?;
        self.process = launch(&programs, &self.directory)?;
        Ok(())
    }

    /// The directory of its socket: what a client connects to as its host.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Tells it to stop, and does not wait for that.
    pub fn shut_down(&self, how: Shutdown) {
        let signal = match how {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        super::signal(&self.process, signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Once it has ended, its number may be somebody else's.
        if matches!(self.process.try_wait(), Ok(None)) {
            // Not killed outright: its processes would outlive it for a moment, and its shared
            // memory for good.
            let _ = self.stop(Shutdown::Immediate);
        }
    }
}

/// Starts a server on data that is there; returns when it says that it is ready.
fn launch(programs: &Path, directory: &Directory) -> io::Result<Child> {
    let directory = directory.path();
    let mut postgres = unprivileged(&programs.join("postgres"));
    postgres.arg("-D").arg(directory.join("data")).arg("-k").arg(directory).args(["-h", "", "-F"]);
    postgres.current_dir(directory).stdout(Stdio::null()).stderr(Stdio::piped());
    super::launch(&mut postgres, |process| process.stderr.take(), "ready to accept connections")
}

/// For the sockets and the data, owned by whoever runs the server.
fn make_directory() -> io::Result<Directory> {
    let directory = Directory::new("pg")?;
    if geteuid().is_root() {
        chown(directory.path(), Some(NOBODY), Some(NOBODY))?;
    }
    Ok(directory)
}

/// Where `initdb` and `postgres` are: Debian has them in no directory of `PATH`.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let directories = env::split_paths(&path).chain(debian);
    directories.into_iter().find(|directory| {
        ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
    })
}

/// A command that stops when the thread that spawned it dies, and that root runs as `nobody`.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if geteuid().is_root() {
        command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}"));
        command.arg("--clear-groups");
    }
    command.arg("--").arg(program).env("LC_ALL", "C").stdin(Stdio::null());
    command
}
