//! Commands and their replies.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use ioloop::{Reactor, timeout};
use ioloop_hiredis::{Connection, Error, Options, Pipeline, Reply};

use crate::site::{bytes, in_every_way, is_refused, relay};

#[test]
fn replies_of_every_type() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let set = redis.command(["SET", "key", "value"]).await;
        assert_eq!(set, Ok(Reply::Status("OK".into())));
        assert_eq!(redis.command(["GET", "key"]).await, Ok(bytes("value")));
        assert_eq!(redis.command(["GET", "none"]).await, Ok(Reply::Nil));
        assert_eq!(redis.command(["INCRBY", "n", "-7"]).await, Ok(Reply::Integer(-7)));

        // What is no text, and what is empty.
        let binary: &[&[u8]] = &[b"SET", b"\0\r\n$", b""];
        redis.command(binary).await.unwrap();
        assert_eq!(redis.command([&b"GET"[..], b"\0\r\n$"]).await, Ok(bytes("")));
        // Larger than any buffer on the way.
        let large = vec![b'x'; 8 << 20];
        redis.command([&b"SET"[..], b"large", &large]).await.unwrap();
        assert_eq!(redis.command(["GET", "large"]).await, Ok(bytes(&large)));

        let nested = ["EVAL", "return {1, {'two', redis.error_reply('ERR three')}}", "0"];
        let inner = Reply::Array(vec![bytes("two"), Reply::Error("ERR three".into())]);
        let nested = redis.command(nested).await;
        assert_eq!(nested, Ok(Reply::Array(vec![Reply::Integer(1), inner])));

        let error = redis.command(["INCR", "key"]).await.unwrap_err();
        assert!(matches!(&error, Error::Server(text) if text.starts_with("ERR value")), "{error}");
        let error = redis.command(["NOSUCHCOMMAND"]).await.unwrap_err();
        assert!(error.to_string().starts_with("ERR unknown command"), "{error}");
        assert_eq!(redis.command(["GET", "key"]).await, Ok(bytes("value")), "it goes on");
        redis.disconnect().await.unwrap();
    });
}

#[test]
fn replies_as_the_types_of_those_who_ask() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        redis.command(["HSET", "h", "a", "1", "b", "2"]).await.unwrap();
        let map = redis.command(["HGETALL", "h"]).to::<HashMap<String, i64>>().await.unwrap();
        assert_eq!(map, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
        let some = redis.command(["HMGET", "h", "a", "x"]).to::<Vec<Option<i64>>>().await;
        assert_eq!(some, Ok(vec![Some(1), None]));
        assert_eq!(redis.command(["HGET", "h", "x"]).to::<Option<String>>().await, Ok(None));
        let wrong = redis.command(["HGETALL", "h"]).to::<i64>().await.unwrap_err();
        assert!(matches!(wrong, Error::Conversion { wanted: "i64", .. }), "{wrong}");
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let redis = Connection::connect(reactor, site.path()).await.unwrap();
        assert_eq!(redis.command(["PING"]).await, Ok(Reply::Status("PONG".into())));
    });
}

#[test]
fn a_server_behind_a_tcp_port() {
    in_every_way(async |site| {
        let to = relay(site.path());
        let redis = Connection::connect(site.io_loop.clone(), to).await.unwrap();
        assert_eq!(redis.command(["PING"]).to::<String>().await, Ok("PONG".into()));
        redis.disconnect().await.unwrap();
    });
}

#[test]
fn signing_in_and_choosing_a_database() {
    in_every_way(async |site| {
        let admin = site.connect().await;
        admin.command(["ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all"]).await.unwrap();
        let options = site.options().user("worker", "secret").database(3);
        let redis = Connection::connect(site.io_loop.clone(), &options).await.unwrap();
        assert_eq!(redis.command(["ACL", "WHOAMI"]).to::<String>().await, Ok("worker".into()));
        redis.command(["SET", "key", "of 3"]).await.unwrap();
        assert_eq!(admin.command(["GET", "key"]).await, Ok(Reply::Nil));
        admin.command(["SELECT", "3"]).await.unwrap();
        assert_eq!(admin.command(["GET", "key"]).await, Ok(bytes("of 3")));

        for options in [options.user("worker", "wrong"), site.options().database(99)] {
            let refused = Connection::connect(site.io_loop.clone(), options).await;
            assert!(matches!(refused, Err(Error::Server(_))), "{refused:?}");
        }

        admin.command(["CONFIG", "SET", "requirepass", "open sesame"]).await.unwrap();
        let outside = site.connect().await.command(["GET", "key"]).await.unwrap_err();
        assert!(outside.to_string().starts_with("NOAUTH"), "{outside}");
        let options = site.options().password("open sesame");
        let inside = Connection::connect(site.io_loop.clone(), options).await.unwrap();
        inside.command(["GET", "key"]).await.unwrap();
    });
}

#[test]
fn ten_thousand_commands_at_once_are_answered_in_order() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let answers: Vec<_> = (0..10_000).map(|_| redis.command(["INCR", "n"]).to()).collect();
        for (answer, n) in join_all(answers).await.into_iter().zip(1_i64..) {
            assert_eq!(answer, Ok(n));
        }
    });
}

#[test]
fn commands_of_one_turn_were_written_one_by_one() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let reads = async || {
            let info: String = redis.command(["INFO", "stats"]).to().await.unwrap();
            let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
            line.unwrap().parse::<i64>().unwrap()
        };
        let before = reads().await;
        join_all((0..100).map(|_| redis.command(["PING"]))).await;
        let mut pipeline = Pipeline::new();
        for _ in 0..100 {
            pipeline.command(["PING"]);
        }
        redis.pipeline(&pipeline).await.unwrap();
        assert_eq!(reads().await - before, 3, "two of 100 commands each, and this one");
    });
}

#[test]
fn a_pipeline_gives_its_replies_in_order_and_keeps_errors_in_their_places() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let mut pipeline = Pipeline::new();
        pipeline.command(["SET", "key", "x"]).command(["INCR", "key"]).command(["GET", "key"]);
        let beside = redis.command(["PING"]);
        let replies = redis.pipeline(&pipeline).await.unwrap();
        let [Reply::Status(ok), Reply::Error(error), Reply::Bytes(value)] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert_eq!((&ok[..], &value[..]), ("OK", &b"x"[..]));
        assert!(error.starts_with("ERR value"), "{error}");
        assert_eq!(beside.to::<String>().await, Ok("PONG".into()));

        let first = redis.pipeline(&pipeline).to::<(String, i64, String)>().await;
        assert!(matches!(first, Err(Error::Server(_))), "{first:?}");
        let each = redis.pipeline(&pipeline).to::<Vec<Result<String, Error>>>().await.unwrap();
        assert!(each[0].is_ok() && each[1].is_err() && each[2].is_ok());

        assert_eq!(redis.pipeline(&Pipeline::new()).await, Ok(Vec::new()));
        assert!(is_refused(redis.pipeline(Pipeline::new().command(["MONITOR"])).await));
    });
}

#[test]
fn a_transaction_is_executed_as_a_whole_or_not_at_all() {
    in_every_way(async |site| {
        let (redis, other) = (site.connect().await, site.connect().await);
        let mut pipeline = Pipeline::new();
        pipeline.command(["INCR", "n"]).command(["LPOP", "n"]).command(["INCR", "n"]);
        let replies = redis.transaction(&pipeline).await.unwrap().unwrap();
        assert_eq!((&replies[0], &replies[2]), (&Reply::Integer(1), &Reply::Integer(2)));
        assert!(matches!(&replies[1], Reply::Error(text) if text.starts_with("WRONGTYPE")));

        redis.command(["WATCH", "n"]).await.unwrap();
        other.command(["SET", "n", "10"]).await.unwrap();
        assert_eq!(redis.transaction(&pipeline).await, Ok(None), "it has changed");
        assert!(redis.transaction(&pipeline).await.unwrap().is_some());

        let wrong = redis.transaction(Pipeline::new().command(["INCR", "n"]).command(["NOSUCH"]));
        let wrong = wrong.await.unwrap_err();
        assert!(wrong.to_string().starts_with("ERR unknown command"), "{wrong}");
        assert_eq!(other.command(["GET", "n"]).to::<i64>().await, Ok(12));
    });
}

#[test]
fn commands_that_change_who_speaks_when_are_refused() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let names = [
            "SUBSCRIBE",
            "psubscribe",
            "Ssubscribe",
            "UNSUBSCRIBE",
            "monitor",
            "HELLO",
            "RESET",
            "PSYNC",
        ];
        for name in names {
            assert!(is_refused(redis.command([name, "x"]).await), "{name}");
        }
        assert!(is_refused(redis.command(["CLIENT", "REPLY", "OFF"]).await));
        assert!(is_refused(redis.command([""; 0]).await), "no name");
        assert_eq!(redis.command(["PING"]).await, Ok(Reply::Status("PONG".into())));
    });
}

#[test]
fn a_command_that_is_given_up_shifts_no_replies() {
    in_every_way(async |site| {
        let (redis, other) = (site.connect().await, site.connect().await);
        let blocked = redis.command(["BLPOP", "list", "0"]);
        let given_up = timeout(&site.io_loop, Duration::from_millis(1), blocked).await;
        assert!(given_up.unwrap_err().is_elapsed());
        let next = redis.command(["PING"]);
        other.command(["RPUSH", "list", "x"]).await.unwrap();
        assert_eq!(next.await, Ok(Reply::Status("PONG".into())), "not what came for the first");
        let left = other.command(["LLEN", "list"]).await;
        assert_eq!(left, Ok(Reply::Integer(0)), "the server did what it was asked");
    });
}

#[test]
fn a_reply_of_fifty_megabytes() {
    in_every_way(async |site| {
        let redis = site.connect().await;
        let size = 50 << 20;
        redis.command(["SETRANGE", "big", &(size - 1).to_string(), "x"]).await.unwrap();
        let next = redis.command(["GET", "big"]);
        let after = redis.command(["PING"]);
        let big = next.to::<Vec<u8>>().await.unwrap();
        assert_eq!((big.len(), big.last()), (size, Some(&b'x')));
        after.await.unwrap();
    });
}

#[test]
fn maps_and_other_types_of_resp3() {
    in_every_way(async |site| {
        let options = site.options().resp3();
        let redis = match Connection::connect(site.io_loop.clone(), options).await {
            // That is all it can say.
            Err(Error::Refused(why)) => return assert!(why.contains("hiredis"), "{why}"),
            redis => redis.unwrap(),
        };
        redis.command(["HSET", "h", "a", "1"]).await.unwrap();
        let map = redis.command(["HGETALL", "h"]).await;
        assert_eq!(map, Ok(Reply::Map(vec![(bytes("a"), bytes("1"))])));
        redis.command(["ZADD", "z", "1.5", "m"]).await.unwrap();
        assert_eq!(redis.command(["ZSCORE", "z", "m"]).await, Ok(Reply::Double(1.5)));
        redis.command(["SADD", "s", "m"]).await.unwrap();
        assert_eq!(redis.command(["SMEMBERS", "s"]).await, Ok(Reply::Set(vec![bytes("m")])));

        // Beside a subscription there are commands.
        let mut messages = redis.subscribe("a").await.unwrap();
        assert_eq!(redis.command(["PUBLISH", "a", "x"]).to::<i64>().await, Ok(1));
        assert_eq!(crate::site::next(&mut messages).await.unwrap(), "x");
        assert_eq!(redis.command(["GET", "none"]).await, Ok(Reply::Nil));
        messages.unsubscribe().await.unwrap();
        assert_eq!(redis.command(["GET", "none"]).await, Ok(Reply::Nil));
    });
}

#[test]
fn a_password_was_printed() {
    let options = Options::from(Path::new("/socket")).user("worker", "secret");
    let printed = format!("{options:?}");
    assert!(printed.contains("worker") && !printed.contains("secret"), "{printed}");
}
