//! A private message bus: on a Unix socket in a temporary directory, and gone with its value.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::Directory;

/// A bus that runs, or was stopped; dropped, it is killed and waited for, and its directory
/// removed.
///
/// It is killed as well when the thread that started it dies, however that happens. It reads no
/// configuration of the machine, starts no services, and lets everybody do everything.
#[derive(Debug)]
pub struct Server {
    process: Child,
    directory: Directory,
}

/// Limits far above what a test needs, since a bus ends the connection that meets one.
const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">100000000</limit>
  <limit name="max_replies_per_connection">100000</limit>
</busconfig>
"#;

impl Server {
    /// Starts a bus; none where `dbus-daemon` is not installed, which is said on standard error.
    ///
    /// # Panics
    ///
    /// The bus cannot be started; or it is not installed, and the variable `CI` is `true`.
    pub fn start_or_skip() -> Option<Server> {
        if !super::is_installed("dbus-daemon") {
            return None;
        }
        let directory = Directory::new("dbus").expect("making a directory");
        let process = launch(&directory).expect("starting dbus-daemon");
        Some(Server { process, directory })
    }

    /// Where a client connects to.
    pub fn address(&self) -> String {
        format!("unix:path={}", socket(&self.directory))
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

    /// Starts it again, with nothing that it knew.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.kill()?;
        fs::remove_file(socket(&self.directory))?;
        self.process = launch(&self.directory)?;
        Ok(())
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

/// Starts a bus, which prints its address once it listens.
fn launch(directory: &Directory) -> io::Result<Child> {
    let configuration = directory.path().join("bus.conf");
    fs::write(&configuration, CONFIGURATION.replace("SOCKET", &socket(directory)))?;
    let mut bus = Command::new("setpriv");
    bus.args(["--pdeathsig", "KILL", "--", "dbus-daemon", "--nofork", "--nopidfile"]);
    bus.args(["--nosyslog", "--print-address"]);
    bus.arg(format!("--config-file={}", configuration.display()));
    bus.stdout(Stdio::piped()).stderr(Stdio::null());
    super::launch(&mut bus, |process| process.stdout.take(), "unix:path=")
}

fn socket(directory: &Directory) -> String {
    directory.path().join("socket").display().to_string()
}
