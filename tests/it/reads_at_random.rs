//! Bytes over TCP in both directions, to readers that take as many as they like, wait for readiness
//! alone, and give reads up: each byte arrives once, in its order, and then the end.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use futures_lite::future::{or, poll_once, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use futures_util::future::join_all;
use ioloop::{Async, IOLoop, sleep, timeout};
use testkit::ways::every_way;

/// As many as a stream carries in one direction.
const BYTES: usize = 20_000;

const SEEDS: u64 = 4;

type Stream = Rc<Async<TcpStream>>;

/// The bytes of a stream from one place on.
fn bytes(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at % 251) as u8).collect()
}

async fn write(io_loop: IOLoop, stream: Stream, mut rng: Rng) {
    let mut sent = 0;
    while sent < BYTES {
        let piece = bytes(sent, rng.usize(1..400).min(BYTES - sent));
        (&*stream).write_all(&piece).await.unwrap();
        sent += piece.len();
        match rng.u8(0..4) {
            0 => sleep(&io_loop, Duration::from_micros(rng.u64(0..300))).await.unwrap(),
            1 => yield_now().await,
            _ => {}
        }
    }
    stream.get_ref().shutdown(Shutdown::Write).unwrap();
}

/// One read, in some way; none if it was given up.
async fn read_somehow(
    io_loop: &IOLoop,
    mut stream: &Async<TcpStream>,
    room: &mut [u8],
    rng: &mut Rng,
) -> Option<usize> {
    match rng.u8(0..6) {
        0 => {
            let limit = Duration::from_micros(rng.u64(0..200));
            timeout(io_loop, limit, stream.read(room)).await.ok().map(Result::unwrap)
        }
        1 => {
            let read = poll_once(stream.read(room)).await.map(Result::unwrap);
            yield_now().await;
            read
        }
        2 => {
            let ready = async { stream.readable().await.map(|()| None) };
            let mut reads = stream;
            or(ready, async { reads.read(room).await.map(Some) }).await.unwrap()
        }
        3 => {
            stream.readable().await.unwrap();
            Some(stream.read(room).await.unwrap())
        }
        _ => Some(stream.read(room).await.unwrap()),
    }
}

async fn read(io_loop: IOLoop, stream: Stream, mut rng: Rng) {
    let (mut all, mut room) = (Vec::new(), [0; 300]);
    loop {
        let room = &mut room[..rng.usize(1..=300)];
        match read_somehow(&io_loop, &stream, room, &mut rng).await {
            Some(0) => break,
            Some(n) => all.extend_from_slice(&room[..n]),
            None => {}
        }
    }
    assert!(all == bytes(0, BYTES), "{} bytes", all.len());
}

#[test]
fn no_read_loses_a_byte_or_the_end() {
    every_way(|way| {
        for seed in 0..SEEDS {
            let io_loop = way.io_loop();
            let mut rng = Rng::with_seed(seed);
            let mut ends = Vec::new();
            for _ in 0..8 {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let streams = [ours, listener.accept().unwrap().0];
                let [ours, theirs] =
                    streams.map(|stream| Rc::new(Async::new(&io_loop, stream).unwrap()));
                for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
                    let writing = write(io_loop.clone(), Rc::clone(from), rng.fork());
                    let reading = read(io_loop.clone(), Rc::clone(to), rng.fork());
                    ends.extend([io_loop.spawn(writing), io_loop.spawn(reading)]);
                }
            }
            let ended = way.run(&io_loop, join_all(ends));
            assert!(ended.iter().all(Result::is_ok), "seed {seed}: {ended:?}");
        }
    });
}
