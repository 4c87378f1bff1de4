//! Elsewhere than on Linux: there is no descriptor of a process, and a thread waits.

use std::os::fd::OwnedFd;

use rustix::process::Signal;

pub(super) use super::child::by_thread as best;

pub(super) enum Process {}

impl Process {
    pub(super) fn take_edge(&self, _: &OwnedFd) {
        match *self {}
    }

    pub(super) fn state(&self) -> rustix::io::Result<Option<()>> {
        match *self {}
    }

    pub(super) fn send(&self, _: Signal) -> rustix::io::Result<()> {
        match *self {}
    }
}
