//! A connection that any number of tasks share, and that is made again when it is lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ioloop::{Guard, Reactor, Resolver, Task, deferred, sleep, spawn};

use crate::connection::Connection;
use crate::error::Error;
use crate::ffi::Conn;
use crate::notifications::{Channels, Notifications, quoted};
use crate::params::ToParam;
use crate::statement::{Query, Request, What, string};
use crate::table::Table;

/// A connection that any number of tasks share, and that is made again when it is lost.
///
/// What is asked while other answers are out is sent at once, as a pipeline: a thousand queries at
/// once are one round trip, on one connection. They are run in the order asked, each a transaction
/// by itself. What changes the session (`BEGIN`, `SET`) would change it for all; use a
/// [`Connection`] for that, and for `COPY`.
///
/// When the connection is lost, what was out fails with [`Error::Lost`], since it may have run; what
/// was not sent yet waits for the next connection. Where that cannot be made, all that waits fails
/// with [`Error::Failed`], and another is tried later: see [`Backoff`]. Subscriptions go on.
///
/// A clone is another handle of the same connection; the last one that is dropped closes it. A task
/// of the loop drives it, and holds the reactor: pass a [`WeakIOLoop`](ioloop::WeakIOLoop) where the
/// loop's own callbacks or tasks hold the client.
///
/// ```no_run
/// use ioloop::IOLoop;
/// use ioloop_pq::Client;
///
/// let io_loop = IOLoop::new()?;
/// io_loop.run_sync(async {
///     let conninfo = "host=/run/postgresql dbname=postgres";
///     let client = Client::connect(io_loop.downgrade(), conninfo).await?;
///     let (one, two) = (client.query("SELECT 1", &[]), client.query("SELECT 2", &[]));
///     println!("{:?} {:?}", one.await?, two.await?); // one round trip
///     Ok::<_, ioloop_pq::Error>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    queue: Rc<Queue>,
    _driven: Guard<Task<()>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// The future of an answer.
///
/// # Cancel safety
///
/// Dropped before it was sent, as while there is no connection, it is never sent. Otherwise it is
/// run, and its answer is thrown away.
#[must_use = "an answer that is dropped may take its query back"]
#[derive(Debug)]
pub struct Answer(Task<Result<Table, Error>>);

impl Future for Answer {
    type Output = Result<Table, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
    }
}

/// How long is waited before another connection is tried.
///
/// Between half of the time and all of it, by chance, so many clients do not come at once when
/// their server is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubled with each that follows. By default 50 ms.
    pub first: Duration,
    /// The most. By default 10 seconds.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(50), most: Duration::from_secs(10) }
    }
}

impl Backoff {
    fn delay(self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.min(20));
        let random = RandomState::new().build_hasher().finish() % 512;
        doubled.min(self.most).mul_f64((512 + random) as f64 / 1024.0)
    }
}

impl Client {
    /// Connects; `conninfo` is as for [`Connection::connect`].
    ///
    /// # Errors
    ///
    /// As for [`Connection::connect`]: the first connection is not tried twice.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes what it has opened.
    pub async fn connect<R: Reactor + 'static>(reactor: R, conninfo: &str) -> Result<Self, Error> {
        let (reactor, conninfo) = (Rc::new(reactor), string(conninfo)?);
        let connection = Connection::open(Rc::clone(&reactor), &conninfo).await?;
        Ok(Client::driven(reactor, conninfo, Backoff::default(), Some(connection)))
    }

    /// A client that connects while it is used already, and tries again as told.
    ///
    /// # Errors
    ///
    /// [`Error::Unexpected`]: there is a zero byte in `conninfo`.
    pub fn new<R: Reactor + 'static>(
        reactor: R,
        conninfo: &str,
        backoff: Backoff,
    ) -> Result<Self, Error> {
        Ok(Client::driven(Rc::new(reactor), string(conninfo)?, backoff, None))
    }

    fn driven<R: Reactor + 'static>(
        reactor: Rc<R>,
        conninfo: CString,
        backoff: Backoff,
        connection: Option<Connection<R>>,
    ) -> Self {
        let queue = Rc::<Queue>::default();
        let driver =
            drive(Ending(Rc::clone(&queue)), Rc::clone(&reactor), conninfo, backoff, connection);
        let driven = spawn(&*reactor, driver).cancel_on_drop();
        Client(Rc::new(Inner { queue, _driven: driven }))
    }

    /// Runs one statement with its parameters `$1`, `$2` and so on, and returns all that it gives.
    ///
    /// It is sent without being awaited.
    ///
    /// # Errors
    ///
    /// As the answer: [`Error::Server`], [`Error::Lost`], [`Error::Failed`] if there is no
    /// connection, and [`Error::Closed`] if the loop is closed. A `COPY` ends the connection.
    pub fn query<'q>(&self, query: impl Into<Query<'q>>, params: &[&dyn ToParam]) -> Answer {
        let (resolver, answer) = deferred();
        match Request::new(query.into(), params) {
            Ok(request) => self.0.queue.ask(Asked { request, resolver: Some(resolver) }),
            Err(error) => give(Some(resolver), Err(error)),
        }
        Answer(answer)
    }

    /// Subscribes to a channel: the stream of its notifications goes on when the connection is lost
    /// and made again, and tells of that.
    ///
    /// The name is taken as it is, and not folded to lower case.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query); [`Error::Unexpected`] for a name of more than 63 bytes, which
    /// a channel cannot have.
    pub async fn listen(&self, channel: &str) -> Result<Notifications, Error> {
        if channel.len() > 63 {
            return Err(Error::Unexpected("the name of a channel has at most 63 bytes"));
        }
        let notifications = Notifications::new(self.clone(), channel);
        let listen = format!("LISTEN {}", quoted(channel));
        // It does no harm twice.
        let mut answer = self.query(&listen, &[]).await;
        while let Err(Error::Lost(_)) = answer {
            answer = self.query(&listen, &[]).await;
        }
        answer?;
        notifications.confirm();
        Ok(notifications)
    }

    /// Runs a statement whose answer nobody needs.
    pub(crate) fn forget(&self, sql: &str) {
        if let Ok(request) = Request::new(sql.into(), &[]) {
            self.0.queue.ask(Asked { request, resolver: None });
        }
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.0.queue.channels
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.queue.closed.get()
    }
}

type Resolve = Option<Resolver<Result<Table, Error>>>;

fn give(resolver: Resolve, answer: Result<Table, Error>) {
    if let Some(resolver) = resolver {
        let _ = resolver.resolve(answer);
    }
}

/// What was asked, and is not sent yet.
struct Asked {
    request: Request,
    resolver: Resolve,
}

/// What the handles and the driver share.
#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Asked>>,
    /// The driver's.
    waker: Cell<Option<Waker>>,
    channels: Channels,
    closed: Cell<bool>,
}

impl Queue {
    fn ask(&self, asked: Asked) {
        if self.closed.get() {
            return give(asked.resolver, Err(Error::Closed));
        }
        self.waiting.borrow_mut().push_back(asked);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// All that waits gets this answer.
    fn fail(&self, error: &Error) {
        for asked in self.waiting.take() {
            give(asked.resolver, Err(error.clone()));
        }
    }
}

/// Held by the driver; when it ends, there are no answers any more.
struct Ending(Rc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.0.fail(&Error::Closed);
        self.0.channels.end();
    }
}

async fn drive<R: Reactor>(
    ending: Ending,
    reactor: Rc<R>,
    conninfo: CString,
    backoff: Backoff,
    mut connection: Option<Connection<R>>,
) {
    let queue = &ending.0;
    let mut failures = 0;
    let mut is_first = true;
    loop {
        let session = match connection.take() {
            Some(connection) => Session::begin(connection, queue, false).await,
            None => match Connection::open(Rc::clone(&reactor), &conninfo).await {
                Ok(connection) => Session::begin(connection, queue, !is_first).await,
                Err(error) => Err(error),
            },
        };
        match session {
            Ok(mut session) => {
                is_first = false;
                let reason = poll_fn(|cx| session.poll(cx)).await;
                if session.has_answered {
                    failures = 0;
                }
                session.lose(&reason);
            }
            Err(error) => queue.fail(&error),
        }
        if sleep(&*reactor, backoff.delay(failures)).await.is_err() {
            return;
        }
        failures += 1;
    }
}

/// One connection of a client's.
struct Session<'a, R> {
    connection: Connection<R>,
    queue: &'a Queue,
    /// Sent, and not answered.
    out: VecDeque<Out>,
    has_answered: bool,
}

struct Out {
    what: What,
    prepares: bool,
    resolver: Resolve,
}

impl<'a, R: Reactor> Session<'a, R> {
    async fn begin(
        mut connection: Connection<R>,
        queue: &'a Queue,
        again: bool,
    ) -> Result<Self, Error> {
        let listens = queue.channels.script();
        if !listens.is_empty() {
            connection.script(&listens).await?;
        }
        connection.begin_pipeline()?;
        if again {
            queue.channels.reconnected();
        }
        Ok(Session { connection, queue, out: VecDeque::new(), has_answered: false })
    }

    /// Sends, reads, and answers, until the connection is lost.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.queue.waker.set(Some(cx.waker().clone()));
        match ready!(self.try_poll(cx)) {
            Ok(never) => match never {},
            Err(error) => Poll::Ready(error),
        }
    }

    fn try_poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<std::convert::Infallible, Error>> {
        loop {
            self.send()?;
            while !self.out.is_empty() {
                let answered = self.connection.poll_group(cx);
                self.hear();
                let answer = ready!(answered)?;
                if let Some(Out { what, prepares, resolver }) = self.out.pop_front() {
                    self.connection.learn(&what, prepares, &answer);
                    self.has_answered = true;
                    give(resolver, answer.table);
                }
            }
            self.hear();
            // Who was answered may have asked for more.
            if self.queue.waiting.borrow().is_empty() {
                ready!(self.connection.poll_news(cx, false))?;
            }
        }
    }

    fn send(&mut self) -> Result<(), Error> {
        let Session { connection, queue, out, .. } = self;
        let waiting = queue.waiting.borrow().len();
        connection.together(waiting, |connection| {
            loop {
                let Some(asked) = queue.waiting.borrow_mut().pop_front() else { return Ok(()) };
                if asked.resolver.as_ref().is_some_and(Resolver::is_abandoned) {
                    continue;
                }
                match connection.push(&asked.request) {
                    Ok(prepares) => {
                        let what = asked.request.what;
                        out.push_back(Out { what, prepares, resolver: asked.resolver });
                    }
                    Err(error) => {
                        // Nothing of it runs without its end: it waits for the next connection.
                        queue.waiting.borrow_mut().push_front(asked);
                        return Err(error);
                    }
                }
            }
        })
    }

    fn hear(&mut self) {
        while let Some(notification) = self.connection.link.call(Conn::notification) {
            self.queue.channels.tell(notification);
        }
    }

    /// The connection is gone: closes it, and says so to all whose answers are out.
    fn lose(self, reason: &Error) {
        let Session { connection, out, .. } = self;
        drop(connection);
        for Out { resolver, .. } in out {
            give(resolver, Err(Error::Lost(reason.to_string())));
        }
    }
}
