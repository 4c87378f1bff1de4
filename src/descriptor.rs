//! What a host or a foreign loop watches of a loop.

use std::sync::Arc;

use crate::system::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A loop's descriptor, for a host or a foreign loop to watch: readable while the loop has
/// something to do.
///
/// [`IOLoop::descriptor`](crate::IOLoop::descriptor) gives it to whoever embeds a loop, and
/// [`Backend::register`](crate::backends::Backend::register) to a runtime. Clones are cheap, and
/// equal. They keep the descriptor open, also after the loop was closed.
///
/// Its number names one open file as long as a clone of it lives, and never another file. `unsafe`
/// code that registers it for reading with a runtime may rely on that. A loop that makes its kernel
/// set anew gets another `Descriptor`.
///
/// On Unix it is an [`AsFd`]. No signature of the contract says more of it than this type: a system
/// on which a loop is waited for by a handle has that in it instead.
///
/// Only wait for it. Code that takes its events by `epoll_wait`, or changes what it watches by
/// `epoll_ctl`, keeps them from the loop.
///
/// ```
/// use ioloop::{IOLoop, backends::BackendKind};
/// use rustix::event::{PollFd, PollFlags, Timespec, poll};
///
/// let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
/// let descriptor = io_loop.descriptor()?;
/// assert_eq!(descriptor, io_loop.descriptor()?);
/// io_loop.stop();
/// let ready = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&Timespec::default()))?;
/// assert_eq!(ready, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// Only this file sees the owner, and gives neither it nor a `&mut` of it away. So the number stays
// open, and the same file, until the last clone is dropped. The `unsafe` in
// backends/tokio/registration.rs argues from that.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<OwnedFd>);

impl Descriptor {
    pub(crate) fn new(owner: OwnedFd) -> Self {
        Descriptor(Arc::new(owner))
    }
}

impl AsFd for Descriptor {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl PartialEq for Descriptor {
    /// Whether both are the same loop's, and it has not made its kernel set anew in between.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Descriptor {}

const _: fn() = || {
    fn assert<T: Send + Sync + Unpin + 'static>() {}
    assert::<Descriptor>();
};
