//! A task a connection, which reads within a time-out.

use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ioloop::{Async, PeriodicCallback};
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Beside, JOB, Pace, Requests, TIMEOUT, job, post, posted};
use crate::harness::{Countdown, Sample, timed};
use crate::loops::{self, current};
use crate::workloads::echo::REQUEST;

/// A short read is the end of the data then, which saves a read that would block.
const ROOM: usize = 2 * REQUEST;

pub(super) fn on_a_loop(streams: Vec<TcpStream>, operations: u64, pace: Pace) -> Sample {
    let hosted = loops::BARE.open();
    let (io_loop, requests) = (&hosted.io_loop, Requests::new(operations));
    pace.set_executor(io_loop);
    for stream in streams {
        let stream = Async::new_nonblocking(io_loop, stream).expect("watching a socket");
        let (weak, requests, handle) =
            (io_loop.downgrade(), Rc::clone(&requests), io_loop.handle());
        let serve = async move {
            let mut buffer = [0; ROOM];
            while let Ok(Ok(n @ 1..)) =
                ioloop::timeout(&weak, TIMEOUT, (&stream).read(&mut buffer)).await
            {
                if requests.begin() {
                    let poster = (pace == Pace::Requests).then(|| handle.clone());
                    let returned = current().run_in_executor(move || {
                        poster.iter().for_each(post);
                        job();
                    });
                    returned.await.expect("a job that returns");
                }
                (&stream).write_all(&buffer[..n]).await.expect("room for an answer");
                if requests.answered() {
                    current().stop();
                }
            }
        };
        io_loop.spawn(serve);
    }
    let periodic = PeriodicCallback::new(io_loop, pace.period(), || {}).expect("a period");
    periodic.start();
    let handle = io_loop.handle();
    let beside = Beside::start(pace, move || post(&handle));
    let sample = timed(|| hosted.run());
    beside.end();
    sample
}

pub(super) fn on_tokio(streams: Vec<TcpStream>, operations: u64, pace: Pace) -> Sample {
    on_runtime(&loops::current_thread(), streams, operations, pace)
}

pub(super) fn on_two_threads(streams: Vec<TcpStream>, operations: u64, pace: Pace) -> Sample {
    on_runtime(&loops::multi_thread(), streams, operations, pace)
}

fn on_runtime(
    runtime: &tokio::runtime::Runtime,
    streams: Vec<TcpStream>,
    operations: u64,
    pace: Pace,
) -> Sample {
    let (poster, mut posts) = unbounded_channel::<()>();
    let served = Served {
        begun: Arc::default(),
        unanswered: Countdown::new(operations),
        runtime: runtime.handle().clone(),
        poster: poster.clone(),
        pace,
    };
    let unanswered = served.unanswered.clone();
    let _entered = runtime.enter();
    for stream in streams {
        let stream = tokio::net::TcpStream::from_std(stream).expect("registering a socket");
        runtime.spawn(serve_with_timeout(stream, served.clone()));
    }
    runtime.spawn(async move {
        while posts.recv().await.is_some() {
            posted();
        }
    });
    runtime.spawn(async move {
        let mut periods = tokio::time::interval(pace.period());
        loop {
            periods.tick().await;
        }
    });
    let beside = Beside::start(pace, move || poster.send(()).expect("the task that receives"));
    let sample = timed(|| runtime.block_on(unanswered.finished()));
    beside.end();
    sample
}

#[derive(Clone)]
struct Served {
    begun: Arc<AtomicU64>,
    unanswered: Countdown,
    runtime: Handle,
    poster: UnboundedSender<()>,
    pace: Pace,
}

async fn serve_with_timeout(mut stream: tokio::net::TcpStream, served: Served) {
    let mut buffer = [0; ROOM];
    while let Ok(Ok(n @ 1..)) = tokio::time::timeout(TIMEOUT, stream.read(&mut buffer)).await {
        if (served.begun.fetch_add(1, Ordering::Relaxed) + 1) % JOB == 0 {
            let poster = (served.pace == Pace::Requests).then(|| served.poster.clone());
            let returned = served.runtime.spawn_blocking(move || {
                if let Some(poster) = poster {
                    poster.send(()).expect("the task that receives");
                }
                job();
            });
            returned.await.expect("a job that returns");
        }
        stream.write_all(&buffer[..n]).await.expect("room for an answer");
        served.unanswered.count();
    }
}
