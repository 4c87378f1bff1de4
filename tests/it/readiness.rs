//! What comes on a descriptor beside data: errors, urgent data, the peer's end, and the end of the
//! watch itself.
#![allow(unsafe_code)]
// What the portable poller cannot tell is tested with epoll alone.
#![cfg_attr(ioloop_portable, allow(unused_imports, dead_code))]

use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::backends::BackendKind;
use ioloop::{Async, IOLoop, Reactor, os_error, timeout};
use rustix::fs::{OFlags, fcntl_getfl};

use testkit::ways::{Way, every_way};

/// Fails where the loop does not sleep while `future` waits for what does not come.
fn assert_sleeps<F: Future>(way: &Way, io_loop: &IOLoop, future: F) {
    /// More than a time-out takes anywhere; a loop that spins makes thousands.
    const FEW: u64 = 30;
    let polls = io_loop.metrics().polls;
    let waited = way.run(io_loop, timeout(io_loop, Duration::from_millis(20), future));
    assert!(waited.is_err(), "{}: it came", way.name);
    let polls = io_loop.metrics().polls - polls;
    assert!(polls <= FEW, "{}: the loop spins: {polls} polls", way.name);
}

fn is_pending<F: Future>(future: F) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn is_nonblocking(file: impl AsFd) -> bool {
    fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK)
}

/// What only epoll tells, and tells apart.
#[cfg(all(target_os = "linux", not(ioloop_portable)))]
mod on_linux {
    use std::mem;

    use ioloop::{Events, Interest};
    use rustix::net::SendFlags;

    use super::*;

    /// A socket that keeps the errors of what it sent.
    fn with_error_queue(io_loop: &IOLoop) -> Async<UdpSocket> {
        let socket = Async::<UdpSocket>::bind(io_loop, "127.0.0.1:0").unwrap();
        let on: libc::c_int = 1;
        // SAFETY: the option takes an integer, and its size is given.
        let set = unsafe {
            libc::setsockopt(
                socket.get_ref().as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_RECVERR,
                (&raw const on).cast(),
                mem::size_of_val(&on) as libc::socklen_t,
            )
        };
        assert_eq!(set, 0);
        socket
    }

    /// An address that nobody listens on.
    fn nowhere() -> SocketAddr {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Takes an error out of the queue.
    fn take_error(socket: &UdpSocket) -> io::Result<()> {
        let (mut data, mut control) = ([0_u8; 64], [0_u8; 512]);
        let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
        // SAFETY: all of it may be zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len() as _;
        // SAFETY: the pointers and lengths are those of the buffers above.
        let n = unsafe {
            libc::recvmsg(
                socket.as_raw_fd(),
                &raw mut message,
                libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
            )
        };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    // B273
    #[test]
    fn receiving_took_a_full_processor_after_the_first_error_in_a_queue() {
        every_way(|way| {
            let io_loop = way.io_loop();
            let socket = with_error_queue(&io_loop);
            let address = socket.get_ref().local_addr().unwrap();
            let mut buffer = [0; 8];
            way.run(&io_loop, socket.send_to(b"ping", nowhere())).unwrap();
            let refused = way.run(&io_loop, socket.recv_from(&mut buffer)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            // The error is in the queue still.
            assert_sleeps(way, &io_loop, socket.recv_from(&mut buffer));
            assert_sleeps(way, &io_loop, socket.readable_again());
            assert_sleeps(way, &io_loop, async {
                std::future::poll_fn(|cx| {
                    while socket.poll_readable(cx)?.is_ready() {}
                    Poll::<io::Result<()>>::Pending
                })
                .await
            });

            // What comes meanwhile is received, all of it, one for each call.
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            io_loop.call_later(Duration::from_millis(1), move || {
                for n in 0..5 {
                    sender.send_to(&[n], address).unwrap();
                }
            });
            for n in 0..5 {
                let (length, _) = way.run(&io_loop, socket.recv_from(&mut buffer)).unwrap();
                assert_eq!(buffer[..length], [n]);
            }
            assert_sleeps(way, &io_loop, socket.recv_from(&mut buffer));
            // And the next error.
            way.run(&io_loop, socket.send_to(b"ping", nowhere())).unwrap();
            let refused = way.run(&io_loop, socket.recv_from(&mut buffer)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            // Taken out, nothing is left of it.
            while take_error(socket.get_ref()).is_ok() {}
            assert_sleeps(way, &io_loop, socket.recv_from(&mut buffer));
        });
    }

    /// `readable` again and again, by one who finds nothing to read each time.
    trait ReadableAgain {
        async fn readable_again(&self) -> io::Result<()>;
    }

    impl ReadableAgain for Async<UdpSocket> {
        async fn readable_again(&self) -> io::Result<()> {
            loop {
                self.readable().await?;
            }
        }
    }

    // B273
    #[test]
    fn an_error_can_be_waited_for_beside_a_read_that_waits() {
        every_way(|way| {
            let io_loop = way.io_loop();
            let socket = Rc::new(with_error_queue(&io_loop));
            assert!(is_pending(socket.ready(Interest::ERROR)));
            assert_sleeps(way, &io_loop, socket.ready(Interest::ERROR));
            let reading = Rc::clone(&socket);
            let reader = io_loop.spawn(async move {
                let mut errors = 0;
                loop {
                    match reading.recv_from(&mut [0; 8]).await {
                        Ok(_) => return errors,
                        Err(_) => errors += 1,
                    }
                }
            });
            for _ in 0..3 {
                way.run(&io_loop, socket.send_to(b"ping", nowhere())).unwrap();
                for _ in 0..2 {
                    let came = way.run(&io_loop, socket.ready(Interest::ERROR)).unwrap();
                    assert_eq!(came, Events::ERROR, "until it is taken");
                }
                assert!(!reader.is_finished());
                while take_error(socket.get_ref()).is_ok() {}
                assert_sleeps(way, &io_loop, socket.ready(Interest::ERROR));
            }
            let address = socket.get_ref().local_addr().unwrap();
            way.run(&io_loop, socket.send_to(b"x", address)).unwrap();
            assert!(way.run(&io_loop, reader).unwrap() <= 3);
        });
    }

    // B273
    #[test]
    fn urgent_data_can_be_waited_for() {
        every_way(|way| {
            let io_loop = way.io_loop();
            let (client, server) = tcp_pair();
            let server = Async::new(&io_loop, server).unwrap();
            (&client).write_all(b"plain").unwrap();
            assert_sleeps(way, &io_loop, server.ready(Interest::PRIORITY));
            rustix::net::send(&client, b"!", SendFlags::OOB).unwrap();
            let came = way.run(&io_loop, server.ready(Interest::PRIORITY)).unwrap();
            assert_eq!(came, Events::PRIORITY);
            let both = way.run(&io_loop, server.ready(Interest::PRIORITY | Interest::READ));
            assert!(both.unwrap().intersects(Events::PRIORITY | Events::READ));
        });
    }

    // B272
    #[test]
    fn a_peer_that_went_was_not_heard_of_while_its_data_was_unread() {
        every_way(|way| {
            let io_loop = way.io_loop();
            let (mut client, server) = tcp_pair();
            let server = Rc::new(Async::new(&io_loop, server).unwrap());
            client.write_all(b"the next request").unwrap();
            // Nothing of it is read while this one is worked on,
            assert_sleeps(way, &io_loop, server.ready(Interest::READ_CLOSED));
            let gone = Rc::clone(&server);
            let gone = io_loop.spawn(async move { gone.ready(Interest::READ_CLOSED).await });
            // not even by others who wait to read.
            way.run(&io_loop, server.readable()).unwrap();
            assert_sleeps(way, &io_loop, std::future::pending::<()>());
            assert!(!gone.is_finished());
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(way.run(&io_loop, gone).unwrap().unwrap(), Events::READ_CLOSED);
            // Level-triggered, and told with what else was asked for.
            let again = way.run(&io_loop, server.ready(Interest::READ_CLOSED | Interest::WRITE));
            assert!(again.unwrap().intersects(Events::READ_CLOSED | Events::WRITE));
            let mut rest = Vec::new();
            way.run(&io_loop, async { (&*server).read_to_end(&mut rest).await }).unwrap();
            assert_eq!(rest, b"the next request");
            drop(client);
            let end = way.run(&io_loop, server.ready(Interest::READ_CLOSED)).unwrap();
            assert!(end.contains(Events::READ_CLOSED));
        });
    }

    #[test]
    fn one_who_waits_for_nothing_is_told_of_a_hang_up_once() {
        every_way(|way| {
            let io_loop = way.io_loop();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let theirs = Async::new(&io_loop, theirs).unwrap();
            assert_sleeps(way, &io_loop, theirs.ready(Interest::empty()));
            drop(ours);
            assert_eq!(way.run(&io_loop, theirs.ready(Interest::empty())).unwrap(), Events::HANGUP);
            assert_sleeps(way, &io_loop, async {
                loop {
                    theirs.ready(Interest::PRIORITY).await.unwrap();
                }
            });
        });
    }

    // B283
    #[test]
    fn one_file_in_very_many_loops_was_called_the_loops_own() {
        let shared: Rc<OwnedFd> = Rc::new(UnixStream::pair().unwrap().0.into());
        let watches = |io_loop: &IOLoop| io_loop.add_reader(Rc::clone(&shared), |_| ());
        // The deeper they are nested, the fewer it takes: a hundred of these.
        let bare = || IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
        let (outer, outermost) = (bare(), bare());
        outermost.add_reader(outer.descriptor().unwrap(), |_| ()).unwrap();
        let mut loops = Vec::new();
        let refused = loop {
            let io_loop = bare();
            outer.add_reader(io_loop.descriptor().unwrap(), |_| ()).unwrap();
            match watches(&io_loop) {
                Ok(_) => loops.push(io_loop),
                Err(error) => break error,
            }
            assert!(loops.len() < 200);
        };
        assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
        assert!(refused.to_string().contains("more loops watch it"), "{refused}");
        assert_eq!(os_error(&refused), Some(libc::EINVAL));
    }

    // B283
    #[test]
    fn an_o_path_descriptor_was_called_not_open() {
        every_way(|way| {
            let io_loop = way.io_loop();
            let path = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, 0.into()).unwrap();
            let number = path.as_raw_fd();
            let refused = io_loop.add_reader(path, |_| ()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
            let text = format!("cannot watch descriptor {number}: it was opened with O_PATH");
            assert!(refused.to_string().starts_with(&text), "{refused}");
        });
    }
}

// B284
#[test]
fn a_refused_source_was_left_in_non_blocking_mode() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let refused = Async::new(&io_loop, file.try_clone().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(!is_nonblocking(&file));
        // Refused for its writer alone: a handler takes no reader beside it either.
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = Rc::new(ours);
        io_loop.add_handler(Rc::clone(&ours), ioloop::Interest::READ, |_, _| ()).unwrap();
        let refused = Async::new(&io_loop, Rc::clone(&ours)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert!(!is_nonblocking(&ours));
        io_loop.close().unwrap();
        let (ours, _peer) = UnixStream::pair().unwrap();
        let kept = ours.try_clone().unwrap();
        Async::new(&io_loop, ours).unwrap_err();
        assert!(!is_nonblocking(&kept));
    });
}

#[test]
fn the_mode_stays_for_those_who_share_the_file() {
    let io_loop = IOLoop::new().unwrap();
    let (ours, _peer) = UnixStream::pair().unwrap();
    // As a second `Async` of the file has it, whose reads would block otherwise.
    let kept = Async::new(&io_loop, ours.try_clone().unwrap()).unwrap();
    let first = Async::new(&io_loop, ours).unwrap();
    assert!(is_nonblocking(first.get_ref()));
    assert!(is_nonblocking(first.into_inner().unwrap()));
    assert!(is_nonblocking(kept.get_ref()));
}

// B283
#[test]
fn a_waiter_whose_watch_was_replaced_was_told_that_the_loop_is_closed() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = Rc::new(ours);
        let number = ours.as_raw_fd();
        let first = Rc::new(Async::new(&io_loop, Rc::clone(&ours)).unwrap());
        let waiting = Rc::clone(&first);
        let mut waiter = pin!(async move { waiting.readable().await });
        let polled = |waiter: std::pin::Pin<&mut dyn Future<Output = io::Result<()>>>| {
            waiter.poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(polled(waiter.as_mut()).is_pending());
        let second = Async::new(&io_loop, Rc::clone(&ours)).unwrap();
        let Poll::Ready(Err(error)) = polled(waiter) else { panic!("it is told") };
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let text = error.to_string();
        assert!(
            text.contains(&format!("descriptor {number}")) && text.contains("replaced it"),
            "{text}"
        );
        // So is who waits from now on, in every way.
        let later = way.run(&io_loop, first.readable()).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::ResourceBusy);
        let would_block = |_: &Rc<UnixStream>| Err::<(), _>(ErrorKind::WouldBlock.into());
        let later = way.run(&io_loop, first.read_with(would_block)).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::ResourceBusy);

        // One that was removed is not closed either,
        io_loop.remove_reader(&ours);
        let error = way.run(&io_loop, second.readable()).unwrap_err();
        assert!(error.to_string().contains("removed it"), "{error}");
        assert_ne!(error.kind(), ErrorKind::BrokenPipe);
        // and one of a loop that is closed is.
        let (ours, _peer) = UnixStream::pair().unwrap();
        let third = Async::new(&io_loop, ours).unwrap();
        io_loop.close().unwrap();
        for error in [
            way.block_on(third.readable()).unwrap_err(),
            way.block_on(third.writable()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert_eq!(error.to_string(), "the loop is closed");
        }
    });
}

/// Ends a stream's writing by the trait, twice; returns what its peer has read.
async fn closed<S>(mut stream: Async<S>, mut peer: Async<S>) -> Vec<u8>
where
    S: AsFd,
    for<'a> &'a S: Read + Write,
{
    stream.write_all(b"request").await.unwrap();
    stream.close().await.unwrap();
    stream.close().await.unwrap();
    let mut request = Vec::new();
    peer.read_to_end(&mut request).await.unwrap();
    peer.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer", "the other half goes on");
    request
}

#[test]
fn a_proxy_waited_for_ever_since_close_sent_no_end() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let new = |stream| Async::new(&io_loop, stream).unwrap();
        let (client, server) = tcp_pair();
        assert_eq!(way.run(&io_loop, closed(new(client), new(server))), b"request");
        let (client, server) = UnixStream::pair().unwrap();
        let new = |stream| Async::new(&io_loop, stream).unwrap();
        assert_eq!(way.run(&io_loop, closed(new(client), new(server))), b"request");
        // A connection that is gone already, and what is no socket.
        let (client, server) = UnixStream::pair().unwrap();
        drop(server);
        way.run(&io_loop, new(client).close()).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut writer = Async::new(&io_loop, File::from(writer)).unwrap();
        way.run(&io_loop, writer.close()).unwrap();
        way.run(&io_loop, writer.write_all(b"still open")).unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "still open");
    });
}

// B303
#[test]
fn the_kernels_number_was_hidden_in_a_refusal() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let refused = io_loop.add_writer(null, |_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert_eq!(os_error(&refused), Some(libc::EPERM));
        // Where there are no words of the library it is at hand.
        let connecting = Async::<UnixStream>::connect(&io_loop, "/does/not/exist");
        let missing = way.run(&io_loop, connecting).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(os_error(&missing), Some(libc::ENOENT));
    });
}
