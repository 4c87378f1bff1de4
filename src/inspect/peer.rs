//! The BSDs and macOS: whose a peer is, and how to write to one that may be gone.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect as connect_to, socket};

/// Whether somebody listens, without a wait: of a process that is stopped nobody may be accepted.
pub(super) fn connect(path: &Path) -> io::Result<()> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    Ok(connect_to(&socket, &SocketAddrUnix::new(path)?)?)
}

/// The user on the other side of a Unix socket.
pub(super) fn user(socket: impl AsFd) -> io::Result<u32> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the descriptor is open, and the two numbers are written to only here.
    match unsafe { libc::getpeereid(socket.as_fd().as_raw_fd(), &raw mut user, &raw mut group) } {
        0 => Ok(user),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes. Rust's standard library has the signal for a peer that is gone ignored.
pub(super) fn write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(socket, bytes)?)
}
