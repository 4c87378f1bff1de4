//! The client that connects again.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::future::join_all;
use ioloop::{IOLoop, ManualClock, Reactor};
use ioloop_hiredis::{Client, Error, Options, Pipeline, Reply};

use testkit::ways::every_way;

use crate::site::{
    answering, begin, in_every_way, in_every_way_alone, is_lost, is_refused, is_unreachable, next,
    with_site,
};

#[test]
fn a_server_that_is_killed_and_comes_back_is_found_again() {
    in_every_way(async |site| {
        let client = site.client();
        // Before there is a connection.
        assert_eq!(client.command(["INCR", "n"]).to::<i64>().await, Ok(1));
        assert!(client.is_connected());
        let mut news = client.subscribe("news").await.unwrap();
        let mut all = client.subscribe_pattern("*").await.unwrap();
        for _ in 0..2 {
            let blocked = client.command(["BLPOP", "list", "0"]);
            let out: Vec<_> = (0..10).map(|_| client.command(["INCR", "n"])).collect();
            site.server.borrow_mut().kill().unwrap();
            for answer in join_all(out).await {
                assert!(is_lost(&answer), "{answer:?}");
            }
            assert!(is_lost(&blocked.await));
            // While there is no server, each attempt says so.
            assert!(is_unreachable(&client.command(["INCR", "n"]).await));

            site.server.borrow_mut().start_again().unwrap();
            let n = loop {
                match client.command(["INCR", "n"]).to::<i64>().await {
                    Ok(n) => break n,
                    error => assert!(is_unreachable(&error)),
                }
            };
            assert_eq!(n, 1, "a new server, which was sent nothing that was lost");
            // Both subscriptions are taken up, by themselves.
            let publish = || client.command(["PUBLISH", "news", "x"]).to::<i64>();
            while publish().await != Ok(2) {}
            assert_eq!(next(&mut news).await.unwrap(), "x");
            assert_eq!(next(&mut all).await.unwrap(), "x");
        }
        assert_eq!((news.interruptions(), all.interruptions()), (2, 2));
        news.unsubscribe().await.unwrap();
        assert_eq!(client.command(["PUBLISH", "news", "x"]).to::<i64>().await, Ok(1));
        let again = client.clone();
        drop(client);
        again.command(["PING"]).await.unwrap();
        drop(again);
        while next(&mut all).await.is_some() {}
        assert_eq!(all.end(), Some(Error::Closed));
    });
}

#[test]
fn a_client_that_cannot_connect_at_first() {
    in_every_way(async |site| {
        site.server.borrow_mut().stop().unwrap();
        let connecting = Client::connect(site.io_loop.clone(), site.path()).await;
        assert!(is_unreachable(&connecting));
        let client = site.client();
        assert!(is_unreachable(&client.command(["PING"]).await));
        assert!(is_unreachable(&client.subscribe("a").await));
        site.server.borrow_mut().start_again().unwrap();
        while client.command(["PING"]).await.is_err() {}
        while client.subscribe("a").await.is_err() {}
        let connected = Client::connect(site.io_loop.clone(), site.path()).await.unwrap();
        assert!(connected.is_connected());
    });
}

#[test]
fn what_would_be_forgotten_with_the_connection_is_refused() {
    in_every_way(async |site| {
        let client = site.client();
        for name in ["SELECT", "auth", "MULTI", "EXEC", "Watch", "SUBSCRIBE", "hello"] {
            assert!(is_refused(client.command([name, "x"]).await), "{name}");
        }
        let mut pipeline = Pipeline::new();
        pipeline.command(["INCR", "n"]).command(["INCR", "n"]);
        assert_eq!(client.pipeline(&pipeline).to::<(i64, i64)>().await, Ok((1, 2)));
        assert_eq!(client.transaction(&pipeline).to::<(i64, i64)>().await, Ok((3, 4)));
        assert!(is_refused(client.pipeline(pipeline.command(["SELECT", "1"])).await));
        assert_eq!(client.command(["GET", "n"]).to::<i64>().await, Ok(4));
    });
}

#[test]
fn a_client_signs_in_again_too() {
    in_every_way(async |site| {
        let options = site.options().database(5).backoff(Duration::from_millis(1), Duration::ZERO);
        let client = Client::connect(site.io_loop.clone(), options).await.unwrap();
        let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"];
        assert_eq!(client.command(kill).to::<i64>().await, Ok(1));
        while client.command(["SET", "key", "of 5"]).await.is_err() {}
        let redis = site.connect().await;
        redis.command(["SELECT", "5"]).await.unwrap();
        assert_eq!(redis.command(["GET", "key"]).to::<String>().await, Ok("of 5".into()));
    });
}

#[test]
fn the_waits_between_attempts_grow_up_to_a_limit() {
    every_way(|way| {
        let clock = ManualClock::new();
        let io_loop = way.make(IOLoop::builder().clock(&clock));
        way.run(&io_loop, async {
            let (first, longest) = (Duration::from_secs(1), Duration::from_secs(10));
            let options = Options::from(std::path::Path::new("/nowhere/socket"));
            let client = Client::new(io_loop.clone(), options.backoff(first, longest));
            let mut before = io_loop.now();
            assert!(is_unreachable(&client.command(["PING"]).await));
            for limit in [1, 2, 4, 8, 10, 10, 10].map(Duration::from_secs) {
                assert_eq!(io_loop.metrics().timers, 1);
                // The clock goes to the next timer when there is nothing else to do.
                assert!(is_unreachable(&client.command(["PING"]).await));
                let waited = io_loop.now() - before;
                assert!(waited >= limit / 2 && waited <= limit, "{waited:?} of {limit:?}");
                before += waited;
            }
        });
        crate::site::assert_empty(&io_loop);
    });
}

#[test]
fn a_client_that_is_dropped_in_the_middle() {
    in_every_way(async |site| {
        // Before its first attempt, in it, and in a wait.
        let client = site.client();
        let answer = client.command(["PING"]);
        drop(client);
        assert_eq!(answer.await, Err(Error::Closed));
        let client = site.client();
        let answer = client.command(["PING"]);
        site.io_loop.spawn(async {}).await.unwrap();
        drop(client);
        assert_eq!(answer.await, Err(Error::Closed));
        // With all kinds of things out.
        let client = site.client();
        let mut messages = client.subscribe("a").await.unwrap();
        let blocked = client.command(["BLPOP", "list", "0"]);
        let mut subscribing = Box::pin(client.subscribe("b"));
        begin(&mut subscribing).await;
        drop(subscribing);
        let metrics = site.io_loop.metrics();
        assert_eq!((metrics.watches, metrics.tasks), (2, 0));
        drop(client);
        assert_eq!(blocked.await, Err(Error::Closed));
        assert_eq!(next(&mut messages).await, None);
        assert_eq!(site.io_loop.metrics().watches, 0);
    });
}

#[test]
fn a_client_that_its_last_message_drops() {
    in_every_way(async |site| {
        let client = site.client();
        let publisher = site.connect().await;
        let mut messages = client.subscribe("a").await.unwrap();
        let listening = site.io_loop.spawn(async move {
            let last = next(&mut messages).await;
            let blocked = client.command(["BLPOP", "list", "0"]);
            drop(client);
            (last, blocked.await, next(&mut messages).await)
        });
        publisher.command(["PUBLISH", "a", "the last"]).await.unwrap();
        let heard = listening.await.unwrap();
        assert_eq!(heard, (Some("the last".into()), Err(Error::Closed), None));
    });
}

#[test]
fn a_loop_that_is_closed_under_a_client() {
    every_way(|way| {
        with_site(way.io_loop(), |site| {
            // One has a connection, one is about to, and one waits for another attempt.
            let up = site.client();
            way.run(&site.io_loop, up.command(["PING"])).unwrap();
            let mut messages = way.run(&site.io_loop, up.subscribe("a")).unwrap();
            let options = Options::from(std::path::Path::new("/nowhere/socket"));
            let waits = Client::new(site.io_loop.clone(), options);
            let failed = way.run(&site.io_loop, waits.command(["PING"]));
            assert!(is_unreachable(&failed));
            let new = site.client();
            let answers = [&up, &new, &waits].map(|client| client.command(["BLPOP", "l", "0"]));
            site.io_loop.close().unwrap();
            site.assert_empty();
            for answer in answers {
                let answer = way.block_on(answer);
                assert!(matches!(answer, Err(Error::Loop(_))), "{answer:?}");
            }
            assert_eq!(way.block_on(next(&mut messages)), None);
            for client in [&up, &new, &waits] {
                let answer = way.block_on(client.command(["PING"]));
                assert!(matches!(answer, Err(Error::Loop(_))), "{answer:?}");
                assert!(matches!(way.block_on(client.subscribe("b")), Err(Error::Loop(_))));
            }
            let late = site.client();
            assert!(matches!(way.block_on(late.command(["PING"])), Err(Error::Loop(_))));
        });
    });
}

#[test]
fn ten_thousand_commands_at_once_through_a_client_whose_type_nobody_knows() {
    in_every_way(async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let client = Client::new(reactor, site.options());
        let answers: Vec<_> = (0..10_000).map(|_| client.command(["INCR", "n"])).collect();
        for (answer, n) in join_all(answers).await.into_iter().zip(1..) {
            assert_eq!(answer, Ok(Reply::Integer(n)));
        }
    });
}

#[test]
fn a_server_that_hangs_up_at_once_is_not_asked_without_a_pause() {
    in_every_way_alone(async |io_loop| {
        let options = Options::from(answering("PING\r\n", b"", true));
        let client = Client::new(io_loop.clone(), options);
        assert!(is_lost(&client.command(["PING"]).await));
        assert!(!client.is_connected());
        assert_eq!(io_loop.metrics().watches, 0);
        assert_eq!(io_loop.metrics().timers, 2, "that of the case, and the wait");
    });
}

#[test]
fn a_waker_that_panicked_ended_the_client_for_good() {
    struct Panicking;
    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    in_every_way(async |site| {
        let client = site.client();
        client.command(["PING"]).await.unwrap();
        let mut news = client.subscribe("news").await.unwrap();
        let mut answer = pin!(client.command(["PING"]));
        let waker = Waker::from(Arc::new(Panicking));
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // Sent after it, and so lost with the connection.
        assert!(matches!(client.command(["PING"]).await, Err(Error::Loop(_))));
        client.command(["PING"]).await.unwrap();
        client.command(["PUBLISH", "news", "it goes on"]).await.unwrap();
        assert_eq!(next(&mut news).await.unwrap(), "it goes on");
    });
}
