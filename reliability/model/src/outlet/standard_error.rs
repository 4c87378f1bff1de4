//! A standard error that takes nothing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::dup2_stderr;

use super::Outlet;

/// Standard error is this one, for the whole process, until this is dropped.
pub(crate) struct Spoilt {
    before: OwnedFd,
    /// Nobody reads it.
    _reader: Option<OwnedFd>,
}

impl Spoilt {
    pub(crate) fn new(outlet: Outlet) -> Self {
        let before = io::stderr().as_fd().try_clone_to_owned().expect("a standard error");
        let (writer, reader) = writer(outlet).expect("one that takes nothing");
        dup2_stderr(&writer).expect("another standard error");
        Spoilt { before, _reader: reader }
    }
}

impl Drop for Spoilt {
    fn drop(&mut self) {
        dup2_stderr(&self.before).expect("standard error as it was");
    }
}

fn writer(outlet: Outlet) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    match outlet {
        // It is open for reading only, which a write takes for closed.
        Outlet::Closed => Ok((File::open("/dev/null")?.into(), None)),
        #[cfg(target_os = "linux")]
        Outlet::Full => Ok((File::options().write(true).open("/dev/full")?.into(), None)),
        Outlet::Broken => Ok((pipe_with(PipeFlags::CLOEXEC)?.1, None)),
        Outlet::NotReady => {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
            Ok((writer, Some(reader)))
        }
    }
}
