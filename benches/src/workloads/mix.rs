//! What a server really does: connections as in `echo`, each with a time-out of ten seconds that a
//! request puts off; a periodic callback; a post from another thread every millisecond; and one
//! request in a hundred runs a job in the executor, and is answered when the job has returned.

mod by_hand;
pub(crate) mod memory;
mod tasks;

use std::cell::Cell;
use std::hint::black_box;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ioloop::backends::Job;
use ioloop::{Handle, IOLoop, PeriodicCallback, Reactor};

use super::echo::{Clients, Request};
use crate::harness::{CPU, Contender, Picture, Sample, Workload, count_down, timed};
use crate::loops::{WAYS, current};
use crate::peers::{self, Program};

const TIMEOUT: Duration = Duration::from_secs(10);
const PERIOD: Duration = Duration::from_millis(10);
const POST: Duration = Duration::from_millis(1);
const JOB: u64 = 100;

/// What the periodic callback and the posts go by.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Time, as on a server.
    Time,
    /// The requests: each job posts, and the period is an hour. So a run can be counted, which a
    /// tool makes many times slower.
    Requests,
}

impl Pace {
    fn period(self) -> Duration {
        if self == Pace::Time { PERIOD } else { Duration::from_secs(3600) }
    }

    /// The threads of a pool wait for a time, which under a tool is over at once. So there is one
    /// that does not, if that is not what counts.
    fn set_executor(self, io_loop: &IOLoop) {
        if self == Pace::Requests {
            let (jobs, queue) = channel::<Job>();
            thread::spawn(|| queue.into_iter().for_each(|job| job()));
            io_loop.set_default_executor(move |job| jobs.send(job).expect("the thread for jobs"));
        }
    }
}

/// Serves so many requests on connections that are there.
type Serve = fn(Vec<TcpStream>, u64, Pace) -> Sample;

/// A server in this process, which connects to so many clients and answers that many requests.
type Server = Box<dyn Fn(&mut Clients, u64, u64, Pace) -> Sample>;

pub(crate) fn workload(name: &'static str, connections: u64, pace: Pace) -> Workload {
    let contender = |(name, server): (&'static str, Server)| {
        Contender::new(name, move |operations| {
            let mut clients = Clients::start(connections, 0, operations);
            let sample = server(&mut clients, connections, operations, pace);
            clients.join();
            sample
        })
    };
    let mut contenders: Vec<_> = servers().into_iter().map(contender).collect();
    let program = |program: &Program| {
        Contender::program(*program, move |program, _, operations| {
            let operations = program.share(operations);
            let clients = Clients::start(connections, 0, operations);
            let by_requests = u64::from(pace == Pace::Requests);
            let parameters = [clients.port.into(), connections, by_requests];
            let values = program.run("mix", 0, operations, &parameters);
            clients.join();
            values
        })
    };
    contenders.extend(peers::C.iter().map(program));
    contenders.extend(peers::PROTOCOLS.iter().map(program));
    Workload {
        warm_up: 0,
        counted: if pace == Pace::Requests { 5000 } else { 0 },
        picture: Picture::Bars(CPU),
        ..Workload::new(name, "a request of 64 bytes, answered", 50_000, contenders)
    }
}

/// The contenders that run in this process.
fn servers() -> Vec<(&'static str, Server)> {
    fn server(name: &'static str, serve: Serve) -> (&'static str, Server) {
        let server: Server = Box::new(move |clients, connections, operations, pace| {
            serve(clients.connect(connections), operations, pace)
        });
        (name, server)
    }
    let mut servers = vec![server("raw epoll", by_hand::serve)];
    servers.extend(WAYS.map(|way| {
        let server: Server = Box::new(move |clients, connections, operations, pace| {
            let hosted = way.open();
            let streams = clients.connect(connections);
            let beside = serve(&hosted.io_loop, streams, operations, pace);
            let sample = timed(|| hosted.run());
            beside.end();
            sample
        });
        (way.name, server)
    }));
    servers.extend([
        server("own bare, a task a connection", tasks::on_a_loop),
        server("tokio current-thread", tasks::on_tokio),
        server("tokio multi-thread", tasks::on_two_threads),
    ]);
    servers
}

/// What another thread does with a request.
fn job() {
    black_box((0..1000).fold(1, |hash: u64, n| black_box(hash.wrapping_mul(31) ^ n)));
}

/// What is there beside the requests. The posts end with it.
struct Beside {
    over: Arc<AtomicBool>,
    posting: Option<JoinHandle<()>>,
    _periodic: Option<PeriodicCallback>,
}

impl Beside {
    /// Has another thread call `post` every millisecond, if it is time that counts.
    fn start(pace: Pace, post: impl Fn() + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let posting = (pace == Pace::Time).then(|| {
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    thread::sleep(POST);
                    post();
                }
            })
        });
        Beside { over, posting, _periodic: None }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(posting) = self.posting {
            posting.join().expect("the thread that posts");
        }
    }
}

/// The requests of a run.
struct Requests {
    begun: Cell<u64>,
    unanswered: Cell<u64>,
}

impl Requests {
    fn new(operations: u64) -> Rc<Self> {
        Rc::new(Requests { begun: Cell::new(0), unanswered: Cell::new(operations) })
    }

    /// Whether this one runs a job.
    fn begin(&self) -> bool {
        self.begun.set(self.begun.get() + 1);
        self.begun.get() % JOB == 0
    }

    /// Whether that was the last.
    fn answered(&self) -> bool {
        count_down(&self.unanswered)
    }
}

thread_local! {
    /// Posts that have arrived.
    static POSTED: Cell<u64> = const { Cell::new(0) };
}

fn posted() {
    POSTED.set(POSTED.get() + 1);
}

fn serve(io_loop: &IOLoop, streams: Vec<TcpStream>, operations: u64, pace: Pace) -> Beside {
    let requests = Requests::new(operations);
    let handle = io_loop.handle();
    pace.set_executor(io_loop);
    for stream in streams {
        let timeout = io_loop.call_later(TIMEOUT, || panic!("an idle connection"));
        let (requests, handle) = (Rc::clone(&requests), handle.clone());
        let watch = io_loop.add_reader(Rc::new(stream), move |stream| {
            timeout.reset(Instant::now() + TIMEOUT);
            let request = Request::receive(stream);
            if !requests.begin() {
                return answer(&request, stream, &requests);
            }
            let poster = (pace == Pace::Requests).then(|| handle.clone());
            let (io_loop, stream, requests) = (current(), Rc::clone(stream), Rc::clone(&requests));
            let returned = io_loop.run_in_executor(move || {
                poster.iter().for_each(post);
                job();
            });
            io_loop.add_future(returned, move |_| answer(&request, &stream, &requests));
        });
        watch.expect("watching a socket");
    }
    let periodic = PeriodicCallback::new(io_loop, pace.period(), || {}).expect("a period");
    periodic.start();
    Beside { _periodic: Some(periodic), ..Beside::start(pace, move || post(&handle)) }
}

fn post(handle: &Handle) {
    handle.add_callback(posted).expect("an open loop");
}

fn answer(request: &Request, stream: &TcpStream, requests: &Requests) {
    request.answer(stream);
    if requests.answered() {
        current().stop();
    }
}
