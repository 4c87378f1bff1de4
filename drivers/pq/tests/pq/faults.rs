//! Servers that are slow, silent or none, and sockets whose numbers come again.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::pin::pin;

use ioloop::sleep;
use ioloop_pq::Client;
use testkit::server::Directory;

use super::*;

/// Something that listens where a PostgreSQL server would.
fn listen(directory: &Directory) -> (UnixListener, String) {
    let path = directory.path().join(".s.PGSQL.5432");
    let _ = fs::remove_file(&path);
    let conninfo = format!("host={} user=x port=5432", directory.path().display());
    (UnixListener::bind(path).unwrap(), conninfo)
}

#[test]
fn a_server_that_never_answers_is_given_up_and_leaves_nothing() {
    let directory = Directory::new("silent").unwrap();
    every_way(|way| {
        let (_silent, conninfo) = listen(&directory);
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let connecting = Connection::connect(io_loop.clone(), &conninfo);
            let patience = Duration::from_millis(1);
            assert!(timeout(&io_loop, patience, connecting).await.unwrap_err().is_elapsed());
            let client = Client::connect(io_loop.downgrade(), &conninfo);
            assert!(timeout(&io_loop, patience, client).await.unwrap_err().is_elapsed());
            let client = Client::new(io_loop.downgrade(), &conninfo, Default::default()).unwrap();
            let asked = timeout(&io_loop, patience, client.query("SELECT 1", &[]));
            assert!(asked.await.unwrap_err().is_elapsed());
            drop(client);
            // The loop drops the client's task in its next turn.
            sleep(&io_loop, Duration::ZERO).await.unwrap();
            sleep(&io_loop, Duration::ZERO).await.unwrap();
        });
        let metrics = io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0));
    });
}

#[test]
fn a_server_that_talks_nonsense_or_hangs_up_is_an_error() {
    let directory = Directory::new("nonsense").unwrap();
    every_way(|way| {
        for said in
            [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05"]
        {
            let (listener, conninfo) = listen(&directory);
            let io_loop = way.io_loop();
            let connected = way.run(&io_loop, async {
                let mut connecting = pin!(Connection::connect(io_loop.clone(), &conninfo));
                begin(connecting.as_mut()).await;
                let (mut socket, _) = listener.accept().unwrap();
                socket.write_all(said).unwrap();
                drop(socket);
                connecting.await
            });
            assert!(is_failed(&connected), "{connected:?}");
            assert_eq!(io_loop.metrics().watches, 0);
        }
    });
}

cases![
    a_socket_whose_number_is_taken_by_the_next_connection_is_watched_no_more,
    a_connection_that_is_dropped_inside_a_callback_leaves_nothing,
    a_slow_reader_of_rows_is_not_sent_all_of_them,
    eighty_connections_at_once,
];

fn a_socket_whose_number_is_taken_by_the_next_connection_is_watched_no_more(server: &Shared) {
    in_every_way(server, async |site| {
        let mut killer = site.connect().await;
        number(&mut killer, "SELECT 1").await;
        let only_the_killer = site.left();
        for _ in 0..5 {
            let mut old = site.connect().await;
            let process = number(&mut old, "SELECT pg_backend_pid()").await;
            {
                // It is watched while it dies, and libpq closes its socket inside of a callback.
                let mut dying = pin!(old.query(SLEEP, &[]));
                begin(dying.as_mut()).await;
                killer.query("SELECT pg_terminate_backend($1)", &[&process]).await.unwrap();
                assert_eq!(state(dying.await).as_deref(), Some("57P01"));
            }
            while old.query("SELECT 1", &[]).await.is_ok() {}
            // The kernel gives out the lowest number that is free: the one that was closed.
            let mut new = site.connect().await;
            assert_eq!(number(&mut new, "SELECT 1").await, 1);
            for _ in 0..3 {
                assert!(is_failed(&old.query("SELECT 1", &[]).await));
                assert!(is_failed(&old.notification().await));
                assert_eq!(number(&mut new, "SELECT 2").await, 2);
            }
            drop(old);
            assert_eq!(number(&mut new, "SELECT 3").await, 3);
            drop(new);
            assert_eq!(site.left(), only_the_killer);
        }
    });
}

fn a_connection_that_is_dropped_inside_a_callback_leaves_nothing(server: &Shared) {
    in_every_way(server, async |site| {
        let only_the_case = site.left();
        let mut connection = site.connect().await;
        let asking =
            site.io_loop.spawn(async move { connection.query(SLEEP, &[]).await.map(drop) });
        let mut other = site.connect().await;
        until_it_runs(&mut other, SLEEP).await;
        // It owns the connection.
        let cancelled =
            ioloop::Reactor::call_soon(&site.io_loop, move || drop(asking.cancel_on_drop()));
        number(&mut other, "SELECT 1").await;
        assert!(!cancelled.cancel(), "it was called");
        wake_all(&mut other).await;
        drop(other);
        assert_eq!(site.left(), only_the_case);
    });
}

fn a_slow_reader_of_rows_is_not_sent_all_of_them(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let mut other = site.connect().await;
        // 400 MB, of which the sockets hold some hundred kilobytes.
        let many = "SELECT repeat('x', 10000), nextval('rows') FROM generate_series(1, 40000)";
        other.query("CREATE SEQUENCE rows", &[]).await.unwrap();
        let mut rows = connection.stream(many, &[]).await.unwrap();
        rows.next().await.unwrap().unwrap();
        // The server waits for room.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
        while number(&mut other, waits).await == 0 {}
        let sent = number(&mut other, "SELECT last_value FROM rows").await;
        assert!(sent < 4000, "{sent} rows, and one was asked for");
        drop(rows);
        connection.canceller().unwrap().cancel().await.unwrap();
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
        other.query("DROP SEQUENCE rows", &[]).await.unwrap();
    });
}

/// The server takes a hundred by default, and keeps some of them.
fn eighty_connections_at_once(server: &Shared) {
    in_every_way(server, async |site| {
        let connecting: Vec<_> = (0..80)
            .map(|_| {
                let (io_loop, conninfo) = (site.io_loop.clone(), site.conninfo(USER));
                site.io_loop.spawn(async move {
                    let mut connection = Connection::connect(io_loop, &conninfo).await.unwrap();
                    number(&mut connection, "SELECT 42").await
                })
            })
            .collect();
        for connection in connecting {
            assert_eq!(connection.await.unwrap(), 42);
        }
    });
}
