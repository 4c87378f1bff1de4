//! Redis through hiredis from loops on every backend, in every mode, against a server of the test's
//! own.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use ioloop::{IOLoop, ManualClock, Reactor, timeout};
use ioloop_hiredis::{Error, Redis, Reply};

use testkit::server::redis::Server;
use testkit::ways::every_way;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const HANGS: Duration = Duration::from_secs(60);

/// A loop, and a server for it alone.
struct Site {
    io_loop: IOLoop,
    server: RefCell<Server>,
}

impl Site {
    fn path(&self) -> PathBuf {
        self.server.borrow().socket()
    }

    async fn try_connect(&self) -> Result<Redis<IOLoop>, Error> {
        Redis::connect(self.io_loop.clone(), &self.path(), None).await
    }

    async fn connect(&self) -> Redis<IOLoop> {
        self.try_connect().await.unwrap()
    }

    /// Waits until something has come about that no future tells.
    async fn until(&self, condition: impl Fn() -> bool) {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if condition() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn assert_empty(&self) {
        let metrics = self.io_loop.metrics();
        let left = (metrics.watches, metrics.timers, metrics.tasks);
        assert_eq!(left, (0, 0, 0), "watches, timers and tasks");
    }
}

/// Runs a case in each way, each with a server of its own; nothing may be left in the loop.
fn in_every_way(case: impl AsyncFn(&Site)) {
    every_way(|way| {
        with_site(way.io_loop(), |site| {
            way.run(&site.io_loop, async {
                let case = timeout(&site.io_loop, HANGS, case(site)).await;
                case.unwrap_or_else(|_| panic!("{}: it hangs", way.name));
            });
            site.assert_empty();
        });
    });
}

fn with_site(io_loop: IOLoop, test: impl FnOnce(&Site)) {
    let Some(server) = Server::start_or_skip() else { return };
    test(&Site { io_loop, server: RefCell::new(server) });
}

fn bytes(value: impl AsRef<[u8]>) -> Reply {
    Reply::Bytes(value.as_ref().to_vec())
}

fn lines(answer: Result<Reply, Error>) -> usize {
    let Ok(Reply::Bytes(bytes)) = answer else { panic!("{answer:?}") };
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn is_refused<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Refused(_)))
}

fn is_failed<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Failed(_)))
}

/// Polls a future once, which has to find nothing yet.
async fn begin(future: &mut (impl Future + Unpin)) {
    poll_fn(|cx| {
        assert!(pin!(&mut *future).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[test]
fn replies_of_every_type() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let set = redis.command(&["SET", "key", "value"]).await;
        assert_eq!(set, Ok(Reply::Status("OK".into())));
        assert_eq!(redis.command(&["GET", "key"]).await, Ok(bytes("value")));
        assert_eq!(redis.command(&["GET", "none"]).await, Ok(Reply::Nil));
        assert_eq!(redis.command(&["INCRBY", "n", "-7"]).await, Ok(Reply::Integer(-7)));

        // What is no text, and what is empty.
        let binary: &[&[u8]] = &[b"SET", b"\0\r\n$", b""];
        redis.command(binary).await.unwrap();
        assert_eq!(redis.command(&[&b"GET"[..], b"\0\r\n$"]).await, Ok(bytes("")));
        // Larger than any buffer on the way.
        let large = vec![b'x'; 8 << 20];
        redis.command(&[&b"SET"[..], b"large", &large]).await.unwrap();
        assert_eq!(redis.command(&["GET", "large"]).await, Ok(bytes(&large)));

        let nested = ["EVAL", "return {1, {'two', redis.error_reply('ERR three')}}", "0"];
        let inner = Reply::Array(vec![bytes("two"), Reply::Error("ERR three".into())]);
        let nested = redis.command(&nested).await;
        assert_eq!(nested, Ok(Reply::Array(vec![Reply::Integer(1), inner])));

        let error = redis.command(&["INCR", "key"]).await.unwrap_err();
        assert!(matches!(&error, Error::Server(text) if text.starts_with("ERR value")), "{error}");
        let error = redis.command(&["NOSUCHCOMMAND"]).await.unwrap_err();
        assert!(error.to_string().starts_with("ERR unknown command"), "{error}");
        assert_eq!(redis.command(&["GET", "key"]).await, Ok(bytes("value")), "it goes on");
        redis.disconnect().await.unwrap();
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let redis = Redis::connect(reactor, &site.path(), None).await.unwrap();
        assert_eq!(redis.command(&["PING"]).await, Ok(Reply::Status("PONG".into())));
    });
}

#[test]
fn ten_thousand_commands_at_once_are_answered_in_order() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let answers: Vec<_> = (0..10_000).map(|_| redis.command(&["INCR", "n"])).collect();
        for (answer, n) in join_all(answers).await.into_iter().zip(1..) {
            assert_eq!(answer, Ok(Reply::Integer(n)));
        }
    });
}

#[test]
fn messages_of_subscribed_channels_come_in_order() {
    in_every_way(async |site| {
        let (subscriber, publisher) = (site.connect().await, site.connect().await);
        let log = Rc::new(RefCell::new(Vec::new()));
        for channel in ["a", "b"] {
            let log = Rc::clone(&log);
            let on_message = move |message: &[u8]| {
                log.borrow_mut().push((channel, String::from_utf8(message.to_vec()).unwrap()));
            };
            subscriber.subscribe(channel, on_message).await.unwrap();
        }
        let publish = async |channel: &str, message: &str| {
            let heard = publisher.command(&["PUBLISH", channel, message]).await;
            assert!(matches!(heard, Ok(Reply::Integer(_))));
        };
        let mut expected = Vec::new();
        for n in 0..100 {
            let channel = if n % 3 == 0 { "a" } else { "b" };
            publish(channel, &n.to_string()).await;
            expected.push((channel, n.to_string()));
        }
        publish("c", "nobody listens").await;
        site.until(|| log.borrow().len() >= 100).await;
        assert_eq!(log.take(), expected);

        assert!(is_refused(subscriber.subscribe("a", |_| ()).await), "twice");
        assert!(is_refused(subscriber.unsubscribe("c").await), "it never was");
        assert!(is_refused(subscriber.command(&["GET", "a"]).await), "while it is subscribed");
        subscriber.unsubscribe("a").await.unwrap();
        publish("a", "too late").await;
        publish("b", "in time").await;
        site.until(|| !log.borrow().is_empty()).await;
        assert_eq!(log.take(), [("b", "in time".to_owned())]);

        // Without a subscription it takes commands again; and subscriptions.
        subscriber.unsubscribe("b").await.unwrap();
        assert_eq!(Rc::strong_count(&log), 1, "the callbacks are gone");
        assert_eq!(subscriber.command(&["GET", "a"]).await, Ok(Reply::Nil));
        let heard = Rc::clone(&log);
        let again =
            subscriber.subscribe("a", move |_| heard.borrow_mut().push(("a", String::new())));
        again.await.unwrap();
        publish("a", "").await;
        site.until(|| !log.borrow().is_empty()).await;
    });
}

#[test]
fn commands_that_change_who_speaks_when_are_refused() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let names = ["SUBSCRIBE", "psubscribe", "Ssubscribe", "UNSUBSCRIBE", "monitor", "pmonitor"];
        for name in names {
            assert!(is_refused(redis.command(&[name, "x"]).await), "{name}");
        }
        assert!(is_refused(redis.command::<&str>(&[]).await), "no name");
        assert_eq!(redis.command(&["PING"]).await, Ok(Reply::Status("PONG".into())));
    });
}

#[test]
fn a_callback_that_panics_or_drops_the_connection_hurts_nobody_else() {
    in_every_way(async |site| {
        let panics = Rc::new(Cell::new(0));
        let seen = Rc::clone(&panics);
        site.io_loop.set_exception_handler(move |_| seen.set(seen.get() + 1));
        let subscriber = Rc::new(RefCell::new(Some(site.connect().await)));
        let publisher = site.connect().await;
        let called = Rc::new(Cell::new(0));
        let (count, dropped) = (Rc::clone(&called), Rc::clone(&subscriber));
        let subscribed = subscriber.borrow().as_ref().unwrap().subscribe("a", move |message| {
            count.set(count.get() + 1);
            match message {
                b"panic" => panic!("on purpose"),
                b"drop" => drop(dropped.take()),
                _ => {}
            }
        });
        subscribed.await.unwrap();
        let messages = ["panic", "another", "drop", "never seen"];
        join_all(messages.map(|message| publisher.command(&["PUBLISH", "a", message]))).await;
        site.until(|| subscriber.borrow().is_none()).await;
        // The server sees the end in a moment.
        let publish = ["PUBLISH", "a", "later"];
        while publisher.command(&publish).await.unwrap() != Reply::Integer(0) {}
        assert_eq!((called.get(), panics.get()), (3, 1));
    });
}

#[test]
fn a_server_that_stops_and_comes_back() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        // Never answered: nobody pushes.
        let blocked = redis.command(&["BLPOP", "list", "0"]);
        let subscriber = site.connect().await;
        subscriber.subscribe("a", |_| ()).await.unwrap();
        let unsubscribing = {
            site.server.borrow_mut().stop().unwrap();
            subscriber.unsubscribe("a")
        };
        let end = redis.ended().await;
        assert_eq!(end, Error::Failed("Server closed the connection".into()));
        assert_eq!(blocked.await, Err(end.clone()));
        assert_eq!(redis.command(&["PING"]).await, Err(end.clone()));
        assert_eq!(redis.subscribe("b", |_| ()).await, Err(end.clone()));
        assert_eq!(redis.ended().await, end);
        assert!(is_failed(&unsubscribing.await));
        assert!(is_failed(&subscriber.disconnect().await));
        // Nothing of it is left, although `redis` is still there.
        assert_eq!(site.io_loop.metrics().watches, 0);

        assert!(is_failed(&site.try_connect().await), "no socket");
        site.server.borrow_mut().start_again().unwrap();
        let redis = site.connect().await;
        assert_eq!(redis.command(&["INCR", "n"]).await, Ok(Reply::Integer(1)));

        site.server.borrow_mut().kill().unwrap();
        assert!(is_failed(&redis.command(&["INCR", "n"]).await));
        assert!(is_failed(&site.try_connect().await), "a socket without a server");
    });
}

#[test]
fn a_command_that_is_given_up_shifts_no_replies() {
    in_every_way(async |site| {
        let (redis, other) = (site.connect().await, site.connect().await);
        let blocked = redis.command(&["BLPOP", "list", "0"]);
        let given_up = timeout(&site.io_loop, Duration::from_millis(1), blocked).await;
        assert!(given_up.unwrap_err().is_elapsed());
        let next = redis.command(&["PING"]);
        other.command(&["RPUSH", "list", "x"]).await.unwrap();
        assert_eq!(next.await, Ok(Reply::Status("PONG".into())), "not what came for the first");
        let left = other.command(&["LLEN", "list"]).await;
        assert_eq!(left, Ok(Reply::Integer(0)), "the server did what it was asked");
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
            let Site { io_loop, .. } = site;
            let timers = || io_loop.metrics().timers;
            way.run(io_loop, async {
                let path = site.path();
                let redis = Redis::connect(io_loop.clone(), &path, Some(patience)).await.unwrap();
                assert_eq!(timers(), 0, "nothing is due");
                let other = site.connect().await;

                // Whatever is heard begins a new time.
                let blocked = ["a", "b"].map(|list| redis.command(&["BLPOP", list, "0"]));
                assert_eq!(timers(), 1);
                for (list, blocked) in ["a", "b"].into_iter().zip(blocked) {
                    clock.advance(almost);
                    other.command(&["RPUSH", list, "x"]).await.unwrap();
                    assert_eq!(blocked.await, Ok(Reply::Array(vec![bytes(list), bytes("x")])));
                }
                assert_eq!(timers(), 0);

                site.server.borrow().freeze();
                let answers = join_all((0..3).map(|_| redis.command(&["PING"])));
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
        let blocked = redis.command(&["BLPOP", "list", "0"]);
        let rest: Vec<_> = (0..100).map(|_| redis.command(&["INCR", "n"])).collect();
        let mut disconnecting = pin!(redis.disconnect());
        begin(&mut disconnecting).await;
        other.command(&["RPUSH", "list", "x"]).await.unwrap();
        disconnecting.await.unwrap();
        assert_eq!(blocked.await, Ok(Reply::Array(vec![bytes("list"), bytes("x")])));
        for (answer, n) in join_all(rest).await.into_iter().zip(1..) {
            assert_eq!(answer, Ok(Reply::Integer(n)));
        }
        // The server sees the end in a moment.
        let clients = ["CLIENT", "LIST"];
        while lines(other.command(&clients).await) > 1 {}
    });
}

#[test]
fn dropped_in_the_middle_it_answers_and_leaves_nothing() {
    in_every_way(async |site| {
        // While it connects.
        {
            let path = site.path();
            let mut connecting = pin!(Redis::connect(site.io_loop.clone(), &path, Some(HANGS)));
            begin(&mut connecting).await;
            assert_eq!(site.io_loop.metrics().watches, 1);
        }
        assert_eq!(site.io_loop.metrics().watches, 0);

        // While commands are written and replies are due.
        let redis = Redis::connect(site.io_loop.clone(), &site.path(), Some(HANGS)).await.unwrap();
        let mut answers: Vec<_> =
            (0..100).map(|_| redis.command(&["BLPOP", "list", "0"])).collect();
        answers.push(redis.command(&[&b"SET"[..], b"large", &vec![0; 8 << 20]]));
        assert_eq!(site.io_loop.metrics().timers, 2);
        drop(redis);
        let metrics = site.io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers), (0, 1), "none but the case's own timer");
        assert_eq!(join_all(answers).await, vec![Err(Error::Closed); 101]);

        // While it disconnects.
        let redis = site.connect().await;
        let blocked = redis.command(&["BLPOP", "list", "0"]);
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
            let blocked = redis.command(&["BLPOP", "list", "0"]);
            site.io_loop.close().unwrap();
            site.assert_empty();
            // The first to need the loop finds out, for all.
            let next = way.block_on(redis.command(&["PING"]));
            assert!(matches!(next, Err(Error::Loop(_))), "{next:?}");
            assert_eq!(way.block_on(blocked), next);
            assert_eq!(way.block_on(redis.ended()), next.unwrap_err());
            drop(redis);

            let connecting = way.block_on(site.try_connect());
            assert!(matches!(connecting, Err(Error::Loop(_))));
        });
        with_site(way.io_loop(), |site| {
            let redis = way.run(&site.io_loop, site.connect());
            let blocked = redis.command(&["BLPOP", "list", "0"]);
            site.io_loop.close().unwrap();
            drop(redis);
            assert_eq!(way.block_on(blocked), Err(Error::Closed));
        });
    });
}
