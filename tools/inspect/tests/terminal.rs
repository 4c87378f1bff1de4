//! The view on a terminal, as a shell starts it: what it leaves behind.

mod viewer;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use viewer::opened;

/// Begins and ends the screen that the view has for itself.
const SCREEN: [&str; 2] = ["\u{1b}[?1049h", "\u{1b}[?1049l"];

/// A terminal, and the view on it.
struct Shown {
    terminal: File,
    view: Child,
    /// Keeps the terminal when the view has ended.
    _other: File,
}

impl Shown {
    fn of(path: &std::path::Path) -> Shown {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other = File::from(open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ioloop-inspect"));
        // In a group of its own, whose leader has a parent outside of it: otherwise nothing stops it.
        command.arg(path).env("TERM", "xterm").process_group(0);
        command.stdin(other.try_clone().unwrap()).stdout(other.try_clone().unwrap());
        Shown { terminal: terminal.into(), view: command.spawn().unwrap(), _other: other }
    }

    /// Reads until the terminal was told this.
    fn until(&mut self, told: &str) {
        let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains(told) {
            let read = self.terminal.read(&mut bytes).unwrap();
            assert!(read > 0);
            seen.extend(&bytes[..read]);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.view)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = (self.view.kill(), self.view.wait());
    }
}

#[test]
fn a_view_that_a_signal_ends_leaves_the_terminal_as_it_was() {
    let (inspector, _folder) = opened();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut shown = Shown::of(inspector.path());
        shown.until(SCREEN[0]);
        kill_process(shown.pid(), signal).unwrap();
        shown.until(SCREEN[1]);
        // Whoever started it sees that it was the signal.
        assert_eq!(shown.view.wait().unwrap().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn a_view_that_is_stopped_by_its_key_gives_the_terminal_back_and_takes_it_again() {
    let (inspector, _folder) = opened();
    let mut shown = Shown::of(inspector.path());
    shown.until(SCREEN[0]);
    shown.terminal.write_all(b"\x1a").unwrap();
    shown.until(SCREEN[1]);
    let stopped = waitpid(Some(shown.pid()), WaitOptions::UNTRACED).unwrap().unwrap().1;
    assert!(stopped.stopped());
    kill_process(shown.pid(), Signal::CONT).unwrap();
    shown.until(SCREEN[0]);
    shown.terminal.write_all(b"q").unwrap();
    shown.until(SCREEN[1]);
    assert!(shown.view.wait().unwrap().success());
}
