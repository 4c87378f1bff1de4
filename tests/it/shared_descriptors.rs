//! A descriptor that another async object drives, of the host or not, is watched all the same
//! (B181).
#![allow(unsafe_code)]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};

/// An end for the two to share, and the end that sends.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, peer)
}

/// A test that hangs fails instead, since its run ends by this stop.
fn limit(io_loop: &IOLoop) {
    let weak = io_loop.downgrade();
    io_loop.call_later(Duration::from_secs(60), move || {
        weak.upgrade().unwrap().stop();
    });
}

/// Sends to a descriptor, and waits until both the loop and the other object have told that it is
/// readable; twice, and once more when the loop's watch has ended.
async fn both_are_told<S, F>(
    io_loop: IOLoop,
    source: Rc<S>,
    mut peer: UnixStream,
    received: impl Fn() -> F,
) where
    S: AsFd + 'static,
    F: Future<Output = ()>,
{
    let called = Rc::new(Cell::new(false));
    let noted = Rc::clone(&called);
    let watch = io_loop.add_reader(source, move |_| noted.set(true)).unwrap();
    for _ in 0..2 {
        called.set(false);
        peer.write_all(b"x").unwrap();
        poll_fn(|cx| {
            if called.get() {
                return Poll::Ready(());
            }
            // Turn after turn.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        received().await;
    }
    assert!(watch.remove());
    peer.write_all(b"x").unwrap();
    received().await;
    assert_eq!(io_loop.metrics().watches, 0);
}

mod with_async_io {
    use async_io::Async;

    use super::*;

    /// What an async object of async-io's does, while the loop watches the same one.
    async fn shared(io_loop: IOLoop) {
        let (ours, peer) = pair();
        let shared = Rc::new(Async::new(ours).unwrap());
        let received = || async {
            let mut byte = [0];
            let n = shared.read_with(|mut stream| stream.read(&mut byte)).await;
            assert_eq!(n.unwrap(), 1);
        };
        both_are_told(io_loop, Rc::clone(&shared), peer, received).await;
    }

    #[test]
    fn by_an_attached_loop_of_the_same_reactor() {
        for kind in [BackendKind::AsyncIo, BackendKind::Smol] {
            if kind.is_compiled() {
                async_io::block_on(async {
                    let io_loop = IOLoop::builder().backend(kind).attach().unwrap();
                    limit(&io_loop);
                    let shared = shared(io_loop.clone());
                    io_loop.run_until(shared).await.unwrap();
                });
            }
        }
    }

    #[test]
    fn by_an_own_loop_of_any_backend() {
        for kind in BackendKind::ALL {
            if kind.is_compiled() {
                let io_loop = IOLoop::builder().backend(kind).build().unwrap();
                limit(&io_loop);
                io_loop.run_sync(shared(io_loop.clone())).unwrap();
            }
        }
    }
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::thread;

    use ioloop::backends::tokio::TokioBackend;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::net;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// A stream of tokio's, which belongs to the runtime that is entered here.
    fn stream() -> (Rc<net::UnixStream>, UnixStream) {
        let (ours, peer) = pair();
        (Rc::new(net::UnixStream::from_std(ours).unwrap()), peer)
    }

    /// What it does, while the loop watches the same one.
    async fn shared_stream(io_loop: IOLoop, (shared, peer): (Rc<net::UnixStream>, UnixStream)) {
        let received = || async {
            loop {
                shared.readable().await.unwrap();
                if shared.try_read(&mut [0]).is_ok_and(|n| n == 1) {
                    return;
                }
            }
        };
        both_are_told(io_loop, Rc::clone(&shared), peer, received).await;
    }

    /// An `AsyncFd` that comes when the loop watches already, and goes before the loop's watch
    /// does.
    async fn shared_fd(io_loop: IOLoop) {
        let (ours, peer) = pair();
        let shared = Rc::new(ours);
        let received = || async {
            // SAFETY: the descriptor stays open as long as the stream that is shared here.
            let other =
                unsafe { AsyncFd::register_with_interest(Rc::clone(&shared), Interest::READABLE) };
            let other = other.unwrap();
            loop {
                let mut ready = other.readable().await.unwrap();
                let read = ready.try_io(|stream| (&**stream.get_ref()).read(&mut [0]));
                if read.is_ok_and(|read| read.is_ok_and(|n| n == 1)) {
                    return;
                }
            }
        };
        both_are_told(io_loop, Rc::clone(&shared), peer, received).await;
    }

    #[test]
    fn by_a_loop_attached_to_the_same_runtime() {
        runtime().block_on(async {
            let io_loop = IOLoop::builder().backend(BackendKind::Tokio).attach();
            let io_loop = io_loop.unwrap();
            limit(&io_loop);
            let shared = shared_stream(io_loop.clone(), stream());
            io_loop.run_until(shared).await.unwrap();
            let shared = shared_fd(io_loop.clone());
            io_loop.run_until(shared).await.unwrap();
        });
    }

    #[test]
    fn by_a_loop_that_owns_the_runtime() {
        let io_loop = IOLoop::builder().backend(BackendKind::Tokio).build();
        let io_loop = io_loop.unwrap();
        limit(&io_loop);
        let stream = io_loop.enter(stream);
        let shared = shared_stream(io_loop.clone(), stream);
        io_loop.run_sync(shared).unwrap();
        io_loop.run_sync(shared_fd(io_loop.clone())).unwrap();
    }

    #[test]
    fn by_a_loop_attached_to_another_runtime() {
        let host = runtime();
        let backend = TokioBackend::attached(host.handle().clone());
        let io_loop = IOLoop::builder().host(backend).attach().unwrap();
        limit(&io_loop);
        // The host's reactor is driven over there, the stream's here.
        let (done, over) = oneshot::channel::<()>();
        let driver = thread::spawn(move || host.block_on(over));
        runtime().block_on(async {
            let shared = shared_stream(io_loop.clone(), stream());
            io_loop.run_until(shared).await.unwrap();
        });
        drop(done);
        driver.join().unwrap().unwrap_err();
    }

    #[test]
    fn by_an_own_loop_of_no_runtime() {
        let host = runtime();
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).build();
        let io_loop = io_loop.unwrap();
        limit(&io_loop);
        let stream = {
            let _entered = host.enter();
            stream()
        };
        let (done, over) = oneshot::channel::<()>();
        let driver = thread::spawn(move || host.block_on(over));
        let shared = shared_stream(io_loop.clone(), stream);
        io_loop.run_sync(shared).unwrap();
        drop(done);
        driver.join().unwrap().unwrap_err();
    }
}
