//! tokio-postgres, which needs a tokio runtime, from loops on hosts that are none.
//!
//! Its futures are polled by the loop, under `bridge::in_tokio`; the runtime only says when the
//! socket is ready.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{join, join_all, try_join_all};
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Task, bridge, timeout};
use testkit::server::postgres::{Server, Shutdown, USER};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls, Notification};
use tokio_postgres::{Socket, tls::NoTlsStream};

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A loop, and the runtime in whose context tokio-postgres is polled.
struct Site<'a> {
    host: Host,
    io_loop: IOLoop,
    tokio: Handle,
    server: &'a Server,
}

/// A client, and the task of the loop that serves its connection.
struct Connected {
    client: Client,
    serving: Task<Result<(), Error>>,
    notifications: UnboundedReceiver<Notification>,
}

impl Site<'_> {
    fn in_tokio<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        bridge::in_tokio(&self.tokio, future)
    }

    async fn try_connect(&self) -> Result<Connected, Error> {
        let mut config = Config::new();
        config.host_path(self.server.directory()).user(USER).dbname(USER);
        let (client, connection) = self.in_tokio(config.connect(NoTls)).await?;
        let (sender, notifications) = unbounded_channel();
        let serving = self.io_loop.spawn(self.in_tokio(serve(connection, sender)));
        Ok(Connected { client, serving, notifications })
    }

    async fn connect(&self) -> Connected {
        let connected = self.try_connect().await;
        connected.unwrap_or_else(|error| panic!("connecting from {:?}: {error}", self.host))
    }
}

impl Connected {
    /// Says goodbye to the server, and waits for the connection to end.
    async fn close(self) {
        drop(self.client);
        self.serving.await.unwrap().unwrap();
    }
}

async fn serve(
    mut connection: Connection<Socket, NoTlsStream>,
    notifications: UnboundedSender<Notification>,
) -> Result<(), Error> {
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notification(notification) = message? {
            // A test may have gone on without it.
            let _ = notifications.send(notification);
        }
    }
    Ok(())
}

/// Runs a case on each kind of host, one after the other, each with a server of its own.
///
/// The loop has to be as empty afterwards as it was before, and the server to have no other client
/// left.
fn on_every_host(case: impl AsyncFn(&Site<'_>)) {
    on_every_host_until_the_server_ends(async |site| {
        case(site).await;
        let last = site.connect().await;
        // A server's process lives on for a moment after its client has closed the socket.
        while clients(&last.client).await > 1 {}
        last.close().await;
    });
}

fn on_every_host_until_the_server_ends(case: impl AsyncFn(&Site<'_>)) {
    for host in [Host::Own, Host::Smol, Host::Tokio] {
        let Some(server) = Server::start_or_skip() else { return };
        let runtime = host.runtime();
        let io_loop = host.make_loop(&runtime).unwrap();
        let site = Site { host, io_loop, tokio: runtime.handle().clone(), server: &server };
        host.drive(&runtime, &site.io_loop, async {
            let case = timeout(&site.io_loop, PATIENCE, case(&site)).await;
            case.unwrap_or_else(|_| panic!("on {host:?} it hangs"));
        });
        let metrics = site.io_loop.metrics();
        let left = (metrics.watches, metrics.timers, metrics.tasks);
        assert_eq!(left, (0, 0, 0), "watches, timers and tasks on {host:?}");
        assert_eq!(runtime.metrics().num_alive_tasks(), 0, "tasks of tokio, from {host:?}");
    }
}

/// Who drives the loop.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// The loop itself, beside async-io's reactor.
    Own,
    /// An executor of smol's, which the loop is attached to.
    Smol,
    /// The runtime in whose context tokio-postgres is polled as well.
    Tokio,
}

impl Host {
    /// A runtime that drives itself, for hosts that are none.
    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Host::Own | Host::Smol => Builder::new_multi_thread(),
            Host::Tokio => Builder::new_current_thread(),
        };
        builder.worker_threads(1).enable_all().build().unwrap()
    }

    fn make_loop(self, runtime: &Runtime) -> io::Result<IOLoop> {
        match self {
            Host::Own => IOLoop::builder().backend(BackendKind::AsyncIo).build(),
            Host::Smol => IOLoop::builder().backend(BackendKind::Smol).attach(),
            Host::Tokio => {
                let _entered = runtime.enter();
                IOLoop::attach()
            }
        }
    }

    fn drive(self, runtime: &Runtime, io_loop: &IOLoop, future: impl Future<Output = ()>) {
        let driven = match self {
            Host::Own => io_loop.run_sync(future),
            Host::Smol => {
                let executor = smol::LocalExecutor::new();
                smol::block_on(executor.run(io_loop.run_until(future)))
            }
            Host::Tokio => runtime.block_on(io_loop.run_until(future)),
        };
        driven.unwrap();
    }
}

async fn clients(client: &Client) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    client.query_one(count, &[]).await.unwrap().get(0)
}

async fn one(client: &Client) -> i32 {
    client.query_one("SELECT 1", &[]).await.unwrap().get(0)
}

/// The server signals its process twice to cancel a query, and the second signal may hit the next
/// one.
async fn one_after_cancelling(client: &Client) -> i32 {
    match client.query_one("SELECT 1", &[]).await {
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => one(client).await,
        answer => answer.unwrap().get(0),
    }
}

/// Waits until the server runs `query` for somebody.
async fn until_it_runs(client: &Client, query: &str) {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'";
    while client.query_one(count, &[&query]).await.unwrap().get::<_, i64>(0) == 0 {}
}

#[test]
fn queries_statements_and_transactions() {
    on_every_host(async |site| {
        let mut connected = site.connect().await;
        let client = &mut connected.client;

        let rows = client.query("SELECT i, i::text FROM generate_series(1, $1) i", &[&1000]);
        let rows = rows.await.unwrap();
        let expected: Vec<_> = (1..=1000).map(|i: i32| (i, i.to_string())).collect();
        let rows: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(rows, expected, "on {:?}", site.host);

        let error = client.query("SELECT 1 / 0", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO), "on {:?}", site.host);

        let sum = client.prepare("SELECT $1::int4 + $2::int4").await.unwrap();
        for i in 0..10 {
            let row = client.query_one(&sum, &[&i, &100]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), i + 100, "on {:?}", site.host);
        }
        drop(sum);

        client.batch_execute("CREATE TEMPORARY TABLE numbers (n int4)").await.unwrap();
        for (n, commit) in [(1, true), (2, false), (3, true)] {
            let transaction = client.transaction().await.unwrap();
            let insert = "INSERT INTO numbers VALUES ($1)";
            assert_eq!(transaction.execute(insert, &[&n]).await.unwrap(), 1);
            if commit {
                transaction.commit().await.unwrap();
            }
        }
        let rows = client.query("SELECT n FROM numbers ORDER BY n", &[]).await.unwrap();
        let numbers: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(numbers, [1, 3], "on {:?}", site.host);

        connected.close().await;
    });
}

#[test]
fn a_hundred_queries_in_flight_at_once_get_their_own_answers() {
    on_every_host(async |site| {
        let connected = site.connect().await;
        let client = &connected.client;
        let double = client.prepare("SELECT $1::int4 * 2").await.unwrap();
        let queries = (0..100).map(|i| {
            let double = double.clone();
            async move { client.query_one(&double, &[&i]).await.map(|row| row.get::<_, i32>(0)) }
        });
        let answers = try_join_all(queries).await.unwrap();
        let expected: Vec<i32> = (0..100).map(|i| i * 2).collect();
        assert_eq!(answers, expected, "on {:?}", site.host);
        drop(double);
        connected.close().await;
    });
}

#[test]
fn a_notification_arrives() {
    on_every_host(async |site| {
        let (mut listener, notifier) = (site.connect().await, site.connect().await);
        listener.client.batch_execute("LISTEN news").await.unwrap();
        let notify = "SELECT pg_notify('news', 'headline ' || $1::text)";
        let headlines = ["1", "2", "3"];
        join_all(headlines.map(async |n| notifier.client.query(notify, &[&n]).await.unwrap()))
            .await;
        for n in headlines {
            // Nothing is asked of the server meanwhile: its message alone wakes the loop.
            let notification = listener.notifications.recv().await.unwrap();
            assert_eq!(notification.channel(), "news");
            assert_eq!(notification.payload(), format!("headline {n}"), "on {:?}", site.host);
        }
        listener.close().await;
        notifier.close().await;
    });
}

#[test]
fn a_query_that_is_given_up_leaves_the_connection_usable() {
    on_every_host(async |site| {
        let (connected, observer) = (site.connect().await, site.connect().await);
        let client = &connected.client;

        // Given up once it is on its way; its ten thousand rows come all the same, and are
        // nobody's.
        let rows = client.prepare("SELECT generate_series(1, 10000)").await.unwrap();
        {
            let mut query = pin!(client.query(&rows, &[]));
            let polled = poll_fn(|cx| Poll::Ready(query.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "on {:?}", site.host);
        }
        assert_eq!(one(client).await, 1, "on {:?}", site.host);
        drop(rows);

        // Given up while the server works on it. The server has to be told, as by every client of
        // PostgreSQL.
        let long = "SELECT pg_sleep(3600)";
        {
            let mut query = pin!(client.simple_query(long));
            let polled = poll_fn(|cx| Poll::Ready(query.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "on {:?}", site.host);
            until_it_runs(&observer.client, long).await;
        }
        site.in_tokio(client.cancel_token().cancel_query(NoTls)).await.unwrap();
        assert_eq!(one_after_cancelling(client).await, 1, "on {:?}", site.host);

        // Cancelled while it is awaited: the answer says so. On a connection of its own, for the
        // second signal's sake.
        let cancelled = site.connect().await;
        let client = &cancelled.client;
        let cancel = async {
            until_it_runs(&observer.client, long).await;
            site.in_tokio(client.cancel_token().cancel_query(NoTls)).await.unwrap();
        };
        let (answer, ()) = join(client.simple_query(long), cancel).await;
        let error = answer.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "on {:?}", site.host);
        assert_eq!(one_after_cancelling(client).await, 1, "on {:?}", site.host);

        cancelled.close().await;
        connected.close().await;
        observer.close().await;
    });
}

#[test]
fn a_connection_that_is_given_up_closes_its_socket() {
    on_every_host(async |site| {
        let Connected { client, serving, .. } = site.connect().await;
        assert_eq!(one(&client).await, 1, "on {:?}", site.host);
        // Its task is dropped half way, with the socket; the client hears of it.
        serving.cancel();
        assert!(serving.await.unwrap_err().is_cancelled(), "on {:?}", site.host);
        let error = client.simple_query("SELECT 1").await.unwrap_err();
        assert!(error.is_closed(), "{error} on {:?}", site.host);
    });
}

#[test]
fn a_server_that_stops_ends_what_is_in_flight_with_an_error() {
    for how in [Shutdown::Fast, Shutdown::Immediate] {
        on_every_host_until_the_server_ends(async |site| {
            let (connected, observer) = (site.connect().await, site.connect().await);
            let Connected { client, serving, .. } = connected;
            let long = "SELECT pg_sleep(3600)";
            let shut_down = async {
                until_it_runs(&observer.client, long).await;
                site.server.shut_down(how);
            };
            let (answer, ()) = join(client.simple_query(long), shut_down).await;
            let error = answer.unwrap_err();
            let reason = error.code().cloned();
            match how {
                Shutdown::Fast => {
                    assert_eq!(reason, Some(SqlState::ADMIN_SHUTDOWN), "on {:?}", site.host);
                }
                Shutdown::Immediate => assert!(error.is_closed(), "{error} on {:?}", site.host),
            }
            // The connection is over, in whatever words; what is asked of it is answered so at
            // once.
            let _ = serving.await.unwrap();
            let error = client.simple_query("SELECT 1").await.unwrap_err();
            assert!(error.is_closed(), "{error} on {:?}", site.host);
            let _ = observer.serving.await.unwrap();
            // And nobody new is let in: it shuts down, or its socket is gone.
            let Err(error) = site.try_connect().await else {
                panic!("connected to a server that is gone, on {:?}", site.host);
            };
            let source = std::error::Error::source(&error);
            let io = source.and_then(|source| source.downcast_ref::<io::Error>());
            let kind = io.map(io::Error::kind);
            let refused = matches!(
                kind,
                Some(
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound | ErrorKind::ConnectionReset
                )
            );
            let leaving = error.code() == Some(&SqlState::CANNOT_CONNECT_NOW);
            assert!(refused || leaving || error.is_closed(), "{error:?} on {:?}", site.host);
        });
    }
}
