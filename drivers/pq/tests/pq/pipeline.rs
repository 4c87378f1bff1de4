//! Pipelines.

use std::io::{Read, Write, copy};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ioloop_pq::{Client, Statement};

use super::*;

cases![
    ten_thousand_queries_go_in_one_pipeline,
    each_query_of_a_pipeline_has_its_own_error,
    a_statement_that_the_server_was_told_to_forget_is_prepared_again,
    a_pipeline_larger_than_all_buffers_does_not_come_to_a_halt,
    a_pipeline_that_is_given_up_is_in_nobodys_way,
    a_copy_in_a_pipeline_ends_the_connection_and_does_not_hang,
    over_tcp_queries_that_are_sent_together_are_few_packets,
];

fn ten_thousand_queries_go_in_one_pipeline(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let double = Statement::new("SELECT $1::int8 * 2").unwrap();
        let mut pipeline = connection.pipeline();
        for n in 0..10_000_i64 {
            pipeline.query(&double, &[&n]);
        }
        let answers = pipeline.run().await.unwrap();
        assert_eq!(answers.len(), 10_000);
        for (n, answer) in (0_i64..).zip(answers) {
            assert_eq!(answer.unwrap().row(0).unwrap().get(0), Ok(n * 2));
        }
        assert_eq!(number(&mut connection, "SELECT 42").await, 42);
    });
}

fn each_query_of_a_pipeline_has_its_own_error(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let wrong = Statement::new("SELEKT").unwrap();
        let fails = Statement::new("SELECT 1 / $1::int4").unwrap();
        connection.query("CREATE TEMPORARY TABLE t (n int4)", &[]).await.unwrap();
        let mut pipeline = connection.pipeline();
        pipeline.query("INSERT INTO t VALUES (1)", &[]);
        pipeline.query("SELECT 1 / 0", &[]);
        pipeline.query(&wrong, &[]);
        pipeline.query("SELECT $1::text", &[&"\0"]);
        pipeline.query(&fails, &[&0]);
        pipeline.query(&fails, &[&1]);
        pipeline.query("", &[]);
        pipeline.query("SELECT count(*) FROM t", &[]);
        let answers = pipeline.run().await.unwrap();
        let states: Vec<_> = answers.iter().map(|answer| state(answer.clone())).collect();
        let zero = Some(DIVISION_BY_ZERO);
        let expected = [None, zero, Some("42601"), None, zero, None, None, None];
        assert_eq!(states.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        assert!(matches!(answers[3], Err(Error::Unexpected(_))));
        assert_eq!(text(answers[7].as_ref().unwrap()).as_deref(), Some("1"), "the first stays");
        // What was not prepared is, at its next use; what was stays so.
        assert_eq!(state(connection.query(&wrong, &[]).await).as_deref(), Some("42601"));
        assert_eq!(text(&connection.query(&fails, &[&1]).await.unwrap()).as_deref(), Some("1"));
        assert!(connection.pipeline().run().await.unwrap().is_empty());
    });
}

fn a_statement_that_the_server_was_told_to_forget_is_prepared_again(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let statement = Statement::new("SELECT 7").unwrap();
        connection.query(&statement, &[]).await.unwrap();
        connection.query("DEALLOCATE ALL", &[]).await.unwrap();
        for expected in [Some("26000"), None] {
            let mut pipeline = connection.pipeline();
            pipeline.query(&statement, &[]);
            let answer = pipeline.run().await.unwrap().remove(0);
            assert_eq!(state(answer).as_deref(), expected);
        }
        connection.query("DEALLOCATE ALL", &[]).await.unwrap();
        for expected in [Some("26000"), None] {
            assert_eq!(state(connection.query(&statement, &[]).await).as_deref(), expected);
        }
    });
}

fn a_pipeline_larger_than_all_buffers_does_not_come_to_a_halt(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let large = "x".repeat(1 << 20);
        let mut pipeline = connection.pipeline();
        for _ in 0..16 {
            pipeline.query("SELECT $1::text", &[&large]);
        }
        for answer in pipeline.run().await.unwrap() {
            assert!(answer.unwrap().value(0, 0) == Some(large.as_bytes()));
        }
    });
}

fn a_pipeline_that_is_given_up_is_in_nobodys_way(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        connection.query("CREATE TEMPORARY TABLE t (n int4)", &[]).await.unwrap();
        let mut pipeline = connection.pipeline();
        for n in 0..100 {
            pipeline.query("INSERT INTO t VALUES ($1)", &[&n]);
        }
        begin(pin!(pipeline.run())).await;
        assert_eq!(number(&mut connection, "SELECT count(*) FROM t").await, 100, "all are run");
        let mut pipeline = connection.pipeline();
        pipeline.query("INSERT INTO t VALUES (1)", &[]);
        drop(pipeline);
        assert_eq!(number(&mut connection, "SELECT count(*) FROM t").await, 100, "none was sent");
    });
}

fn a_copy_in_a_pipeline_ends_the_connection_and_does_not_hang(server: &Shared) {
    in_every_way(server, async |site| {
        for copy in ["COPY pg_type TO STDOUT", "COPY pg_type FROM STDIN"] {
            let mut connection = site.connect().await;
            let mut pipeline = connection.pipeline();
            pipeline.query("SELECT 1", &[]).query(copy, &[]).query("SELECT 2", &[]);
            let answers = pipeline.run().await;
            assert!(matches!(answers, Err(Error::Unexpected(_))), "{answers:?}");
            let next = connection.query("SELECT 1", &[]).await;
            assert!(matches!(next, Err(Error::Unexpected(_))), "{next:?}");
        }
    });
}

fn over_tcp_queries_that_are_sent_together_are_few_packets(server: &Shared) {
    in_every_way(server, async |site| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let conninfo = format!("hostaddr=127.0.0.1 port={port} user={USER} dbname={USER}");
        let socket = site.server.borrow().directory().join(".s.PGSQL.5432");
        let count = Arc::new(AtomicUsize::new(0));
        let pieces = Arc::clone(&count);
        // Each ends with its connection.
        thread::spawn(move || {
            for _ in 0..2 {
                relay(&listener, &socket, &pieces);
            }
        });
        // Elsewhere than on Linux, a libpq before version 17 sends each by itself.
        let few = if cfg!(target_os = "linux") { 100 } else { usize::MAX };
        let sent = || count.swap(0, Ordering::SeqCst);
        let statement = Statement::new("SELECT $1::int8").unwrap();

        let mut connection = Connection::connect(site.io_loop.clone(), &conninfo).await.unwrap();
        connection.query(&statement, &[&0]).await.unwrap();
        let mut pipeline = connection.pipeline();
        for n in 0..1000_i64 {
            pipeline.query(&statement, &[&n]);
        }
        sent();
        assert_eq!(pipeline.run().await.unwrap().len(), 1000);
        let pieces = sent();
        assert!(pieces < few, "a pipeline of 1,000 was {pieces}");
        assert_eq!(number(&mut connection, "SELECT 42").await, 42, "one alone goes at once");
        drop(connection);

        let client = Client::connect(site.io_loop.downgrade(), &conninfo).await.unwrap();
        client.query(&statement, &[&0]).await.unwrap();
        sent();
        let answers: Vec<_> = (0..1000_i64).map(|n| client.query(&statement, &[&n])).collect();
        for answer in answers {
            answer.await.unwrap();
        }
        let pieces = sent();
        assert!(pieces < few, "a client's 1,000 were {pieces}");
    });
}

/// Passes one connection on to the server, and counts the pieces that arrive for it.
fn relay(listener: &TcpListener, server: &Path, pieces: &AtomicUsize) {
    let (mut client, _) = listener.accept().unwrap();
    let mut server = UnixStream::connect(server).unwrap();
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || copy(&mut from, &mut to));
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        pieces.fetch_add(1, Ordering::SeqCst);
        server.write_all(&buffer[..length]).unwrap();
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}
