//! One connection: queries, streams, notifications, `COPY` and what is given up.

use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::zip;
use ioloop::{Reactor, timeout};
use ioloop_pq::{Connection, Error, ToParam};
use testkit::server::postgres::Shutdown;
use testkit::ways::every_way;

use super::*;

cases![
    queries_and_their_errors,
    connections_that_cannot_be_made,
    a_reactor_whose_type_nobody_knows,
    a_large_result_row_by_row,
    notifications_come_in_order_to_who_listens,
    copying_in_and_out,
    a_server_that_has_much_to_say_about_what_it_is_sent,
    a_statement_is_cancelled_in_the_middle,
    a_server_that_stops_and_comes_back,
    given_up_or_dropped_in_the_middle_it_leaves_nothing,
    a_loop_that_is_closed_in_the_middle,
    a_server_that_began_to_replicate_held_the_thread_for_ever,
];

fn queries_and_their_errors(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let series = "SELECT i, i * $1::int8, NULL, '' FROM generate_series(1, $2) i";
        let table = connection.query(series, &[&"3", &1000]).await.unwrap();
        assert_eq!((table.len(), table.columns(), table.affected()), (1000, 4, 1000));
        for row in 0..1000 {
            let expected = [row + 1, (row + 1) * 3].map(|number| number.to_string());
            let values = [0, 1, 2, 3].map(|column| table.value(row, column));
            let [first, second] = [0, 1].map(|i| Some(expected[i].as_bytes()));
            assert_eq!(values, [first, second, None, Some(&b""[..])]);
        }
        // Larger than any buffer on the way, in both directions.
        let large = "x".repeat(8 << 20);
        let echo = connection.query("SELECT $1::text", &[&large]).await.unwrap();
        assert!(echo.value(0, 0) == Some(large.as_bytes()));
        let null = connection.query("SELECT $1::text", &[&None::<&str>]).await.unwrap();
        assert_eq!(null.value(0, 0), None);

        connection.query("CREATE TEMPORARY TABLE numbers (n int4)", &[]).await.unwrap();
        let insert = "INSERT INTO numbers SELECT generate_series(1, 7)";
        assert_eq!(connection.query(insert, &[]).await.unwrap().affected(), 7);
        assert_eq!(connection.query("", &[]).await.unwrap().len(), 0);

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
        let zero = connection.query("SELECT $1::text", &[&"\0"]).await;
        assert!(matches!(zero, Err(Error::Unexpected(_))));
        assert_eq!(number(&mut connection, "SELECT count(*) FROM numbers").await, 7, "it goes on");
    });
}

fn connections_that_cannot_be_made(server: &Shared) {
    in_every_way(server, async |site| {
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

fn a_reactor_whose_type_nobody_knows(server: &Shared) {
    in_every_way(server, async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let mut connection = Connection::connect(reactor, &site.conninfo(USER)).await.unwrap();
        let answer = connection.query("SELECT 42", &[]).await.unwrap();
        assert_eq!(text(&answer).as_deref(), Some("42"));
    });
}

fn a_large_result_row_by_row(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let series = "SELECT i, repeat('x', 100) FROM generate_series(1, $1) i";
        let mut rows = connection.stream(series, &[&20000]).await.unwrap();
        let mut count = 0;
        while let Some(row) = rows.next().await {
            count += 1;
            assert_eq!(row.unwrap().get(0), Ok(count));
        }
        assert_eq!(count, 20_000);
        assert!(rows.next().await.is_none());

        // An error after some rows, of which those of its own piece do not come.
        let breaks = "SELECT 1 / (1000 - i) FROM generate_series(1, 2000) i";
        let mut rows = connection.stream(breaks, &[]).await.unwrap();
        let mut came = 0;
        let end = loop {
            match rows.next().await.unwrap() {
                Ok(_) => came += 1,
                end => break end,
            }
        };
        assert!((936..1000).contains(&came), "{came}");
        assert_eq!(state(end).as_deref(), Some(DIVISION_BY_ZERO));
        assert!(rows.next().await.is_none());

        // Given up: what is left of it is in nobody's way.
        let mut rows = connection.stream(series, &[&20000]).await.unwrap();
        rows.next().await.unwrap().unwrap();
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
    });
}

fn notifications_come_in_order_to_who_listens(server: &Shared) {
    in_every_way(server, async |site| {
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
                sender.query(notify, &[&"b", &"nobody listens"]).await.unwrap();
                sender.query(notify, &[&"a", &payload]).await.unwrap();
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

fn copying_in_and_out(server: &Shared) {
    in_every_way(server, async |site| {
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
        while let Some(row) = copy.next().await {
            out.extend(row.unwrap());
        }
        assert!(out == all.as_bytes());
        assert_eq!(copy.next().await, None);

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
            match copy.next().await.unwrap() {
                Ok(_) => {}
                end => break end,
            }
        };
        assert_eq!(state(end).as_deref(), Some(DIVISION_BY_ZERO));
        assert_eq!(number(&mut connection, count).await, 20_000);
    });
}

fn a_server_that_has_much_to_say_about_what_it_is_sent(server: &Shared) {
    in_every_way(server, async |site| {
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

fn a_statement_is_cancelled_in_the_middle(server: &Shared) {
    in_every_way(server, async |site| {
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

fn a_server_that_stops_and_comes_back(server: &Shared) {
    in_every_way(server, async |site| {
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

fn given_up_or_dropped_in_the_middle_it_leaves_nothing(server: &Shared) {
    in_every_way(server, async |site| {
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
        until_it_runs(&mut site.connect().await, SLEEP).await;
        connection.canceller().unwrap().cancel().await.unwrap();
        drop(connection);
        assert_eq!(site.left(), only_the_case);

        // A future that is leaked keeps nothing of the connection's.
        let mut connection = site.connect().await;
        let mut listening = Box::pin(connection.notification());
        begin(listening.as_mut()).await;
        mem::forget(listening);
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
        drop(connection);
        assert_eq!(site.left(), only_the_case);

        let mut connection = site.connect().await;
        let large = "x".repeat(32 << 20);
        {
            let parameters: [&dyn ToParam; 1] = [&large];
            let mut sending = pin!(connection.query("SELECT $1::text", &parameters));
            begin(sending.as_mut()).await;
            // It would read, and writes, unless the server has read all of it meanwhile.
            assert!(matches!(site.left().0, 1 | 2), "{:?}", site.left());
        }
        drop(connection);
        assert_eq!(site.left(), only_the_case);

        let mut connection = site.connect().await;
        connection.query("CREATE TEMPORARY TABLE lines (line text)", &[]).await.unwrap();
        let mut copy = connection.copy_in("COPY lines FROM STDIN").await.unwrap();
        copy.write(b"half a li").await.unwrap();
    });
}

fn a_loop_that_is_closed_in_the_middle(server: &Shared) {
    every_way(|way| {
        let site = Site { io_loop: way.io_loop(), server };
        let mut connection = way.run(&site.io_loop, site.connect());
        {
            let mut sleeping = pin!(connection.query(SLEEP, &[]));
            way.run(&site.io_loop, begin(sleeping.as_mut()));
            site.io_loop.close().unwrap();
            assert_eq!(site.left(), (0, 0, 0));
            let slept = way.block_on(sleeping);
            assert!(matches!(slept, Err(Error::Loop(_))), "{slept:?}");
        }
        // By a thread, or by the loop if libpq can do without.
        let cancelled = way.block_on(connection.canceller().unwrap().cancel());
        assert!(matches!(cancelled, Ok(()) | Err(Error::Loop(_))), "{cancelled:?}");
        let next = way.block_on(connection.notification());
        assert!(matches!(next, Err(Error::Loop(_))), "{next:?}");
        let connecting = way.block_on(site.try_connect());
        assert!(matches!(connecting, Err(Error::Loop(_))));
        drop(connection);
        let site = Site { io_loop: way.io_loop(), server };
        way.run(&site.io_loop, async { wake_all(&mut site.connect().await).await });
    });
}

fn a_server_that_began_to_replicate_held_the_thread_for_ever(server: &Shared) {
    in_every_way(server, async |site| {
        let conninfo = site.conninfo(USER) + " replication=true";
        let mut connection = Connection::connect(site.io_loop.clone(), &conninfo).await.unwrap();
        connection.script("IDENTIFY_SYSTEM").await.unwrap();
        for _ in 0..2 {
            let replicates = connection.script("START_REPLICATION 0/1000000").await;
            assert!(matches!(replicates, Err(Error::Unexpected(_))), "{replicates:?}");
        }
    });
}
