//! What a server of a test's own needs: a directory that goes with it, and a start that waits until
//! it is ready.

pub mod dbus;
pub mod postgres;
pub mod redis;

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// Says on standard error that a program is not installed.
///
/// # Panics
///
/// The variable `CI` is `true`: there everything has to be installed.
pub fn skip(program: &str) {
    assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "{program} is not installed");
    // Not `eprintln`, whose output the test harness keeps for tests that fail.
    let _ = writeln!(io::stderr(), "SKIPPED: {program} is not installed");
}

/// Whether a program is installed, in a directory of `PATH`; where it is not, that is said as by
/// [`skip`].
///
/// # Panics
///
/// As for [`skip`].
pub fn is_installed(program: &str) -> bool {
    let found = in_path(program);
    if !found {
        skip(program);
    }
    found
}

/// Whether a program is in a directory of `PATH`.
pub fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Starts a server, and reads what it logs on one of its two outputs until it says that it is
/// ready.
///
/// # Errors
///
/// It cannot be started, or it ended before: then what it has said is the error.
pub fn launch<L: Read + Send + 'static>(
    command: &mut Command,
    log: impl FnOnce(&mut Child) -> Option<L>,
    ready: &str,
) -> io::Result<Child> {
    let mut process = command.stdin(Stdio::null()).spawn()?;
    let Some(log) = log(&mut process) else {
        unreachable!("it is piped");
    };
    let mut log = BufReader::new(log);
    let mut said = String::new();
    while !said.contains(ready) {
        if log.read_line(&mut said)? == 0 {
            process.wait()?;
            return Err(io::Error::other(said));
        }
    }
    // The rest is read as well, so the server never waits.
    thread::spawn(move || io::copy(&mut log, &mut io::sink()));
    Ok(process)
}

/// Sends a signal to a server that was not waited for, so its number is still its own.
pub fn signal(process: &Child, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.id() as i32) {
        let _ = kill_process(pid, signal);
    }
}

/// Removed with all that is in it when it is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes one for this user alone. Its name is short, since the path of a socket may have some
    /// hundred bytes.
    ///
    /// # Errors
    ///
    /// Those of making a directory.
    pub fn new(kind: &str) -> io::Result<Directory> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("ioloop-{kind}-{}-{number}", std::process::id());
        let directory = Directory(env::temp_dir().join(name));
        DirBuilder::new().mode(0o700).create(&directory.0)?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
