//! hyper's server and client on loops on every backend, in every mode.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::rt::{Executor, Timer};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use ioloop::{Async, IOLoop, Reactor, Task, sleep, timeout};
use ioloop_hyper::{LoopExecutor, LoopIo, LoopTimer, SendExecutor};
use testkit::ways::every_way;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const HANGS: Duration = Duration::from_secs(60);

/// Runs a case in each way; nothing may be left in the loop.
fn in_every_way(case: impl AsyncFn(&IOLoop)) {
    every_way(|way| {
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let case = timeout(&io_loop, HANGS, case(&io_loop)).await;
            case.unwrap_or_else(|_| panic!("{}: it hangs", way.name));
            // Tasks and triggers end in the turns that follow.
            let left = || (io_loop.metrics().watches, io_loop.metrics().tasks);
            let settled = timeout(&io_loop, HANGS, async {
                while left() != (0, 0) {
                    sleep(&io_loop, Duration::from_millis(1)).await.unwrap();
                }
            });
            settled.await.unwrap_or_else(|_| panic!("{}: {:?} are left", way.name, left()));
        });
        assert_eq!(io_loop.metrics().timers, 0, "{}", way.name);
    });
}

type Answer = Response<Full<Bytes>>;

/// A server and what it has seen; its state is not `Send`.
struct Server {
    address: SocketAddr,
    accepting: Task<()>,
    seen: Rc<Seen>,
}

#[derive(Default)]
struct Seen {
    accepted: Cell<usize>,
    requests: Cell<usize>,
    /// Of the connections, when they ended.
    ended: RefCell<Vec<Result<(), String>>>,
    shut_down: Cell<bool>,
    /// While it is so, no request is answered.
    holds: Cell<bool>,
    /// Told when one of the first three changes.
    news: Waiters,
    /// Told when one of the last two does.
    orders: Waiters,
}

/// Those who wait for a change, each of them once.
#[derive(Default)]
struct Waiters {
    wakers: RefCell<Vec<Waker>>,
    changes: Cell<usize>,
}

impl Waiters {
    fn wake(&self) {
        self.changes.set(self.changes.get() + 1);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    async fn until(&self, wanted: impl Fn() -> bool) {
        let mut waits_since = None;
        poll_fn(|cx| {
            if wanted() {
                return Poll::Ready(());
            }
            if waits_since.replace(self.changes.get()) != Some(self.changes.get()) {
                self.wakers.borrow_mut().push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Seen {
    fn order(&self, order: &Cell<bool>, wanted: bool) {
        order.set(wanted);
        self.orders.wake();
    }

    async fn until_asked(&self, count: usize) {
        self.news.until(|| self.requests.get() >= count).await;
    }
}

async fn answer(request: Request<Incoming>, seen: Rc<Seen>) -> Result<Answer, Infallible> {
    seen.requests.set(seen.requests.get() + 1);
    seen.news.wake();
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    seen.orders.until(|| !seen.holds.get()).await;
    let length = body.map_or(0, |body| body.len());
    Ok(Response::new(match path.strip_prefix("/bytes/") {
        Some(count) => vec![b'x'; count.parse().unwrap()].into(),
        None => format!("{path} {length}").into(),
    }))
}

impl Server {
    fn start(io_loop: &IOLoop, builder: http1::Builder) -> Server {
        let listener = Async::<TcpListener>::bind(io_loop, "127.0.0.1:0").unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let seen = Rc::<Seen>::default();
        let (here, shared) = (io_loop.clone(), Rc::clone(&seen));
        let accepting = io_loop.spawn(async move {
            loop {
                let (stream, _) = listener.accept(&here).await.unwrap();
                shared.accepted.set(shared.accepted.get() + 1);
                let (seen, inner) = (Rc::clone(&shared), Rc::clone(&shared));
                let service = service_fn(move |request| answer(request, Rc::clone(&inner)));
                let connection = builder.serve_connection(LoopIo::new(stream), service);
                here.spawn(async move {
                    let mut connection = pin!(connection);
                    let mut told = pin!(seen.orders.until(|| seen.shut_down.get()));
                    let mut is_told = false;
                    let ended = poll_fn(|cx| {
                        if !is_told && told.as_mut().poll(cx).is_ready() {
                            is_told = true;
                            connection.as_mut().graceful_shutdown();
                        }
                        connection.as_mut().poll(cx)
                    });
                    let ended = ended.await.map_err(|error| error.to_string());
                    seen.ended.borrow_mut().push(ended);
                    seen.news.wake();
                })
                .detach();
            }
        });
        Server { address, accepting, seen }
    }

    async fn connect(&self, io_loop: &IOLoop) -> client1::SendRequest<Full<Bytes>> {
        let stream = Async::<TcpStream>::connect(io_loop, self.address).await.unwrap();
        let (sender, connection) = client1::handshake(LoopIo::new(stream)).await.unwrap();
        io_loop.spawn(connection).detach();
        sender
    }

    async fn until_ended(&self, count: usize) {
        self.seen.news.until(|| self.seen.ended.borrow().len() >= count).await;
    }

    fn stop(self) {
        self.accepting.cancel();
    }
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "test").body(Full::default()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn one_connection_carries_many_requests() {
    in_every_way(async |io_loop| {
        let server = Server::start(io_loop, http1::Builder::new());
        let mut client = server.connect(io_loop).await;
        for n in 0..100 {
            let body = Full::from(vec![b'y'; n * 1000]);
            let request = Request::post(format!("/{n}")).header("host", "test").body(body).unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(text(response).await, format!("/{n} {}", n * 1000));
        }
        assert_eq!((server.seen.accepted.get(), server.seen.requests.get()), (1, 100));
        let large = client.send_request(get("/bytes/8000000")).await.unwrap();
        assert_eq!(text(large).await.len(), 8_000_000);
        drop(client);
        server.until_ended(1).await;
        assert_eq!(*server.seen.ended.borrow(), [Ok(())]);
        server.stop();
    });
}

#[test]
fn a_thousand_connections_at_once_are_answered_each() {
    const AT_ONCE: usize = 1000;
    raise_the_limit();
    in_every_way(async |io_loop| {
        let server = Server::start(io_loop, http1::Builder::new());
        server.seen.order(&server.seen.holds, true);
        let mut clients = Vec::new();
        for n in 0..AT_ONCE {
            // One after the other: the listener's backlog has not room for all.
            let mut client = server.connect(io_loop).await;
            clients.push(io_loop.spawn(async move {
                let response = client.send_request(get(&format!("/{n}"))).await.unwrap();
                assert_eq!(text(response).await, format!("/{n} 0"));
            }));
        }
        server.seen.until_asked(AT_ONCE).await;
        server.seen.order(&server.seen.holds, false);
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(server.seen.accepted.get(), AT_ONCE);
        server.until_ended(AT_ONCE).await;
        server.stop();
    });
}

/// Room for both ends of a thousand connections.
fn raise_the_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_graceful_shutdown_answers_what_was_asked_and_ends_who_is_idle() {
    in_every_way(async |io_loop| {
        let server = Server::start(io_loop, http1::Builder::new());
        let mut idle = server.connect(io_loop).await;
        idle.send_request(get("/idle")).await.unwrap();
        let mut busy = server.connect(io_loop).await;
        server.seen.order(&server.seen.holds, true);
        let mut asked = pin!(busy.send_request(get("/busy")));
        while server.seen.requests.get() < 2 {
            let tick = timeout(io_loop, Duration::from_millis(1), asked.as_mut()).await;
            assert!(tick.is_err(), "it is held");
        }
        server.seen.order(&server.seen.shut_down, true);
        server.until_ended(1).await;
        server.seen.order(&server.seen.holds, false);
        assert_eq!(text(asked.await.unwrap()).await, "/busy 0");
        server.until_ended(2).await;
        assert_eq!(*server.seen.ended.borrow(), [Ok(()), Ok(())]);
        assert!(idle.send_request(get("/late")).await.is_err());
        server.stop();
    });
}

#[test]
fn a_client_that_gives_up_midway_ends_its_connection() {
    in_every_way(async |io_loop| {
        let server = Server::start(io_loop, http1::Builder::new());
        let mut client = server.connect(io_loop).await;
        // Far more than the sockets hold.
        let mut response = client.send_request(get("/bytes/100000000")).await.unwrap();
        response.frame().await.unwrap().unwrap();
        drop((client, response));
        server.until_ended(1).await;
        assert!(server.seen.ended.borrow()[0].is_err());
        // And while it sends.
        let stream = Async::<TcpStream>::connect(io_loop, server.address).await.unwrap();
        stream.get_ref().set_nonblocking(false).unwrap();
        let half = b"POST /half HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf";
        std::io::Write::write_all(&mut stream.get_ref(), half).unwrap();
        server.seen.until_asked(2).await;
        drop(stream);
        server.until_ended(2).await;
        server.stop();
    });
}

#[test]
fn who_sends_half_a_request_is_ended_by_the_time_out() {
    in_every_way(async |io_loop| {
        let timer = LoopTimer::new(io_loop.downgrade()).unwrap();
        let mut builder = http1::Builder::new();
        builder.timer(timer).header_read_timeout(Duration::from_millis(20));
        let server = Server::start(io_loop, builder);
        let stream = Async::<TcpStream>::connect(io_loop, server.address).await.unwrap();
        std::io::Write::write_all(&mut stream.get_ref(), b"GET /half HTTP/1.1\r\nho").unwrap();
        server.until_ended(1).await;
        let ended = server.seen.ended.borrow()[0].clone();
        assert!(ended.as_ref().is_err_and(|why| why.contains("header")), "{ended:?}");
        server.stop();
    });
}

/// Bytes that stay on their thread.
struct Local(Option<Bytes>, #[expect(dead_code, reason = "not `Send`")] Rc<Cell<usize>>);

impl Body for Local {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[test]
fn many_streams_of_one_connection_are_tasks_that_need_not_be_send() {
    in_every_way(async |io_loop| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (ours, theirs) =
            (Async::new(io_loop, ours).unwrap(), Async::new(io_loop, theirs).unwrap());
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let service = service_fn(move |_: Request<Incoming>| {
            counted.set(counted.get() + 1);
            let bytes = vec![b'x'; counted.get()].into();
            let reply = Response::new(Local(Some(bytes), Rc::clone(&counted)));
            async move { Ok::<_, Infallible>(reply) }
        });
        let executor = LoopExecutor::new(io_loop.downgrade());
        let timer = LoopTimer::new(io_loop.downgrade()).unwrap();
        let server = http2::Builder::new(executor.clone())
            .timer(timer.clone())
            .keep_alive_interval(Duration::from_secs(30))
            .serve_connection(LoopIo::new(theirs), service);
        let served = io_loop.spawn(server);
        let (client, connection) = client2::Builder::new(executor)
            .timer(timer)
            .handshake(LoopIo::new(ours))
            .await
            .unwrap();
        io_loop.spawn(connection).detach();
        let asked: Vec<_> = (0..200)
            .map(|_| {
                let mut client = client.clone();
                io_loop.spawn(async move {
                    let request = Request::get("http://test/").body(Full::<Bytes>::default());
                    let response = client.send_request(request.unwrap()).await.unwrap();
                    text(response).await.len()
                })
            })
            .collect();
        let mut lengths = Vec::new();
        for answer in asked {
            lengths.push(answer.await.unwrap());
        }
        lengths.sort_unstable();
        assert!(lengths.into_iter().eq(1..=200));
        drop(client);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn a_sleep_ends_at_its_deadline_wherever_it_is_moved_to() {
    in_every_way(async |io_loop| {
        let timer = LoopTimer::new(io_loop.downgrade()).unwrap();
        let far = Duration::from_secs(3600);
        let start = Instant::now();
        timer.sleep(Duration::from_millis(5)).await;
        assert!(start.elapsed() >= Duration::from_millis(5));
        timer.sleep(Duration::ZERO).await;
        // Earlier, while it is awaited elsewhere; later, and then earlier again.
        let mut sleep = timer.sleep(Duration::MAX);
        assert!(poll_once(sleep.as_mut()).await.is_pending());
        timer.reset(&mut sleep, start + Duration::from_millis(10));
        sleep.as_mut().await;
        timer.reset(&mut sleep, start + far);
        assert!(poll_once(sleep.as_mut()).await.is_pending());
        timer.reset(&mut sleep, start);
        sleep.as_mut().await;
        // Later: the timer fires, is set again, and nobody is told before.
        let soon = Instant::now() + Duration::from_millis(5);
        let later = soon + Duration::from_millis(10);
        let mut sleep = timer.sleep_until(soon);
        assert!(poll_once(sleep.as_mut()).await.is_pending());
        timer.reset(&mut sleep, later);
        sleep.await;
        assert!(Instant::now() >= later);
        // Dropped, it is gone from the loop.
        let timers = io_loop.metrics().timers;
        let mut sleeps: Vec<_> = (0..100).map(|_| timer.sleep(far)).collect();
        for sleep in &mut sleeps {
            assert!(poll_once(sleep.as_mut()).await.is_pending());
        }
        while io_loop.metrics().timers < timers + 100 {
            ioloop::sleep(io_loop, Duration::ZERO).await.unwrap();
        }
        drop(sleeps);
        while io_loop.metrics().timers > timers {
            ioloop::sleep(io_loop, Duration::ZERO).await.unwrap();
        }
    });
}

async fn poll_once(mut future: Pin<&mut (impl Future<Output = ()> + ?Sized)>) -> Poll<()> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// The next turn of the loop.
async fn turn(io_loop: &IOLoop) {
    let (resolver, turned) = ioloop::deferred();
    io_loop.call_soon(move || _ = resolver.resolve(()));
    turned.await.unwrap();
}

#[test]
fn a_sleep_woke_its_own_loop_to_be_set() {
    in_every_way(async |io_loop| {
        let timer = LoopTimer::new(io_loop.downgrade()).unwrap();
        let far = Duration::from_secs(3600);
        let before = io_loop.metrics();
        let set = || io_loop.metrics().timers - before.timers;
        // A connection that waits, and one whose requests follow one another.
        let mut waiting = timer.sleep(far);
        assert!(poll_once(waiting.as_mut()).await.is_pending());
        for _ in 0..100 {
            let mut sleep = timer.sleep(far);
            assert!(poll_once(sleep.as_mut()).await.is_pending());
            assert_eq!(set(), 2);
            drop(sleep);
            assert!(set() <= 2, "one is kept for the next at the most");
        }
        // The one that was kept fires at the deadline of whoever has it now, and no earlier.
        let mut soon = timer.sleep(Duration::from_millis(5));
        assert!(poll_once(soon.as_mut()).await.is_pending());
        let mut short = timer.sleep(Duration::from_millis(1));
        assert!(poll_once(short.as_mut()).await.is_pending());
        drop(soon);
        drop(short);
        let deadline = Instant::now() + Duration::from_millis(20);
        timer.sleep_until(deadline).await;
        assert!(Instant::now() >= deadline);
        // Nobody sleeps any more, so none is kept, and none before the next sleep of the last.
        drop(waiting);
        let mut last = timer.sleep(far);
        assert!(poll_once(last.as_mut()).await.is_pending());
        assert_eq!(set(), 1);
        drop(last);
        turn(io_loop).await;
        assert_eq!(set(), 0);
        assert_eq!(io_loop.metrics().events, before.events, "the loop was told by its descriptor");
    });
}

#[test]
fn sleeps_and_tasks_come_from_other_threads() {
    in_every_way(async |io_loop| {
        let timer = LoopTimer::new(io_loop.downgrade()).unwrap();
        let executor = SendExecutor::new(io_loop.downgrade()).unwrap();
        let (resolver, done) = ioloop::deferred();
        let far = thread::spawn(move || {
            let (here, inner) = (timer.clone(), timer.clone());
            executor.execute(async move {
                inner.sleep(Duration::from_millis(1)).await;
                let _ = resolver.resolve(thread::current().id());
            });
            // Awaited by nobody but this thread.
            let waited = IOLoop::new().unwrap().run_sync(here.sleep(Duration::from_millis(5)));
            waited.unwrap();
        });
        assert_eq!(done.await.unwrap(), thread::current().id());
        let (resolver, joined) = ioloop::deferred();
        thread::spawn(move || resolver.resolve(far.join().is_ok()));
        assert!(joined.await.unwrap());
    });
}

#[test]
fn a_loop_that_is_closed_ends_every_sleep_and_drops_every_task() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let timer = LoopTimer::new(io_loop.downgrade()).unwrap();
        let executor = SendExecutor::new(io_loop.downgrade()).unwrap();
        let mut sleep = timer.sleep(Duration::from_secs(3600));
        let mut told = timer.sleep(Duration::from_secs(3600));
        way.run(&io_loop, async {
            assert!(poll_once(sleep.as_mut()).await.is_pending());
            ioloop::sleep(&io_loop, Duration::ZERO).await.unwrap();
            // The loop has not heard of this one yet.
            assert!(poll_once(told.as_mut()).await.is_pending());
        });
        io_loop.close().unwrap();
        let metrics = io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0));
        way.block_on(async {
            sleep.await;
            told.await;
            timer.sleep(Duration::from_secs(3600)).await;
        });
        let (resolver, done) = ioloop::deferred::<()>();
        executor.execute(async move {
            let _ = resolver.resolve(());
        });
        assert!(way.block_on(done).is_err(), "it was dropped");
        assert!(LoopTimer::new(io_loop.downgrade()).is_err());
        assert!(SendExecutor::new(io_loop.downgrade()).is_err());
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(async |io_loop| {
        let reactor: Rc<dyn Reactor> = Rc::new(io_loop.downgrade());
        let timer = LoopTimer::new(Rc::clone(&reactor)).unwrap();
        timer.sleep(Duration::from_millis(1)).await;
        let (resolver, done) = ioloop::deferred();
        LoopExecutor::new(reactor).execute(async move {
            let _ = resolver.resolve(42);
        });
        assert_eq!(done.await.unwrap(), 42);
    });
}
