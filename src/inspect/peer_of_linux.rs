//! Linux: whose a peer is, and how to write to one that may be gone.
//!
//! rustix asks for the peer as well. Its answer holds the number of the peer's process, which may
//! not be zero there, and is where the peer is in another container.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, send,
    socket_with,
};

/// Whether somebody listens, without a wait: of a process that is stopped nobody may be accepted.
pub(super) fn connect(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(connect_to(&socket, &SocketAddrUnix::new(path)?)?)
}

/// The user on the other side of a Unix socket.
pub(super) fn user(socket: impl AsFd) -> io::Result<u32> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let fd = socket.as_fd();
    let (value, size) = ((&raw mut found).cast(), &raw mut size);
    // SAFETY: the descriptor is open. The kernel writes `size` bytes at most, which `found` has,
    // and any bytes are a value of its three numbers.
    match unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, value, size)
    } {
        0 => Ok(found.uid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes without a signal if the peer is gone: a program in another language may die of it.
pub(super) fn write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)
}
