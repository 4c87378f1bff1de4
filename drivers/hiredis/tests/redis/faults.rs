//! Servers that misbehave.

use std::net::TcpListener;
use std::time::Duration;

use ioloop_hiredis::{Connection, Error, Reply};

use crate::site::{answering, in_every_way, in_every_way_alone, is_lost, is_unreachable};

#[test]
fn a_port_that_nobody_listens_on() {
    in_every_way_alone(async |io_loop| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Connection::connect(io_loop.clone(), address).await.unwrap_err();
        assert!(is_unreachable::<()>(&Err(error.clone())));
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    });
}

#[test]
fn what_is_no_redis_protocol_ends_the_connection() {
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n+nobody asked for this\r\n",
        b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        b"+OK\r\n*1\r\n:1\r\n",
        b"*-7\r\n",
    ];
    for answer in answers {
        in_every_way_alone(async |io_loop| {
            let address = answering("PING\r\n", answer, false);
            let redis = Connection::connect(io_loop.clone(), address).await.unwrap();
            let pong = redis.command(["PING"]).await;
            if answer.starts_with(b"+OK") {
                assert_eq!(pong, Ok(Reply::Status("OK".into())));
            } else {
                assert!(is_lost(&pong), "{pong:?}");
            }
            let Error::Lost(why) = redis.ended().await else { panic!("it is not lost") };
            assert!(why.contains("Protocol error") || why.contains("length out of range"), "{why}");
            assert_eq!(io_loop.metrics().watches, 0);
        });
    }
}

#[test]
fn a_reply_that_ends_in_the_middle() {
    in_every_way_alone(async |io_loop| {
        // It ends when it has read everything: a reset otherwise.
        let address = answering("GET\r\n$1\r\nb\r\n", b"$1\r\nx\r\n$100\r\nnot all", true);
        let redis = Connection::connect(io_loop.clone(), address).await.unwrap();
        let [first, second] = ["a", "b"].map(|key| redis.command(["GET", key]));
        assert_eq!(first.to::<String>().await, Ok("x".into()));
        assert_eq!(second.await, Err(Error::Lost("Server closed the connection".into())));
    });
}

#[test]
fn a_server_with_too_many_clients_says_so() {
    in_every_way(async |site| {
        let admin = site.connect().await;
        admin.command(["CONFIG", "SET", "maxclients", "1"]).await.unwrap();
        let one_too_many = site.connect().await;
        let end = one_too_many.ended().await;
        assert_eq!(end, Error::Server("ERR max number of clients reached".into()));
    });
}

#[test]
fn a_slow_server_answers_in_the_end() {
    in_every_way(async |site| {
        let (redis, other) = (site.connect().await, site.connect().await);
        other.command(["CLIENT", "PAUSE", "60000", "WRITE"]).await.unwrap();
        let answers: Vec<_> = (0..10).map(|_| redis.command(["INCR", "n"]).to::<i64>()).collect();
        let large = redis.command([&b"SET"[..], b"large", &vec![b'x'; 8 << 20]]);
        other.command(["CLIENT", "UNPAUSE"]).await.unwrap();
        for (answer, n) in futures_util::future::join_all(answers).await.into_iter().zip(1..) {
            assert_eq!(answer, Ok(n));
        }
        large.await.unwrap();
        // Stopped, so it does not even read.
        site.server.borrow().freeze();
        let large = redis.command([&b"SET"[..], b"large", &vec![b'y'; 8 << 20]]);
        let waiting = ioloop::timeout(&site.io_loop, Duration::from_millis(1), redis.ended());
        assert!(waiting.await.is_err());
        assert_eq!(site.io_loop.metrics().watches, 3, "one of them for the rest to be written");
        site.server.borrow().thaw();
        large.await.unwrap();
        assert_eq!(site.io_loop.metrics().watches, 2);
    });
}
