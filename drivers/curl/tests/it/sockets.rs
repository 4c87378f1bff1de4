//! What libcurl wants watched, and its timer.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use ioloop::reactor::Direction;
use ioloop_curl::{Client, Error};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

use crate::bench::{LARGE, SIZES, SMALL, assert_came, direct, on_every_bench};

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn starting_a_request_called_back() {
    on_every_bench(|bench| {
        bench.start(bench.get("0.bin").timeout(PATIENCE), 0);
        // libcurl asked for a timer of 0 by now; the other notices a closed loop.
        assert_eq!(bench.io_loop.metrics().timers, 2);
        assert_eq!(bench.tap.live(), 0);
        assert_eq!(bench.client().unfinished(), 1);
        bench.run();
        bench.drive_until(|| bench.io_loop.metrics().timers == 0);
        assert_eq!(bench.client().unfinished(), 0);
        bench.assert_clean();
    });
}

#[test]
fn a_cancelled_request_left_something_behind() {
    on_every_bench(|bench| {
        let transfer = bench.start(bench.get("stall/2.bin").timeout(PATIENCE), LARGE);
        bench.drive_until(|| bench.tap.live() != 0);
        assert!(!transfer.has_ended() && transfer.cancel());
        assert_eq!(bench.tap.live(), 0, "a socket is still watched");
        assert!(transfer.has_ended() && !transfer.cancel());
        bench.drive_until(|| bench.io_loop.metrics().timers == 0);
        assert!(bench.ended().is_empty());
        bench.assert_clean();
    });
}

#[test]
fn a_dropped_client_left_something_behind() {
    on_every_bench(|bench| {
        // One connection is kept for reuse, another is in use.
        bench.start(bench.get("1.bin"), SMALL);
        bench.run();
        let transfer = bench.start(bench.get("stall/2.bin").timeout(PATIENCE), LARGE);
        bench.drive_until(|| bench.tap.live() != 0);
        bench.drop_client();
        assert_eq!(bench.tap.live(), 0, "a socket is still watched");
        assert_eq!(bench.io_loop.metrics().timers, 0);
        assert!(transfer.has_ended() && !transfer.cancel());
        assert_eq!(bench.ended().len(), 1, "only the first has ended");
        bench.assert_clean();
    });
}

#[test]
fn a_stalled_server_did_not_run_into_the_time_out() {
    on_every_bench(|bench| {
        let timeout = Duration::from_millis(80);
        // Its head comes, and then nothing.
        let begun = Instant::now();
        bench.start(bench.get("stall/1.bin").timeout(timeout), SMALL);
        bench.run();
        assert!(begun.elapsed() >= timeout, "libcurl was called early");
        let events = bench.io_loop.metrics().events;
        assert!(events < 20, "{events} calls though nothing was to be done");
        let failure = bench.failure();
        assert!(failure.is_timeout(), "{failure}");
        bench.assert_clean();
    });
}

#[test]
fn a_time_out_of_less_than_a_millisecond_was_none_and_the_longest_an_error() {
    on_every_bench(|bench| {
        for timeout in [Duration::ZERO, Duration::from_micros(1)] {
            bench.start(bench.get("stall/1.bin").timeout(timeout), SMALL);
            bench.run();
            let failure = bench.failure();
            assert!(failure.is_timeout(), "{failure}");
        }
        let request = bench.get("0.bin").timeout(Duration::MAX).connect_timeout(Duration::MAX);
        bench.start(request.low_speed_limit(1, Duration::MAX), 0);
        bench.run();
        let ended = bench.ended().remove(0).result;
        assert!(ended.is_ok(), "{ended:?}");
        bench.assert_clean();
    });
}

#[test]
fn a_socket_was_called_before_it_was_connected() {
    on_every_bench(|bench| {
        // A queue of one, which is full: the kernel answers to nobody who connects now.
        let listener: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&listener, 0).unwrap();
        let address: SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
        let _queued = TcpStream::connect(address).unwrap();

        let request = direct(bench.client().get(&format!("http://{address}/")));
        bench.start(request.connect_timeout(Duration::from_millis(60)), SMALL);
        bench.run();
        assert!(bench.tap.has_watched(Direction::Write));
        let failure = bench.failure();
        assert!(failure.is_timeout(), "{failure}");
        let events = bench.io_loop.metrics().events;
        assert_eq!(events, 0, "a socket that is connecting is not ready");
        bench.assert_clean();
    });
}

#[test]
fn a_refused_connection_was_not_named() {
    on_every_bench(|bench| {
        // Bound, so nobody else gets the port, but not listening.
        let reserved: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&reserved, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address: SocketAddr = getsockname(&reserved).unwrap().try_into().unwrap();

        bench.start(direct(bench.client().get(&format!("http://{address}/"))), SMALL);
        bench.run();
        let failure = bench.failure();
        assert!(failure.is_connect());
        let reason = failure.to_string();
        assert!(reason.contains(&address.to_string()), "{reason}");
        assert!(reason.contains("Connection refused"), "{reason}");
        bench.assert_clean();
    });
}

#[test]
fn a_number_that_was_another_sockets_was_not_watched() {
    const REQUESTS: usize = 100;
    on_every_bench(|bench| {
        // libcurl itself holds back what is over this limit, and starts it where another one ends.
        bench.limit(Client::builder().max_connections(4));
        for n in 0..REQUESTS {
            let file = n % 2;
            let request = bench.get(&format!("{file}.bin"));
            bench.start(request.configure(|easy| easy.forbid_reuse(true)), file);
        }
        bench.run();
        let ended = bench.ended();
        assert_eq!(ended.len(), REQUESTS);
        assert_came(ended);
        assert_ne!(bench.tap.reused_within_a_turn(), 0, "the case did not arise");
        bench.assert_clean();
    });
}

#[test]
fn a_wish_that_stayed_was_registered_again() {
    on_every_bench(|bench| {
        // libcurl waits to write while it sends this, and to read all the time.
        let request = bench.client().post(&bench.server.url("2.bin")).body(vec![0; 16 << 20]);
        bench.start(direct(request).without_header("Expect"), LARGE);
        bench.run();
        let log = bench.tap.log.borrow();
        let added: Vec<(RawFd, Direction)> = log
            .iter()
            .filter_map(|entry| entry.added.map(|direction| (entry.fd, direction)))
            .collect();
        let distinct: HashSet<_> = added.iter().collect();
        assert!(distinct.len() >= 2, "a reader and a writer");
        assert_eq!(added.len(), distinct.len(), "{added:?}");
    });
}

#[test]
fn a_socket_that_cannot_be_watched_hung_its_request() {
    on_every_bench(|bench| {
        bench.tap.refuses.set(true);
        bench.start(bench.get("1.bin"), SMALL);
        bench.run();
        bench.tap.refuses.set(false);
        let failure = bench.failure();
        assert!(matches!(&failure, Error::Loop(error) if error.to_string() == "no more watches"));
        assert_eq!(bench.tap.live(), 0);
        // The client goes on.
        bench.start(bench.get("1.bin"), SMALL);
        bench.run();
        assert_came(bench.ended());
        bench.assert_clean();
    });
}

#[test]
fn files_of_some_size_did_not_come_whole() {
    on_every_bench(|bench| {
        for file in (0..12).map(|n| n % SIZES.len()) {
            bench.start(bench.get(&format!("{file}.bin")), file);
        }
        // Over a second connection, opened while the first is closed.
        let request = bench.get("redirect/2.bin");
        bench.start(request.configure(|easy| easy.forbid_reuse(true)), LARGE);
        bench.run();
        let ended = bench.ended();
        assert_eq!(ended.len(), 13);
        assert_came(ended);
        bench.assert_clean();
    });
}
