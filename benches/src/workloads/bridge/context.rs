//! Futures of tokio's that are polled here, in its context: on a bare loop, and under a plain
//! `block_on`.
//!
//! The runtime is current-thread and driven by a thread of its own, as async-compat's is.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use async_compat::Compat;
use async_executor::LocalExecutor;
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, bridge};
use smol::future::{block_on, yield_now};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::{on_one_processor, workload};
use crate::harness::{Contender, Sample, Workload, timed};
use crate::loops;

pub(crate) fn workloads() -> Vec<Workload> {
    let timers = vec![
        on_one_processor("async-compat, plain block_on", compat_tasks),
        on_one_processor("in_tokio, own bare", bridged_tasks),
    ];
    vec![
        workload("polls", "a poll of a future that yields", 2_000_000, contenders(yields)),
        workload("tokio-timer", "a sleep of a millisecond on tokio", 300, contenders(sleeps)),
        workload("tokio-timers", "a sleep on tokio in a task, one of many", 50_000, timers),
        workload(
            "tokio-socket",
            "a byte that crosses a socket of tokio's",
            40_000,
            contenders(pings),
        ),
    ]
}

/// Every way to poll what `future` makes of a number of operations.
fn contenders<F: Future>(future: impl Fn(u64) -> F + Copy + 'static) -> Vec<Contender> {
    vec![
        on_one_processor("async-compat, plain block_on", move |operations| {
            timed(|| drop(block_on(Compat::new(future(operations)))))
        }),
        on_one_processor("in_tokio, plain block_on", move |operations| {
            let tokio = driven();
            timed(|| drop(block_on(bridge::in_tokio(tokio, future(operations)))))
        }),
        on_one_processor("async-compat, own bare", move |operations| {
            let io_loop = bare();
            timed(|| drop(io_loop.run_sync(Compat::new(future(operations)))))
        }),
        on_one_processor("in_tokio, own bare", move |operations| {
            let (tokio, io_loop) = (driven(), bare());
            timed(|| drop(io_loop.run_sync(bridge::in_tokio(tokio, future(operations)))))
        }),
        on_one_processor("tokio current-thread", move |operations| {
            let runtime = loops::current_thread();
            timed(|| drop(runtime.block_on(future(operations))))
        }),
    ]
}

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().expect("making a loop")
}

/// A runtime that is driven as long as the process lives.
fn driven() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = loops::current_thread();
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(pending::<()>()));
        handle
    })
}

async fn yields(operations: u64) {
    // Not `tokio::task::yield_now`, which waits for the runtime's own turn.
    for _ in 0..operations {
        yield_now().await;
    }
}

async fn sleeps(operations: u64) {
    for _ in 0..operations {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Both ends are here; what tells them that there is something to read is the runtime's thread.
async fn pings(operations: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let connected = TcpStream::connect(address).await.expect("a connection");
    let (accepted, _) = listener.accept().await.expect("a connection");
    for stream in [&connected, &accepted] {
        stream.set_nodelay(true).expect("a TCP socket");
    }
    let mut ends = (connected, accepted);
    for _ in 0..operations {
        assert_eq!(ends.0.try_write(b"!").expect("room for a byte"), 1);
        let read = poll_fn(|cx| {
            let mut buffer = [0; 64];
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut ends.1).poll_read(cx, &mut buffer);
            read.map_ok(|()| buffer.filled().len())
        });
        assert_eq!(read.await.expect("a driven runtime"), 1);
        ends = (ends.1, ends.0);
    }
}

/// Sleeps of up to a twentieth of a second. What counts is the CPU time: the wall time is given by
/// them.
fn naps(operations: u64) -> impl Iterator<Item = impl Future<Output = ()> + 'static> {
    let start = Instant::now();
    (0..operations).map(move |n| {
        let deadline = start + Duration::from_micros(n * 7919 % 50_000);
        async move { tokio::time::sleep_until(deadline.into()).await }
    })
}

fn compat_tasks(operations: u64) -> Sample {
    let executor = LocalExecutor::new();
    timed(|| {
        let tasks: Vec<_> = naps(operations).map(|nap| executor.spawn(Compat::new(nap))).collect();
        block_on(executor.run(async {
            for task in tasks {
                task.await;
            }
        }));
    })
}

fn bridged_tasks(operations: u64) -> Sample {
    let (tokio, io_loop) = (driven(), bare());
    timed(|| {
        let in_tokio = |nap| io_loop.spawn(bridge::in_tokio(tokio, nap));
        let tasks: Vec<_> = naps(operations).map(in_tokio).collect();
        let all = async {
            for task in tasks {
                task.await.expect("a running loop");
            }
        };
        io_loop.run_sync(all).expect("running the loop");
    })
}
