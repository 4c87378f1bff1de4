//! `Async` as a socket: the I/O traits, connecting, accepting, datagrams, on every backend.

use std::cell::Cell;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_lite::io::{AsyncBufReadExt, BufReader};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use ioloop::backends::BackendKind;
use ioloop::{Async, IOLoop, Reactor, interval};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use testkit::ways::every_way;

/// More than any buffer between two ends holds.
const MUCH: usize = 4 << 20;

/// Bytes that show where they belong.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

async fn tcp_pair<R: Reactor>(reactor: &R) -> (Async<TcpStream>, Async<TcpStream>) {
    let listener = Async::<TcpListener>::bind(reactor, "127.0.0.1:0").unwrap();
    let connecting = Async::<TcpStream>::connect(reactor, listener.get_ref().local_addr().unwrap());
    let (server, peer) = listener.accept(reactor).await.unwrap();
    let client = connecting.await.unwrap();
    assert_eq!(client.get_ref().local_addr().unwrap(), peer);
    (client, server)
}

async fn send_all<S>(stream: Rc<Async<S>>, shutdown: fn(&S, Shutdown) -> io::Result<()>)
where
    for<'a> &'a Async<S>: AsyncWrite,
{
    (&*stream).write_all(&pattern(MUCH)).await.unwrap();
    (&*stream).flush().await.unwrap();
    shutdown(stream.get_ref(), Shutdown::Write).unwrap();
}

async fn receive_all<S>(stream: Rc<Async<S>>)
where
    for<'a> &'a Async<S>: AsyncRead,
{
    let mut received = Vec::new();
    (&*stream).read_to_end(&mut received).await.unwrap();
    assert!(received == pattern(MUCH), "{} bytes came, or others", received.len());
}

/// Both ends write and read at once, in two tasks each.
async fn exchange<S: 'static>(
    io_loop: &IOLoop,
    ends: (Async<S>, Async<S>),
    shutdown: fn(&S, Shutdown) -> io::Result<()>,
) where
    for<'a> &'a Async<S>: AsyncRead + AsyncWrite,
{
    let (one, other) = (Rc::new(ends.0), Rc::new(ends.1));
    let tasks = [
        io_loop.spawn(send_all(Rc::clone(&one), shutdown)),
        io_loop.spawn(receive_all(one)),
        io_loop.spawn(send_all(Rc::clone(&other), shutdown)),
        io_loop.spawn(receive_all(other)),
    ];
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn both_halves_of_a_tcp_connection_are_used_by_two_tasks_at_once() {
    every_way(|way| {
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let ends = tcp_pair(&io_loop).await;
            exchange(&io_loop, ends, TcpStream::shutdown).await;
        });
        assert_eq!(io_loop.metrics().watches, 0);
    });
}

/// A name in the temporary directory that is removed with this.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ioloop-{}-{number}.socket", process::id());
        SocketPath(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn unix_sockets_connect_accept_and_exchange() {
    every_way(|way| {
        let (io_loop, path) = (way.io_loop(), SocketPath::new());
        way.run(&io_loop, async {
            let listener = Async::<UnixListener>::bind(&io_loop, &path.0).unwrap();
            let client = Async::<UnixStream>::connect(&io_loop, &path.0).await.unwrap();
            let (server, _) = listener.accept(&io_loop).await.unwrap();
            exchange(&io_loop, (client, server), UnixStream::shutdown).await;
        });
        assert_eq!(io_loop.metrics().watches, 0);
    });
}

#[test]
fn an_accepted_connection_is_named_as_its_client_and_blocks_nobody() {
    every_way(|way| {
        let (io_loop, path, named) = (way.io_loop(), SocketPath::new(), SocketPath::new());
        way.run(&io_loop, async {
            for any in ["127.0.0.1:0", "[::1]:0"] {
                // Not every machine has the second.
                let Ok(listener) = TcpListener::bind(any) else { continue };
                let listener = Async::new(&io_loop, listener).unwrap();
                let client = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
                let (server, peer) = listener.accept(&io_loop).await.unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
                assert_eq!(peer, server.get_ref().peer_addr().unwrap());
                assert_as_made_here(&server);
            }
            let listener = Async::<UnixListener>::bind(&io_loop, &path.0).unwrap();
            let _unnamed = UnixStream::connect(&path.0).unwrap();
            let (server, peer) = listener.accept(&io_loop).await.unwrap();
            assert!(peer.is_unnamed());
            assert_as_made_here(&server);
            let client = rustix::net::socket(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::STREAM,
                None,
            );
            let client = client.unwrap();
            let address = |path: &SocketPath| rustix::net::SocketAddrUnix::new(&path.0).unwrap();
            rustix::net::bind(&client, &address(&named)).unwrap();
            rustix::net::connect(&client, &address(&path)).unwrap();
            // One that has gone already has a name still.
            drop(client);
            let (server, peer) = listener.accept(&io_loop).await.unwrap();
            assert_eq!(peer.as_pathname(), Some(&*named.0));
            assert_as_made_here(&server);
        });
    });
}

fn assert_as_made_here<S: AsFd>(stream: &Async<S>) {
    let flags = rustix::fs::fcntl_getfl(stream.get_ref()).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    let flags = rustix::io::fcntl_getfd(stream.get_ref()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn a_full_backlog_is_waited_for() {
    every_way(|way| {
        let (io_loop, path) = (way.io_loop(), SocketPath::new());
        way.run(&io_loop, async {
            let listener = rustix::net::socket(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::STREAM,
                None,
            );
            let listener = listener.unwrap();
            let address = rustix::net::SocketAddrUnix::new(&path.0).unwrap();
            rustix::net::bind(&listener, &address).unwrap();
            rustix::net::listen(&listener, 0).unwrap();
            let listener = Async::new(&io_loop, UnixListener::from(listener)).unwrap();
            let connect = || {
                let (io_loop, path) = (io_loop.clone(), path.0.clone());
                async move { Async::<UnixStream>::connect(&io_loop, path).await.unwrap() }
            };
            let first = connect().await;
            // The kernel's queue of none holds one.
            let mut second = pin!(connect());
            assert!(poll_once(second.as_mut()).is_pending());
            assert_eq!(io_loop.metrics().timers, 1, "it tries again by and by");
            let accepted = [listener.accept(&io_loop).await.unwrap().0, {
                let second = second.await;
                let (accepted, _) = listener.accept(&io_loop).await.unwrap();
                drop(second);
                accepted
            }];
            drop((first, accepted));
        });
    });
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn connecting_to_nobody_is_an_error() {
    every_way(|way| {
        let (io_loop, path) = (way.io_loop(), SocketPath::new());
        // Bound and not listening: nobody else can take the port meanwhile.
        let bound = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        );
        let bound = bound.unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        rustix::net::bind(&bound, &any).unwrap();
        let bound = TcpStream::from(bound);
        let address = bound.local_addr().unwrap();
        way.run(&io_loop, async {
            let refused = Async::<TcpStream>::connect(&io_loop, address).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let missing = Async::<UnixStream>::connect(&io_loop, &path.0).await.unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            drop(UnixListener::bind(&path.0).unwrap());
            let refused = Async::<UnixStream>::connect(&io_loop, &path.0).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        });
        assert_eq!(io_loop.metrics().watches, 0);
    });
}

#[test]
fn a_connection_that_is_given_up_leaves_nothing() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connecting = Async::<TcpStream>::connect(&io_loop, listener.local_addr().unwrap());
        assert_eq!(io_loop.metrics().watches, 2);
        drop(connecting);
        assert_eq!(io_loop.metrics().watches, 0);
    });
}

#[test]
fn datagrams_keep_their_bounds_and_their_sender() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let one = Async::<UdpSocket>::bind(&io_loop, "127.0.0.1:0").unwrap();
        let other = Async::<UdpSocket>::bind(&io_loop, "127.0.0.1:0").unwrap();
        let address = |socket: &Async<UdpSocket>| socket.get_ref().local_addr().unwrap();
        way.run(&io_loop, async {
            let mut buffer = [0; 64];
            for text in ["first", "", "third"] {
                one.send_to(text.as_bytes(), address(&other)).await.unwrap();
                let (n, from) = other.recv_from(&mut buffer).await.unwrap();
                assert_eq!((&buffer[..n], from), (text.as_bytes(), address(&one)));
            }
            one.get_ref().connect(address(&other)).unwrap();
            other.get_ref().connect(address(&one)).unwrap();
            // The receiver waits before anything is sent.
            let mut receiving = pin!(one.recv(&mut buffer));
            assert!(poll_once(receiving.as_mut()).is_pending());
            other.send(b"back").await.unwrap();
            assert_eq!(receiving.await.unwrap(), 4);
        });
    });
}

#[test]
fn lines_are_read_through_a_buffer_and_written_back() {
    every_way(|way| {
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let (client, server) = tcp_pair(&io_loop).await;
            let served = io_loop.spawn(async move {
                let mut lines = BufReader::new(&server).lines();
                while let Some(line) = lines.next().await {
                    let answer = format!("{} bytes\n", line.unwrap().len());
                    (&server).write_all(answer.as_bytes()).await.unwrap();
                }
            });
            let mut answers = BufReader::new(&client).lines();
            for text in ["one", "", "a longer line"] {
                (&client).write_all(format!("{text}\n").as_bytes()).await.unwrap();
                let answer = answers.next().await.unwrap().unwrap();
                assert_eq!(answer, format!("{} bytes", text.len()));
            }
            client.get_ref().shutdown(Shutdown::Write).unwrap();
            assert!(answers.next().await.is_none());
            served.await.unwrap();
        });
    });
}

/// Counts its wakes, and wakes nobody.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_pending_read_that_is_given_up_loses_no_byte_and_keeps_one_waker_a_task() {
    let io_loop = IOLoop::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ours = Async::new(&io_loop, ours).unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let references = Arc::strong_count(&wakes);
    for _ in 0..100 {
        let mut buffer = [0; 8];
        let mut reading = pin!(async { (&ours).read(&mut buffer).await });
        assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&wakes), references + 1, "one waker, however often");
    io::Write::write_all(&mut theirs, b"whole").unwrap();
    let mut buffer = [0; 8];
    let n = io_loop.run_sync(async { (&ours).read(&mut buffer).await }).unwrap().unwrap();
    assert_eq!(&buffer[..n], b"whole");
    assert!(wakes.0.load(Ordering::Relaxed) <= 1);
    drop(ours);
    assert_eq!(Arc::strong_count(&wakes), references);
    assert_eq!(io_loop.metrics().watches, 0);
}

#[test]
fn a_waiter_that_gives_up_does_not_take_along_a_read_of_the_same_task() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(&io_loop, ours).unwrap();
        io_loop.call_later(Duration::from_millis(1), move || {
            io::Write::write_all(&mut theirs, b"!").unwrap();
            std::mem::forget(theirs);
        });
        let mut buffer = [0; 1];
        way.run(&io_loop, async {
            let mut reading = pin!(async { (&ours).read(&mut buffer).await });
            let mut readable = Some(Box::pin(ours.readable()));
            std::future::poll_fn(|cx| {
                let read = reading.as_mut().poll(cx);
                if let Some(mut readable) = readable.take() {
                    assert!(readable.as_mut().poll(cx).is_pending());
                }
                read
            })
            .await
            .unwrap();
        });
    });
}

#[test]
fn reading_on_a_closed_loop_is_an_error_and_does_not_hang() {
    let io_loop = IOLoop::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let ours = Async::new(&io_loop, ours).unwrap();
    let mut buffer = [0; 1];
    let mut reading = pin!(async { (&ours).read(&mut buffer).await });
    assert!(poll_once(reading.as_mut()).is_pending());
    io_loop.close().unwrap();
    let Poll::Ready(Err(error)) = poll_once(reading) else { panic!("it hangs") };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn an_interval_is_a_stream_of_its_ticks() {
    every_way(|way| {
        let clock = ioloop::ManualClock::new();
        let io_loop = way.make(IOLoop::builder().clock(&clock));
        let (start, hour) = (clock.now(), Duration::from_secs(3600));
        let ticks = interval(&io_loop, hour).unwrap();
        let ticks: Vec<_> = way.run(&io_loop, ticks.take(3).collect());
        assert_eq!(ticks, [1, 2, 3].map(|n| start + n * hour));
        assert_eq!(io_loop.metrics().timers, 0, "the stream has taken its timer along");
        let mut ticks = interval(&io_loop, hour).unwrap();
        assert!(poll_once(pin!(ticks.next())).is_pending());
        io_loop.close().unwrap();
        assert_eq!(poll_once(pin!(ticks.next())), Poll::Ready(None));
    });
}

/// tokio-util's `compat` makes tokio's traits of futures-io's, and the reverse.
#[cfg(feature = "tokio")]
#[test]
fn the_io_traits_cross_in_both_directions() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    every_way(|way| {
        let io_loop = way.io_loop();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Async::new(&io_loop, listener).unwrap();
        // A socket of tokio's, which code for futures-io uses, polled on the loop.
        let far = ioloop::bridge::in_tokio(runtime.handle(), async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut stream = TokioAsyncReadCompatExt::compat(stream);
            AsyncWriteExt::write_all(&mut stream, &pattern(MUCH)).await.unwrap();
            AsyncWriteExt::close(&mut stream).await.unwrap();
            let mut answer = String::new();
            AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
            answer
        });
        let far = io_loop.spawn(far);
        let answer = way.run(&io_loop, async {
            // A socket of the loop's, which code for tokio uses.
            let (stream, _) = listener.accept(&io_loop).await.unwrap();
            let mut stream = FuturesAsyncReadCompatExt::compat(stream);
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            assert!(received == pattern(MUCH));
            stream.write_all(b"thank you").await.unwrap();
            stream.flush().await.unwrap();
            drop(stream);
            far.await.unwrap()
        });
        assert_eq!(answer, "thank you");
    });
}

#[test]
fn what_arrives_after_a_short_read_is_told() {
    every_way(|way| {
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let (mut client, mut server) = tcp_pair(&io_loop).await;
            let mut room = [0; 16];
            for round in 0..3_u8 {
                client.write_all(&[round]).await.unwrap();
                assert_eq!(server.read(&mut room).await.unwrap(), 1, "it leaves room");
                assert_eq!(room[0], round);
            }
            client.write_all(b"last").await.unwrap();
            assert_eq!(server.read(&mut room).await.unwrap(), 4);
            drop(client);
            assert_eq!(server.read(&mut room).await.unwrap(), 0, "the end is told too");
            assert_eq!(server.read(&mut room).await.unwrap(), 0);
        });
    });
}

/// Reads until there are so many bytes.
async fn read_in_all(mut stream: impl AsyncRead + Unpin, bytes: usize) -> Vec<u8> {
    let (mut all, mut room) = (Vec::new(), [0; 16]);
    while all.len() < bytes {
        let n = stream.read(&mut room).await.unwrap();
        assert!(n > 0, "it has ended");
        all.extend(&room[..n]);
    }
    all
}

/// A socket that was read empty is watched by edges, and all that comes at once is one of them.
#[test]
fn what_came_with_the_data_is_told_after_a_short_read() {
    every_way(|way| {
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let (client, mut server) = tcp_pair(&io_loop).await;
            let client = Rc::new(client.into_inner().unwrap());
            // A read stops where urgent data was, whatever is behind it.
            let sending = Rc::clone(&client);
            io_loop.call_soon(move || {
                (&*sending).write_all(b"ab").unwrap();
                rustix::net::send(&sending, b"!", SendFlags::OOB).unwrap();
                (&*sending).write_all(b"cd").unwrap();
            });
            assert_eq!(read_in_all(&server, 4).await, b"abcd");
            // What a read leaves is told to whoever waits for readiness alone.
            let sending = Rc::clone(&client);
            io_loop.call_soon(move || (&*sending).write_all(b"efgh").unwrap());
            let mut little = [0; 1];
            assert_eq!(server.read(&mut little).await.unwrap(), 1);
            server.readable().await.unwrap();
            assert_eq!(server.read(&mut little).await.unwrap(), 1);
            poll_fn(|cx| server.poll_readable(cx)).await.unwrap();
            assert_eq!(read_in_all(&server, 2).await, b"gh");
            io_loop.call_soon(move || {
                (&*client).write_all(b"i").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(read_in_all(&server, 1).await, b"i");
            assert_eq!(server.read(&mut little).await.unwrap(), 0);
        });
    });
}

/// A read ends with the data that a descriptor was passed with, whatever is behind it.
#[test]
fn what_came_with_a_descriptor_is_told_after_a_short_read() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Async::new(&io_loop, ours).unwrap(), Rc::new(theirs));
        let sending = Rc::clone(&theirs);
        let send = move || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let passed = [sending.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
            let data = [IoSlice::new(b"ab")];
            rustix::net::sendmsg(&sending, &data, &mut control, SendFlags::empty()).unwrap();
            (&*sending).write_all(b"cd").unwrap();
        };
        let received = way.run(&io_loop, async {
            io_loop.call_soon(send);
            read_in_all(&ours, 4).await
        });
        assert_eq!(received, b"abcd");
    });
}

/// The kernel tells once that there is something to read after a socket was read empty.
#[test]
fn what_had_arrived_was_lost_by_a_stop_at_once_in_a_reader() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let pass = || {
            io_loop.stop();
            way.until_stopped(&io_loop);
        };
        let (mut client, server) = way.run(&io_loop, tcp_pair(&io_loop));
        let (mut bell, ears) = UnixStream::pair().unwrap();
        let stop_once = |mut ears: &UnixStream| {
            ears.read_exact(&mut [0; 1]).unwrap();
            IOLoop::current().unwrap().stop_now();
        };
        io_loop.add_reader(ears, stop_once).unwrap();
        let reading = io_loop.spawn(async move { read_in_all(&server, 1).await });
        pass();
        pass();
        bell.write_all(b"!").unwrap();
        way.block_on(client.write_all(b"x")).unwrap();
        way.until_stopped(&io_loop);
        assert!(!reading.is_finished(), "the bell is heard first, {}", way.name);
        assert_eq!(way.run(&io_loop, reading).unwrap(), b"x");
    });
}

/// A task that answers requests in a loop asked for the next at once, and found nothing.
#[test]
fn a_read_that_left_room_was_followed_by_one_for_nothing() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let source = Async::new(&io_loop, ours).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = |room: usize| {
        let mut room = vec![0; room];
        Pin::new(&mut &source).poll_read(&mut cx, &mut room).map(Result::unwrap)
    };
    theirs.write_all(b"one").unwrap();
    assert_eq!(read(2), Poll::Ready(2), "there may be more");
    assert_eq!(read(2), Poll::Ready(1));
    theirs.write_all(b"two").unwrap();
    assert!(read(8).is_pending(), "the kernel is not asked");
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(read(8), Poll::Ready(3), "but tells the loop");
    drop(theirs);
    assert!(read(8).is_pending());
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(read(8), Poll::Ready(0));
    assert_eq!(read(8), Poll::Ready(0), "the end is no short read");
}

#[test]
fn the_end_that_came_with_the_data_was_waited_for() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let source = Async::new(&io_loop, ours).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = || Pin::new(&mut &source).poll_read(&mut cx, &mut [0; 8]).map(Result::unwrap);
    assert!(read().is_pending());
    theirs.write_all(b"bye").unwrap();
    drop(theirs);
    io_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(read(), Poll::Ready(3));
    assert_eq!(read(), Poll::Ready(0), "one event has told of both");
}

/// Bytes that have been read from its descriptor already.
struct Buffered(UnixStream, Cell<u8>);

impl AsFd for Buffered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl io::Read for &Buffered {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = self.1.get().checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        self.1.set(left);
        room[0] = left;
        Ok(1)
    }
}

#[test]
fn a_source_with_a_buffer_of_its_own_is_asked_again_after_a_short_read() {
    let io_loop = IOLoop::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let source = Async::new(&io_loop, Buffered(ours, Cell::new(3))).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = || {
        let mut room = [0; 16];
        Pin::new(&mut &source).poll_read(&mut cx, &mut room).map(|n| (n.unwrap(), room[0]))
    };
    for left in [2, 1, 0] {
        assert_eq!(read(), Poll::Ready((1, left)), "its descriptor tells nothing of it");
    }
    assert!(read().is_pending());
}
