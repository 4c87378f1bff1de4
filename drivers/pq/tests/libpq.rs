//! PostgreSQL through libpq from loops on every backend, in every mode, against a server of the
//! test's own.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::zip;
use ioloop::{IOLoop, Reactor, timeout};
use ioloop_pq::{Connection, Error, Table};
use testkit::server::postgres::{Server, Shutdown, USER};

use testkit::ways::every_way;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const HANGS: Duration = Duration::from_secs(60);

/// A loop, and the server.
struct Site<'a> {
    io_loop: IOLoop,
    server: &'a RefCell<Server>,
}

impl Site<'_> {
    fn conninfo(&self, database: &str) -> String {
        let server = self.server.borrow();
        format!("host={} user={USER} dbname={database}", server.directory().display())
    }

    async fn try_connect(&self) -> Result<Connection<IOLoop>, Error> {
        Connection::connect(self.io_loop.clone(), &self.conninfo(USER)).await
    }

    async fn connect(&self) -> Connection<IOLoop> {
        self.try_connect().await.unwrap()
    }

    fn left(&self) -> (usize, usize, usize) {
        let metrics = self.io_loop.metrics();
        (metrics.watches, metrics.timers, metrics.tasks)
    }
}

/// Runs a case in each way, all on one server; nothing may be left in the loop, and no client at
/// the server.
fn in_every_way(case: impl AsyncFn(&Site<'_>)) {
    let Some(server) = Server::start_or_skip() else { return };
    let server = RefCell::new(server);
    every_way(|way| {
        let site = Site { io_loop: way.io_loop(), server: &server };
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

async fn number(connection: &mut Connection<IOLoop>, sql: &str) -> i64 {
    text(&connection.query(sql, &[]).await.unwrap()).unwrap().parse().unwrap()
}

/// Waits until the server is at a statement, somebody else's.
async fn until_it_runs(connection: &mut Connection<IOLoop>, sql: &str) {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'";
    while text(&connection.query(count, &[Some(sql)]).await.unwrap()).as_deref() == Some("0") {}
}

/// The first value.
fn text(table: &Table) -> Option<String> {
    table.value(0, 0).map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn state<T>(answer: Result<T, Error>) -> Option<String> {
    match answer {
        Err(Error::Server { state, .. }) => Some(state),
        _ => None,
    }
}

fn is_failed<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Failed(_)))
}

/// Polls a future once, which has to find nothing yet.
async fn begin(mut future: Pin<&mut impl Future>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

const DIVISION_BY_ZERO: &str = "22012";
const CANCELLED: &str = "57014";
const SLEEP: &str = "SELECT pg_sleep(3600)";

#[test]
fn queries_and_their_errors() {
    in_every_way(async |site| {
        let mut connection = site.connect().await;
        let series = "SELECT i, i * $1::int8, NULL, '' FROM generate_series(1, $2) i";
        let table = connection.query(series, &[Some("3"), Some("1000")]).await.unwrap();
        assert_eq!((table.rows(), table.columns(), table.affected()), (1000, 4, 1000));
        for row in 0..1000 {
            let expected = [row + 1, (row + 1) * 3].map(|number| number.to_string());
            let values = [0, 1, 2, 3].map(|column| table.value(row, column));
            let [first, second] = [0, 1].map(|i| Some(expected[i].as_bytes()));
            assert_eq!(values, [first, second, None, Some(&b""[..])]);
        }
        // Larger than any buffer on the way, in both directions.
        let large = "x".repeat(8 << 20);
        let echo = connection.query("SELECT $1::text", &[Some(&large)]).await.unwrap();
        assert!(echo.value(0, 0) == Some(large.as_bytes()));
        let null = connection.query("SELECT $1::text", &[None]).await.unwrap();
        assert_eq!(null.value(0, 0), None);

        connection.query("CREATE TEMPORARY TABLE numbers (n int4)", &[]).await.unwrap();
        let insert = "INSERT INTO numbers SELECT generate_series(1, 7)";
        assert_eq!(connection.query(insert, &[]).await.unwrap().affected(), 7);
        assert_eq!(connection.query("", &[]).await.unwrap().rows(), 0);

        let division = connection.query("SELECT 1 / 0", &[]).await;
        assert_eq!(state(division).as_deref(), Some(DIVISION_BY_ZERO));
        assert_eq!(state(connection.query("SELEKT", &[]).await).as_deref(), Some("42601"));
        let copies = connection.query("COPY numbers TO STDOUT", &[]).await;
        assert!(matches!(copies, Err(Error::Unexpected(_))));
        let copies = connection.query("COPY numbers FROM STDIN", &[]).await;
        assert!(matches!(copies, Err(Error::Unexpected(_))));
        let copies_not = connection.copy_in("SELECT 1").await;
        assert!(matches!(copies_not, Err(Error::Unexpected(_))));
        let copies_not = connection.copy_out("SELECT 1 / 0").await;
        assert_eq!(state(copies_not).as_deref(), Some(DIVISION_BY_ZERO));
        let zero = connection.query("SELECT $1::text", &[Some("\0")]).await;
        assert!(matches!(zero, Err(Error::Unexpected(_))));
        assert_eq!(number(&mut connection, "SELECT count(*) FROM numbers").await, 7, "it goes on");
    });
}

#[test]
fn connections_that_cannot_be_made() {
    in_every_way(async |site| {
        for conninfo in [&site.conninfo("nosuchdatabase"), "host=/nowhere", "no conninfo at all"] {
            let connecting = Connection::connect(site.io_loop.clone(), conninfo).await;
            assert!(is_failed(&connecting), "{conninfo}");
        }
        // The first of the hosts is none: libpq closes its socket, and opens another.
        let hosts = site.conninfo(USER).replace("host=", "host=/nowhere,");
        let mut connection = Connection::connect(site.io_loop.clone(), &hosts).await.unwrap();
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let mut connection = Connection::connect(reactor, &site.conninfo(USER)).await.unwrap();
        let answer = connection.query("SELECT 42", &[]).await.unwrap();
        assert_eq!(text(&answer).as_deref(), Some("42"));
    });
}

#[test]
fn a_large_result_row_by_row() {
    in_every_way(async |site| {
        let mut connection = site.connect().await;
        let series = "SELECT i, repeat('x', 100) FROM generate_series(1, $1) i";
        let mut rows = connection.stream(series, &[Some("20000")]).await.unwrap();
        let mut count = 0;
        while let Some(row) = rows.next().await.unwrap() {
            count += 1;
            assert_eq!((row.rows(), text(&row)), (1, Some(count.to_string())));
        }
        assert_eq!(count, 20_000);
        assert!(rows.next().await.unwrap().is_none());

        // An error after some rows.
        let breaks = "SELECT 1 / (3 - i) FROM generate_series(1, 5) i";
        let mut rows = connection.stream(breaks, &[]).await.unwrap();
        let mut came = 0;
        let end = loop {
            match rows.next().await {
                Ok(Some(_)) => came += 1,
                end => break end,
            }
        };
        assert_eq!((came, state(end).as_deref()), (2, Some(DIVISION_BY_ZERO)));
        assert!(rows.next().await.unwrap().is_none());

        // Given up: what is left of it is in nobody's way.
        let mut rows = connection.stream(series, &[Some("20000")]).await.unwrap();
        rows.next().await.unwrap().unwrap();
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
    });
}

#[test]
fn notifications_come_in_order_to_who_listens() {
    in_every_way(async |site| {
        let (mut listener, mut sender) = (site.connect().await, site.connect().await);
        listener.query("LISTEN a", &[]).await.unwrap();
        let heard = async {
            let mut heard = Vec::new();
            while heard.len() < 100 {
                heard.push(listener.notification().await.unwrap());
            }
            heard
        };
        let sent = async {
            for n in 0..100 {
                let payload = n.to_string();
                let notify = "SELECT pg_notify($1, $2)";
                sender.query(notify, &[Some("b"), Some("nobody listens")]).await.unwrap();
                sender.query(notify, &[Some("a"), Some(&payload)]).await.unwrap();
            }
        };
        let (heard, ()) = zip(heard, sent).await;
        for (n, notification) in heard.iter().enumerate() {
            assert_eq!((&*notification.channel, &*notification.payload), ("a", &*n.to_string()));
        }

        // What comes while it does something else, and to who waits in vain first.
        let in_vain = timeout(&site.io_loop, Duration::from_millis(1), listener.notification());
        assert!(in_vain.await.unwrap_err().is_elapsed());
        sender.query("NOTIFY a, 'later'", &[]).await.unwrap();
        assert_eq!(number(&mut listener, "SELECT 42").await, 42);
        assert_eq!(listener.notification().await.unwrap().payload, "later");
    });
}

#[test]
fn copying_in_and_out() {
    in_every_way(async |site| {
        let mut connection = site.connect().await;
        let create = "CREATE TEMPORARY TABLE lines (n int4, line text)";
        connection.query(create, &[]).await.unwrap();
        let row = |n: u32| format!("{n}\t{}\n", "x".repeat(200));

        let mut copy = connection.copy_in("COPY lines FROM STDIN").await.unwrap();
        let all: String = (0..20_000).map(row).collect();
        // Cut anywhere, and in sizes that have to wait for the socket.
        for chunk in all.as_bytes().chunks(1_000_003) {
            copy.write(chunk).await.unwrap();
        }
        assert_eq!(copy.finish().await, Ok(20_000));

        let mut copy = connection.copy_out("COPY lines TO STDOUT").await.unwrap();
        let mut out = Vec::new();
        while let Some(row) = copy.next().await.unwrap() {
            out.extend(row);
        }
        assert!(out == all.as_bytes());
        assert_eq!(copy.next().await, Ok(None));

        // A row that is none.
        let mut copy = connection.copy_in("COPY lines FROM STDIN").await.unwrap();
        copy.write(b"no number\tx\n").await.unwrap();
        assert_eq!(state(copy.finish().await).as_deref(), Some("22P02"));
        // Given up, each way.
        let mut copy = connection.copy_in("COPY lines FROM STDIN").await.unwrap();
        copy.write(row(1).as_bytes()).await.unwrap();
        let count = "SELECT count(*) FROM lines";
        assert_eq!(number(&mut connection, count).await, 20_000, "it came to nothing");
        let mut copy = connection.copy_out("COPY lines TO STDOUT").await.unwrap();
        copy.next().await.unwrap().unwrap();
        assert_eq!(number(&mut connection, count).await, 20_000);
        // An error after some rows.
        let breaks = "COPY (SELECT 1 / (3 - i) FROM generate_series(1, 5) i) TO STDOUT";
        let mut copy = connection.copy_out(breaks).await.unwrap();
        let end = loop {
            match copy.next().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert_eq!(state(end).as_deref(), Some(DIVISION_BY_ZERO));
        assert_eq!(number(&mut connection, count).await, 20_000);
    });
}

#[test]
fn a_server_that_has_much_to_say_about_what_it_is_sent() {
    in_every_way(async |site| {
        let mut connection = site.connect().await;
        for sql in [
            "CREATE TEMPORARY TABLE lines (line text)",
            "CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE NOTICE '%', repeat('n', 5000); RETURN NEW; END $$",
            "CREATE TRIGGER note BEFORE INSERT ON lines FOR EACH ROW EXECUTE FUNCTION pg_temp.note()",
        ] {
            connection.query(sql, &[]).await.unwrap();
        }
        // More in each direction than the socket holds: who only writes waits for ever. In pieces,
        // since the server reads each as a whole before it says anything.
        let mut copy = connection.copy_in("COPY lines FROM STDIN").await.unwrap();
        let row = format!("{}\n", "x".repeat(1000));
        for _ in 0..2000 {
            copy.write(row.as_bytes()).await.unwrap();
        }
        assert_eq!(copy.finish().await, Ok(2000));
    });
}

#[test]
fn a_statement_is_cancelled_in_the_middle() {
    in_every_way(async |site| {
        let (mut connection, mut other) = (site.connect().await, site.connect().await);
        let canceller = connection.canceller().unwrap();
        let cancelling = async {
            until_it_runs(&mut other, SLEEP).await;
            canceller.cancel().await
        };
        let (slept, cancelled) = zip(connection.query(SLEEP, &[]), cancelling).await;
        assert_eq!(state(slept).as_deref(), Some(CANCELLED));
        assert_eq!(cancelled, Ok(()));
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);

        // One that was given up, and would go on for an hour.
        let given_up =
            timeout(&site.io_loop, Duration::from_millis(1), connection.query(SLEEP, &[]));
        assert!(given_up.await.unwrap_err().is_elapsed());
        until_it_runs(&mut other, SLEEP).await;
        connection.canceller().unwrap().cancel().await.unwrap();
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
    });
}

#[test]
fn a_server_that_stops_and_comes_back() {
    in_every_way(async |site| {
        for how in [Shutdown::Fast, Shutdown::Immediate] {
            let (mut busy, mut listener) = (site.connect().await, site.connect().await);
            let mut idle = site.connect().await;
            {
                let mut sleeping = pin!(busy.query(SLEEP, &[]));
                let mut listening = pin!(listener.notification());
                begin(sleeping.as_mut()).await;
                begin(listening.as_mut()).await;
                until_it_runs(&mut idle, SLEEP).await;
                site.server.borrow_mut().stop(how).unwrap();
                assert!(sleeping.await.is_err(), "{how:?}");
                assert!(is_failed(&listening.await), "{how:?}");
            }
            for connection in [&mut busy, &mut listener, &mut idle] {
                let answer = connection.query("SELECT 1", &[]).await;
                assert!(answer.is_err(), "{how:?}");
                assert!(is_failed(&connection.query("SELECT 1", &[]).await), "{how:?}");
                assert!(is_failed(&connection.notification().await), "{how:?}");
            }
            assert!(is_failed(&site.try_connect().await), "it is down");
            site.server.borrow_mut().start_again().unwrap();
            assert_eq!(number(&mut site.connect().await, "SELECT 42").await, 42);
        }
    });
}

#[test]
fn given_up_or_dropped_in_the_middle_it_leaves_nothing() {
    in_every_way(async |site| {
        let only_the_case = site.left();
        let conninfo = site.conninfo(USER);
        {
            let mut connecting = pin!(Connection::connect(site.io_loop.clone(), &conninfo));
            begin(connecting.as_mut()).await;
            assert_eq!(site.left().0, 1);
        }
        assert_eq!(site.left(), only_the_case);

        let mut connection = site.connect().await;
        {
            let mut sleeping = pin!(connection.query(SLEEP, &[]));
            begin(sleeping.as_mut()).await;
            assert_eq!(site.left().0, 1);
        }
        assert_eq!(site.left(), only_the_case, "while the statement goes on");
        until_it_runs(&mut site.connect().await, SLEEP).await;
        connection.canceller().unwrap().cancel().await.unwrap();

        // A future that is leaked ends its watch never; libpq must not be called under it
        // nevertheless.
        let mut connection = site.connect().await;
        let mut listening = Box::pin(connection.notification());
        begin(listening.as_mut()).await;
        mem::forget(listening);
        assert_eq!(site.left().0, 1);
        connection.canceller().unwrap();
        assert_eq!(site.left(), only_the_case);

        let mut connection = site.connect().await;
        let large = "x".repeat(32 << 20);
        {
            let parameters = [Some(&*large)];
            let mut sending = pin!(connection.query("SELECT $1::text", &parameters));
            begin(sending.as_mut()).await;
            assert_eq!(site.left().0, 2, "it writes, and would read");
        }
        assert_eq!(site.left(), only_the_case);
        drop(connection);

        let mut connection = site.connect().await;
        connection.query("CREATE TEMPORARY TABLE lines (line text)", &[]).await.unwrap();
        let mut copy = connection.copy_in("COPY lines FROM STDIN").await.unwrap();
        copy.write(b"half a li").await.unwrap();
    });
}

#[test]
fn a_loop_that_is_closed_in_the_middle() {
    let Some(server) = Server::start_or_skip() else { return };
    let server = RefCell::new(server);
    every_way(|way| {
        let site = Site { io_loop: way.io_loop(), server: &server };
        let mut connection = way.run(&site.io_loop, site.connect());
        {
            let mut sleeping = pin!(connection.query(SLEEP, &[]));
            way.run(&site.io_loop, begin(sleeping.as_mut()));
            site.io_loop.close().unwrap();
            assert_eq!(site.left(), (0, 0, 0));
            let slept = way.block_on(sleeping);
            assert!(matches!(slept, Err(Error::Loop(_))), "{slept:?}");
        }
        way.block_on(connection.canceller().unwrap().cancel()).unwrap();
        let next = way.block_on(connection.notification());
        assert!(matches!(next, Err(Error::Loop(_))), "{next:?}");
        let connecting = way.block_on(site.try_connect());
        assert!(matches!(connecting, Err(Error::Loop(_))));
    });
}
