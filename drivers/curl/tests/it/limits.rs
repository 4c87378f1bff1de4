//! Limits: what is above them waits.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{FutureExt, join_all};
use ioloop::IOLoop;
use ioloop_curl::{Builder, Client, Error};
use testkit::alone::end_a_hang;

use crate::bench::{SMALL, assert_came, direct, on_every_bench};
use crate::scripted::{Asked, Scripted};
use crate::server::Server;

/// Counts those who are asked at once.
fn counting(most: &Arc<AtomicUsize>) -> impl Fn(&mut Asked<'_>) -> io::Result<()> + use<> {
    let (now, most) = (AtomicUsize::new(0), Arc::clone(most));
    move |asked| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let answered = asked.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
        now.fetch_sub(1, Ordering::SeqCst);
        answered.and_then(|()| asked.send("x"))
    }
}

#[test]
fn a_limit_was_passed() {
    let limits: [fn() -> Builder; 3] = [
        || Client::builder().max_requests(3),
        || Client::builder().max_connections(3),
        || Client::builder().max_connections_per_host(3),
    ];
    on_every_bench(|bench| {
        for limit in limits {
            bench.limit(limit());
            let most = Arc::new(AtomicUsize::new(0));
            let server = Scripted::start(counting(&most));
            let client = bench.client();
            let all = (0..40).map(|_| direct(client.get(&server.url(""))).into_future());
            let answers = bench.block_on(join_all(all));
            assert!(answers.iter().all(Result::is_ok));
            assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
            assert!(server.connections() <= 3, "{}", server.connections());
        }
        bench.assert_clean();
    });
}

#[test]
fn a_queue_was_not_in_order() {
    on_every_bench(|bench| {
        bench.limit(Client::builder().max_requests(1));
        for n in 0..10 {
            bench.start(bench.get("1.bin"), n);
        }
        assert_eq!(bench.client().unfinished(), 10);
        bench.run();
        let order: Vec<usize> = bench.ended().iter().map(|ended| ended.file).collect();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
        bench.assert_clean();
    });
}

#[test]
fn requests_that_were_cancelled_in_the_queue_stayed_there() {
    on_every_bench(|bench| {
        bench.limit(Client::builder().max_requests(1));
        let client = bench.client();
        let first = bench.start(bench.get("stall/2.bin"), 0);
        let held = Rc::new(());
        for round in 0..100 {
            let kept = Rc::clone(&held);
            let transfer = bench.get("1.bin").send(move |_| drop(kept));
            assert_eq!(client.unfinished(), 2);
            assert!(transfer.cancel() && !transfer.cancel());
            assert_eq!((client.unfinished(), Rc::strong_count(&held)), (1, 1), "{round}");
        }
        bench.start(bench.get("1.bin"), SMALL);
        assert!(first.cancel());
        bench.drive_until(|| client.unfinished() == 0);
        drop(client);
        bench.drive_until(|| bench.io_loop.metrics().timers == 0);
        assert_came(bench.ended());
        bench.assert_clean();
    });
}

#[test]
fn ten_thousand_requests_at_once_were_too_many() {
    const REQUESTS: usize = 10_000;
    end_a_hang();
    let limits = [
        ("requests", Client::builder().max_requests(50)),
        ("connections", Client::builder().max_connections(50)),
    ];
    for (name, limit) in limits {
        let io_loop = IOLoop::new().unwrap();
        let server = Server::start(io_loop.clone(), vec![1]).unwrap();
        let client = limit.build(io_loop.clone());
        let url = server.url("0.bin");
        let (done, bytes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for _ in 0..REQUESTS {
            let (done, bytes) = (Rc::clone(&done), Rc::clone(&bytes));
            direct(client.get(&url)).send(move |result| {
                bytes.set(bytes.get() + result.unwrap().1.len());
                done.set(done.get() + 1);
                if done.get() == REQUESTS {
                    IOLoop::current().unwrap().stop();
                }
            });
        }
        assert_eq!(client.unfinished(), REQUESTS);
        io_loop.start().unwrap();
        assert_eq!((bytes.get(), client.unfinished()), (REQUESTS, 0), "{name}");
        drop((client, server));
        io_loop.run_sync(crate::bench::turn(&io_loop)).unwrap();
        let metrics = io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0), "{name}");
    }
}

#[test]
fn a_loop_that_is_closed_with_a_queue_left_it() {
    on_every_bench(|bench| {
        bench.limit(Client::builder().max_requests(1));
        let mut all: Vec<_> = (0..50).map(|_| bench.get("stall/2.bin").into_future()).collect();
        assert!(all.iter_mut().all(|request| request.now_or_never().is_none()));
        bench.io_loop.close().unwrap();
        for request in &mut all {
            let answer = request.now_or_never().expect("it still waits");
            assert!(matches!(answer, Err(Error::Closed)));
        }
        assert_eq!(bench.client().unfinished(), 0);
    });
}
