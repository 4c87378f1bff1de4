//! PostgreSQL through libpq from loops on every backend, in every mode, against a server of the
//! test's own.

mod client;
mod connection;
mod faults;
mod fork;
mod pipeline;
mod transaction;
mod values;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ioloop::{IOLoop, timeout};
use ioloop_pq::{Connection, Error, Table};
use testkit::server::postgres::{Server, Shutdown, USER};

use testkit::ways::every_way;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
pub(crate) const HANGS: Duration = Duration::from_secs(60);

/// A loop, and the server.
pub(crate) struct Site<'a> {
    pub(crate) io_loop: IOLoop,
    pub(crate) server: &'a RefCell<Server>,
}

impl Site<'_> {
    pub(crate) fn conninfo(&self, database: &str) -> String {
        let server = self.server.borrow();
        format!("host={} user={USER} dbname={database}", server.directory().display())
    }

    pub(crate) async fn try_connect(&self) -> Result<Connection<IOLoop>, Error> {
        Connection::connect(self.io_loop.clone(), &self.conninfo(USER)).await
    }

    pub(crate) async fn connect(&self) -> Connection<IOLoop> {
        self.try_connect().await.unwrap()
    }

    pub(crate) fn left(&self) -> (usize, usize, usize) {
        let metrics = self.io_loop.metrics();
        (metrics.watches, metrics.timers, metrics.tasks)
    }
}

/// The server of a file's cases.
pub(crate) type Shared = RefCell<Server>;

/// A test of these cases, one after the other, on one server: to make one takes longer than most of
/// them.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        #[test]
        fn cases() {
            let Some(server) = testkit::server::postgres::Server::start_or_skip() else { return };
            let server = std::cell::RefCell::new(server);
            let cases: &[(&str, fn(&crate::Shared))] = &[$((stringify!($case), $case)),*];
            for (name, case) in cases {
                // Seen where it fails.
                println!("{name}");
                case(&server);
            }
        }
    };
}
use cases;

/// Runs a case in each way, all on one server; nothing may be left in the loop, and no client at
/// the server.
pub(crate) fn in_every_way(server: &Shared, case: impl AsyncFn(&Site<'_>)) {
    every_way(|way| {
        let site = Site { io_loop: way.io_loop(), server };
        way.run(&site.io_loop, async {
            let case = timeout(&site.io_loop, HANGS, async {
                case(&site).await;
                // The server sees the end of its clients in a moment.
                let mut last = site.connect().await;
                let others = "SELECT count(*) - 1 FROM pg_stat_activity \
                              WHERE backend_type = 'client backend'";
                while number(&mut last, others).await > 0 {}
            });
            case.await.unwrap_or_else(|_| panic!("{}: it hangs", way.name));
        });
        assert_eq!(site.left(), (0, 0, 0), "watches, timers and tasks");
    });
}

pub(crate) async fn number(connection: &mut Connection<IOLoop>, sql: &str) -> i64 {
    text(&connection.query(sql, &[]).await.unwrap()).unwrap().parse().unwrap()
}

/// Waits until the server is at a statement, somebody else's.
pub(crate) async fn until_it_runs(connection: &mut Connection<IOLoop>, sql: &str) {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'";
    while text(&connection.query(count, &[&sql]).await.unwrap()).as_deref() == Some("0") {}
}

/// Ends whoever sleeps at the server, where a client that is gone is not missed.
pub(crate) async fn wake_all(connection: &mut Connection<IOLoop>) {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = $1";
    while text(&connection.query(end, &[&SLEEP]).await.unwrap()).as_deref() != Some("0") {}
}

/// The first value.
pub(crate) fn text(table: &Table) -> Option<String> {
    table.value(0, 0).map(|value| String::from_utf8(value.to_vec()).unwrap())
}

pub(crate) fn state<T>(answer: Result<T, Error>) -> Option<String> {
    match answer {
        Err(Error::Server { state, .. }) => Some(state),
        _ => None,
    }
}

pub(crate) fn is_failed<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Failed(_)))
}

/// Polls a future once, which has to find nothing yet.
pub(crate) async fn begin(mut future: Pin<&mut impl Future>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

pub(crate) const DIVISION_BY_ZERO: &str = "22012";
pub(crate) const CANCELLED: &str = "57014";
pub(crate) const SLEEP: &str = "SELECT pg_sleep(3600)";
