//! The client that many share, and that reconnects.

use std::pin::pin;
use std::rc::Rc;

use futures_lite::StreamExt;
use ioloop::{Reactor, sleep};
use ioloop_pq::{Backoff, Client, Heard, Statement};

use super::*;

const SOON: Backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(20) };

async fn connect(site: &Site<'_>) -> Client {
    let client = Client::new(site.io_loop.downgrade(), &site.conninfo(USER), SOON).unwrap();
    client.query("SELECT 1", &[]).await.unwrap();
    client
}

/// The number that a query gives.
async fn ask(client: &Client, sql: &str) -> Result<i64, Error> {
    client.query(sql, &[]).await?.row(0).unwrap().get(0)
}

/// Asks until there is a connection again.
async fn until_it_answers(client: &Client) {
    while ask(client, "SELECT 42").await.is_err() {}
}

cases![
    ten_thousand_queries_at_once_get_their_own_answers,
    one_that_fails_leaves_the_others_alone,
    an_answer_that_nobody_waits_for_is_thrown_away,
    a_server_that_is_killed_and_started_again_is_connected_to_again,
    a_connection_that_is_terminated_while_it_is_idle_is_made_again_unasked,
    channels_are_heard_by_who_listens_and_no_longer,
    a_copy_through_a_client_ends_its_connection_and_the_next_is_made,
    who_cannot_connect_is_told_so_and_tries_again,
    what_waits_for_a_connection_and_is_given_up_is_never_sent,
    a_client_that_is_dropped_inside_a_callback_leaves_nothing,
    a_client_of_a_reactor_whose_type_nobody_knows,
    a_loop_that_is_closed_ends_what_is_out_and_every_stream,
];

fn ten_thousand_queries_at_once_get_their_own_answers(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        let double = Statement::new("SELECT $1::int8 * 2").unwrap();
        let asked: Vec<_> = (0..10_000_i64).map(|n| client.query(&double, &[&n])).collect();
        for (n, answer) in (0_i64..).zip(asked) {
            assert_eq!(answer.await.unwrap().row(0).unwrap().get(0), Ok(n * 2));
        }
        let connections =
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        assert_eq!(ask(&client, connections).await, Ok(1));
    });
}

fn one_that_fails_leaves_the_others_alone(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        let wrong = Statement::new("SELEKT").unwrap();
        let (one, two) = (ask(&client, "SELECT 1"), ask(&client, "SELECT 1 / 0"));
        let (three, four) = (client.query(&wrong, &[]), ask(&client, "SELECT 4"));
        assert_eq!(one.await, Ok(1));
        assert_eq!(state(two.await).as_deref(), Some(DIVISION_BY_ZERO));
        assert_eq!(state(three.await).as_deref(), Some("42601"));
        assert_eq!(four.await, Ok(4));
        let zero = client.query("SELECT $1::text", &[&"\0"]).await;
        assert!(matches!(zero, Err(Error::Unexpected(_))));
    });
}

fn an_answer_that_nobody_waits_for_is_thrown_away(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        for n in 0..100 {
            let answer = client.query("SELECT $1::int8", &[&n]);
            if n % 2 == 0 {
                drop(answer);
            } else {
                assert_eq!(answer.await.unwrap().row(0).unwrap().get(0), Ok(n));
            }
        }
        let slow = timeout(
            &site.io_loop,
            Duration::from_millis(1),
            client.query("SELECT pg_sleep(0.1)", &[]),
        );
        assert!(slow.await.unwrap_err().is_elapsed());
        assert_eq!(ask(&client, "SELECT 42").await, Ok(42));
    });
}

fn a_server_that_is_killed_and_started_again_is_connected_to_again(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        let statement = Statement::new("SELECT 7").unwrap();
        let mut heard = client.listen("news").await.unwrap();
        for how in [Shutdown::Fast, Shutdown::Immediate] {
            client.query(&statement, &[]).await.unwrap();
            let out: Vec<_> = (0..10).map(|_| client.query(SLEEP, &[])).collect();
            until_it_runs(&mut site.connect().await, SLEEP).await;
            site.server.borrow_mut().stop(how).unwrap();
            for answer in out {
                let answer = answer.await;
                assert!(matches!(answer, Err(Error::Lost(_))), "{answer:?}");
            }
            let refused = ask(&client, "SELECT 42").await;
            assert!(is_failed(&refused), "{refused:?}");
            site.server.borrow_mut().start_again().unwrap();
            until_it_answers(&client).await;
            client.query(&statement, &[]).await.expect("it is prepared anew");
            // It listens again, and says that it may have missed something.
            client.query("NOTIFY news, 'after'", &[]).await.unwrap();
            assert_eq!(heard.next().await, Some(Heard::Reconnected));
            match heard.next().await {
                Some(Heard::Notification(it)) => assert_eq!(it.payload, "after"),
                other => panic!("{other:?}"),
            }
        }
    });
}

fn a_connection_that_is_terminated_while_it_is_idle_is_made_again_unasked(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        let mut heard = client.listen("news").await.unwrap();
        let mut other = site.connect().await;
        for _ in 0..3 {
            let process = ask(&client, "SELECT pg_backend_pid()").await.unwrap();
            other.query("SELECT pg_terminate_backend($1)", &[&process]).await.unwrap();
            assert_eq!(heard.next().await, Some(Heard::Reconnected));
            assert_ne!(ask(&client, "SELECT pg_backend_pid()").await, Ok(process));
        }
    });
}

fn channels_are_heard_by_who_listens_and_no_longer(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        let name = "Grüße \"an\" alle; --";
        let (mut one, mut two) =
            (client.listen(name).await.unwrap(), client.listen(name).await.unwrap());
        let notify = "SELECT pg_notify($1, $2)";
        client.query(notify, &[&name, &"first"]).await.unwrap();
        for stream in [&mut one, &mut two] {
            let Some(Heard::Notification(it)) = StreamExt::next(stream).await else { panic!("no") };
            assert_eq!((&*it.channel, &*it.payload), (name, "first"));
        }
        drop(one);
        client.query(notify, &[&name, &"second"]).await.unwrap();
        let Some(Heard::Notification(it)) = two.next().await else { panic!("no") };
        assert_eq!(it.payload, "second");
        let channels = "SELECT count(*) FROM pg_listening_channels()";
        assert_eq!(ask(&client, channels).await, Ok(1));
        drop(two);
        assert_eq!(ask(&client, channels).await, Ok(0));
        assert!(matches!(client.listen(&"x".repeat(64)).await, Err(Error::Unexpected(_))));
        assert!(state(client.listen("").await).is_some());
        assert_eq!(ask(&client, channels).await, Ok(0));
    });
}

fn a_copy_through_a_client_ends_its_connection_and_the_next_is_made(server: &Shared) {
    in_every_way(server, async |site| {
        let client = connect(site).await;
        let copies = client.query("COPY pg_type TO STDOUT", &[]).await;
        assert!(
            matches!(&copies, Err(Error::Lost(reason)) if reason.contains("COPY")),
            "{copies:?}"
        );
        assert_eq!(ask(&client, "SELECT 42").await, Ok(42));
    });
}

fn who_cannot_connect_is_told_so_and_tries_again(server: &Shared) {
    in_every_way(server, async |site| {
        let nowhere = site.conninfo("nosuchdatabase");
        let refused = Client::connect(site.io_loop.downgrade(), &nowhere).await;
        assert!(is_failed(&refused), "{refused:?}");
        let client = Client::new(site.io_loop.downgrade(), &nowhere, SOON).unwrap();
        let asked: Vec<_> = (0..10).map(|_| ask(&client, "SELECT 42")).collect();
        for answer in asked {
            let answer = answer.await;
            assert!(matches!(&answer, Err(Error::Failed(why)) if why.contains("nosuchdatabase")));
        }
        let mut other = site.connect().await;
        other.query("CREATE DATABASE nosuchdatabase", &[]).await.unwrap();
        until_it_answers(&client).await;
        drop(client);
        while other.query("DROP DATABASE nosuchdatabase", &[]).await.is_err() {}
    });
}

fn what_waits_for_a_connection_and_is_given_up_is_never_sent(server: &Shared) {
    in_every_way(server, async |site| {
        let mut other = site.connect().await;
        other.query("CREATE SEQUENCE given_up", &[]).await.unwrap();
        // Nothing is polled between these two.
        let client = Client::new(site.io_loop.downgrade(), &site.conninfo(USER), SOON).unwrap();
        drop(client.query("SELECT nextval('given_up')", &[]));
        assert_eq!(ask(&client, "SELECT nextval('given_up')").await, Ok(1));
        other.query("DROP SEQUENCE given_up", &[]).await.unwrap();
    });
}

fn a_client_that_is_dropped_inside_a_callback_leaves_nothing(server: &Shared) {
    in_every_way(server, async |site| {
        let only_the_case = site.left();
        let mut other = site.connect().await;
        let client = connect(site).await;
        let asked: Vec<_> = (0..10).map(|_| client.query(SLEEP, &[])).collect();
        until_it_runs(&mut other, SLEEP).await;
        site.io_loop.call_soon(move || drop(client));
        for answer in asked {
            assert_eq!(answer.await.unwrap_err(), Error::Closed);
        }
        wake_all(&mut other).await;
        // And where an answer arrives, before the one that is out after it.
        let client = connect(site).await;
        let (first, second) = (client.query("SELECT 1", &[]), client.query(SLEEP, &[]));
        first.await.unwrap();
        until_it_runs(&mut other, SLEEP).await;
        drop(client);
        assert_eq!(second.await.unwrap_err(), Error::Closed);
        wake_all(&mut other).await;
        drop(other);
        while site.left() != only_the_case {
            sleep(&site.io_loop, Duration::from_millis(1)).await.unwrap();
        }
    });
}

fn a_loop_that_is_closed_ends_what_is_out_and_every_stream(server: &Shared) {
    every_way(|way| {
        let site = Site { io_loop: way.io_loop(), server };
        let (client, mut heard) = way.run(&site.io_loop, async {
            let client = connect(&site).await;
            let heard = client.listen("news").await.unwrap();
            (client, heard)
        });
        let mut out = pin!(client.query(SLEEP, &[]));
        way.run(&site.io_loop, begin(out.as_mut()));
        site.io_loop.close().unwrap();
        assert_eq!(site.left(), (0, 0, 0));
        assert_eq!(way.block_on(out).unwrap_err(), Error::Closed);
        assert_eq!(way.block_on(heard.next()), None);
        assert_eq!(way.block_on(client.query("SELECT 1", &[])).unwrap_err(), Error::Closed);
        let site = Site { io_loop: way.io_loop(), server };
        way.run(&site.io_loop, async { wake_all(&mut site.connect().await).await });
    });
}

fn a_client_of_a_reactor_whose_type_nobody_knows(server: &Shared) {
    in_every_way(server, async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.downgrade());
        let client = Client::connect(reactor, &site.conninfo(USER)).await.unwrap();
        assert_eq!(ask(&client, "SELECT 42").await, Ok(42));
    });
}
