//! Subscriptions and their messages.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use ioloop::IOLoop;
use ioloop_hiredis::{Connection, Error, Reply};

use crate::site::{in_every_way, is_refused, next};

async fn publish(redis: &Connection<IOLoop>, channel: &str, message: &str) -> i64 {
    redis.command(["PUBLISH", channel, message]).to().await.unwrap()
}

#[test]
fn messages_of_subscribed_channels_come_in_order() {
    in_every_way(async |site| {
        let (subscriber, publisher) = (site.connect().await, site.connect().await);
        let mut a = subscriber.subscribe("a").await.unwrap();
        let mut b = subscriber.subscribe("b").await.unwrap();
        for n in 0..100 {
            publish(&publisher, if n % 3 == 0 { "a" } else { "b" }, &n.to_string()).await;
        }
        assert_eq!(publish(&publisher, "c", "nobody listens").await, 0);
        for n in 0..100 {
            let message = next(if n % 3 == 0 { &mut a } else { &mut b }).await;
            assert_eq!(message, Some(n.to_string()));
        }
        assert!(a.try_next().is_none() && b.try_next().is_none());

        assert!(is_refused(subscriber.subscribe("a").await), "twice");
        assert!(is_refused(subscriber.command(["GET", "a"]).await), "while it is subscribed");
        a.unsubscribe().await.unwrap();
        assert_eq!(publish(&publisher, "a", "too late").await, 0);
        publish(&publisher, "b", "in time").await;
        assert_eq!(next(&mut b).await.unwrap(), "in time");

        // Without a subscription it takes commands again; and subscriptions.
        b.unsubscribe().await.unwrap();
        assert_eq!(subscriber.command(["GET", "a"]).await, Ok(Reply::Nil));
        let mut again = subscriber.subscribe("a").await.unwrap();
        publish(&publisher, "a", "again").await;
        assert_eq!(next(&mut again).await.unwrap(), "again");
        // The connection's end is that of its messages.
        drop(subscriber);
        assert_eq!(next(&mut again).await, None);
        assert_eq!(again.end(), Some(Error::Closed));
        assert_eq!(again.unsubscribe().await, Err(Error::Closed));
    });
}

#[test]
fn patterns_tell_the_channel_of_each_message() {
    in_every_way(async |site| {
        let (subscriber, publisher) = (site.connect().await, site.connect().await);
        let mut news = subscriber.subscribe_pattern("news.*").await.unwrap();
        let mut art = subscriber.subscribe("news.art").await.unwrap();
        assert_eq!(publish(&publisher, "news.art", "x").await, 2);
        let message = news.next().await.unwrap();
        assert_eq!((&message.channel[..], &message.payload[..]), (&b"news.art"[..], &b"x"[..]));
        assert_eq!(message.pattern.as_deref(), Some(&b"news.*"[..]));
        assert_eq!(art.next().await.unwrap().pattern, None);
        drop(news);
        // The server has heard it before what comes later.
        art.unsubscribe().await.unwrap();
        assert_eq!(publish(&publisher, "news.art", "x").await, 0);
    });
}

#[test]
fn dropping_messages_ends_their_subscription_at_once() {
    in_every_way(async |site| {
        let (redis, publisher) = (site.connect().await, site.connect().await);
        for n in 0..10 {
            let messages = redis.subscribe("a").await.unwrap();
            publish(&publisher, "a", "to the one before").await;
            drop(messages);
            // In the same breath a command, and a subscription to the same name.
            let pong = redis.command(["PING"]);
            let mut messages = redis.subscribe("a").await.unwrap();
            pong.await.unwrap();
            publish(&publisher, "a", &n.to_string()).await;
            assert_eq!(next(&mut messages).await, Some(n.to_string()));
        }
    });
}

#[test]
fn a_subscription_that_is_given_up_has_ended() {
    in_every_way(async |site| {
        let (redis, publisher) = (site.connect().await, site.connect().await);
        {
            let mut subscribing = std::pin::pin!(redis.subscribe("a"));
            crate::site::begin(&mut subscribing).await;
        }
        redis.command(["PING"]).await.unwrap();
        assert_eq!(publish(&publisher, "a", "x").await, 0);
    });
}

#[test]
fn messages_that_nobody_takes_are_counted_and_do_not_grow_without_end() {
    in_every_way(async |site| {
        let options = site.options().room(10);
        let subscriber = Connection::connect(site.io_loop.clone(), options).await.unwrap();
        let publisher = site.connect().await;
        let mut a = subscriber.subscribe("a").await.unwrap();
        let mut last = subscriber.subscribe("last").await.unwrap();
        let numbers: Vec<_> = (0..100).map(|n: i32| n.to_string()).collect();
        join_all(numbers.iter().map(|n| publisher.command(["PUBLISH", "a", n]))).await;
        publish(&publisher, "last", "x").await;
        next(&mut last).await.unwrap();
        assert_eq!(a.missed(), 90);
        for n in &numbers[90..] {
            assert_eq!(next(&mut a).await.as_ref(), Some(n), "the newest are kept");
        }
        assert!(a.try_next().is_none());
    });
}

#[test]
fn a_refused_subscription_ended_the_connection() {
    in_every_way(async |site| {
        let admin = site.connect().await;
        let user = ["ACL", "SETUSER", "default", "resetchannels", "&allowed"];
        admin.command(user).await.unwrap();
        let redis = site.connect().await;
        let refused = redis.subscribe("forbidden").await;
        assert!(matches!(&refused, Err(Error::Server(why)) if why.starts_with("NOPERM")));
        let mut allowed = redis.subscribe("allowed").await.unwrap();
        publish(&admin, "allowed", "x").await;
        assert_eq!(next(&mut allowed).await.unwrap(), "x");
    });
}

#[test]
fn a_listener_that_panics_or_drops_the_connection_hurts_nobody_else() {
    in_every_way(async |site| {
        let panics = Rc::new(Cell::new(0));
        let seen = Rc::clone(&panics);
        site.io_loop.set_exception_handler(move |_| seen.set(seen.get() + 1));
        let subscriber = site.connect().await;
        let publisher = site.connect().await;
        let called = Rc::new(Cell::new(0));
        let mut panicking = subscriber.subscribe("p").await.unwrap();
        site.io_loop.spawn(async move {
            let _ = panicking.next().await;
            panic!("on purpose");
        });
        let mut messages = subscriber.subscribe("a").await.unwrap();
        let count = Rc::clone(&called);
        let mut subscriber = Some(subscriber);
        let listener = site.io_loop.spawn(async move {
            while let Some(message) = next(&mut messages).await {
                count.set(count.get() + 1);
                if message == "drop" {
                    drop(subscriber.take());
                }
            }
        });
        publish(&publisher, "p", "x").await;
        let messages = ["one", "another", "drop"];
        join_all(messages.map(|message| publisher.command(["PUBLISH", "a", message]))).await;
        listener.await.unwrap();
        // The server sees the end in a moment.
        while publish(&publisher, "a", "later").await != 0 {}
        assert_eq!((called.get(), panics.get()), (3, 1));
    });
}
