//! How a connection ends.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use ioloop::{IOLoop, ManualClock};
use ioloop_hiredis::{Connection, Error, Reply};

use testkit::ways::every_way;

use crate::site::{HANGS, begin, bytes, in_every_way, is_lost, is_unreachable, next, with_site};

#[test]
fn a_patience_without_end_lost_the_connection() {
    in_every_way(async |site| {
        // What is owed when something is heard is the greeting.
        let options = site.options().database(1).patience(Duration::MAX);
        let redis = Connection::connect(site.io_loop.clone(), options).await.unwrap();
        assert_eq!(redis.command(["PING"]).await, Ok(Reply::Status("PONG".into())));
        assert_eq!(site.io_loop.metrics().exceptions, 0);
    });
}

#[test]
fn a_server_that_stops_and_comes_back() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        // Never answered: nobody pushes.
        let blocked = redis.command(["BLPOP", "list", "0"]);
        let subscriber = site.connect().await;
        let mut messages = subscriber.subscribe("a").await.unwrap();
        let other = subscriber.subscribe("b").await.unwrap();
        let unsubscribing = {
            site.server.borrow_mut().stop().unwrap();
            other.unsubscribe()
        };
        let end = redis.ended().await;
        assert_eq!(end, Error::Lost("Server closed the connection".into()));
        assert_eq!(blocked.await, Err(end.clone()));
        assert_eq!(redis.command(["PING"]).await, Err(end.clone()));
        assert_eq!(redis.subscribe("b").await.unwrap_err(), end);
        assert_eq!(redis.ended().await, end);
        assert!(is_lost(&unsubscribing.await));
        assert_eq!(next(&mut messages).await, None);
        assert!(is_lost(&subscriber.disconnect().await));
        // Nothing of it is left, although `redis` is still there.
        assert_eq!(site.io_loop.metrics().watches, 0);

        assert!(is_unreachable(&site.try_connect().await), "no socket");
        site.server.borrow_mut().start_again().unwrap();
        let redis = site.connect().await;
        assert_eq!(redis.command(["INCR", "n"]).await, Ok(Reply::Integer(1)));

        site.server.borrow_mut().kill().unwrap();
        assert!(is_lost(&redis.command(["INCR", "n"]).await));
        assert!(is_unreachable(&site.try_connect().await), "a socket without a server");
    });
}

#[test]
fn a_server_that_is_silent_for_too_long_has_lost_the_connection() {
    let patience = Duration::from_secs(4);
    let almost = patience * 3 / 4;
    every_way(|way| {
        let clock = ManualClock::new();
        clock.set_auto_advance(false);
        with_site(way.make(IOLoop::builder().clock(&clock)), |site| {
            let io_loop = &site.io_loop;
            let timers = || io_loop.metrics().timers;
            way.run(io_loop, async {
                let options = site.options().patience(patience);
                let redis = Connection::connect(io_loop.clone(), options).await.unwrap();
                assert_eq!(timers(), 0, "nothing is due");
                let other = site.connect().await;

                // Whatever is heard begins a new time.
                let blocked = ["a", "b"].map(|list| redis.command(["BLPOP", list, "0"]));
                assert_eq!(timers(), 1);
                for (list, blocked) in ["a", "b"].into_iter().zip(blocked) {
                    clock.advance(almost);
                    other.command(["RPUSH", list, "x"]).await.unwrap();
                    assert_eq!(blocked.await, Ok(Reply::Array(vec![bytes(list), bytes("x")])));
                }
                assert_eq!(timers(), 0);

                site.server.borrow().freeze();
                let answers = join_all((0..3).map(|_| redis.command(["PING"])));
                clock.advance(almost);
                io_loop.spawn(async {}).await.unwrap();
                assert_eq!(timers(), 1);
                clock.advance(almost);
                assert_eq!(answers.await, vec![Err(Error::Silent); 3]);
                assert_eq!(redis.ended().await, Error::Silent);
            });
            site.assert_empty();
        });
    });
}

#[test]
fn disconnecting_waits_for_the_replies_that_are_due() {
    in_every_way(async |site| {
        let (redis, other) = (site.connect().await, site.connect().await);
        let blocked = redis.command(["BLPOP", "list", "0"]);
        let rest: Vec<_> = (0..100).map(|_| redis.command(["INCR", "n"])).collect();
        let mut disconnecting = pin!(redis.disconnect());
        begin(&mut disconnecting).await;
        other.command(["RPUSH", "list", "x"]).await.unwrap();
        disconnecting.await.unwrap();
        assert_eq!(blocked.await, Ok(Reply::Array(vec![bytes("list"), bytes("x")])));
        for (answer, n) in join_all(rest).await.into_iter().zip(1..) {
            assert_eq!(answer, Ok(Reply::Integer(n)));
        }
        // The server sees the end in a moment.
        let clients = async || other.command(["CLIENT", "LIST"]).to::<String>().await.unwrap();
        while clients().await.lines().count() > 1 {}
    });
}

#[test]
fn dropped_in_the_middle_it_answers_and_leaves_nothing() {
    in_every_way(async |site| {
        let options = site.options().patience(HANGS);
        // While it connects.
        {
            let mut connecting = pin!(Connection::connect(site.io_loop.clone(), &options));
            begin(&mut connecting).await;
            assert_eq!(site.io_loop.metrics().watches, 1);
        }
        assert_eq!(site.io_loop.metrics().watches, 0);

        // While commands are written and replies are due.
        let redis = Connection::connect(site.io_loop.clone(), &options).await.unwrap();
        let mut answers: Vec<_> = (0..100).map(|_| redis.command(["BLPOP", "list", "0"])).collect();
        answers.push(redis.command([&b"SET"[..], b"large", &vec![0; 8 << 20]]));
        assert_eq!(site.io_loop.metrics().timers, 2);
        drop(redis);
        let metrics = site.io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers), (0, 1), "none but the case's own timer");
        assert_eq!(join_all(answers).await, vec![Err(Error::Closed); 101]);

        // While it disconnects.
        let redis = site.connect().await;
        let blocked = redis.command(["BLPOP", "list", "0"]);
        {
            let mut disconnecting = pin!(redis.disconnect());
            begin(&mut disconnecting).await;
        }
        assert_eq!(blocked.await, Err(Error::Closed));
        assert_eq!(site.io_loop.metrics().watches, 0);
    });
}

#[test]
fn a_loop_that_is_closed_in_the_middle() {
    every_way(|way| {
        with_site(way.io_loop(), |site| {
            let redis = way.run(&site.io_loop, site.connect());
            let subscriber = way.run(&site.io_loop, site.connect());
            let mut messages = way.run(&site.io_loop, subscriber.subscribe("a")).unwrap();
            let blocked = redis.command(["BLPOP", "list", "0"]);
            site.io_loop.close().unwrap();
            site.assert_empty();
            // Nobody has to ask first.
            let blocked = way.block_on(blocked);
            assert!(matches!(blocked, Err(Error::Loop(_))), "{blocked:?}");
            assert_eq!(way.block_on(next(&mut messages)), None);
            assert_eq!(way.block_on(redis.command(["PING"])), blocked);
            assert_eq!(way.block_on(redis.ended()), blocked.unwrap_err());
            drop(redis);

            let connecting = way.block_on(site.try_connect());
            assert!(matches!(connecting, Err(Error::Loop(_))));
        });
        with_site(way.io_loop(), |site| {
            let redis = Rc::new(way.run(&site.io_loop, site.connect()));
            // The answer's future is held by the loop, which drops it when it is closed.
            let (blocked, kept) = (redis.command(["BLPOP", "list", "0"]), Rc::clone(&redis));
            site.io_loop.spawn(async move {
                let _ = blocked.await;
                drop(kept);
            });
            way.run(&site.io_loop, async { begin(&mut redis.command(["PING"])).await });
            site.io_loop.close().unwrap();
            assert_eq!(Rc::strong_count(&redis), 1, "the task is gone");
            site.assert_empty();
        });
    });
}
