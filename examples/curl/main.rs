//! Downloads many URLs at once with libcurl, on the loop: own or attached, on any backend.
//!
//! ```text
//! cargo run --release --all-features --example curl -- --backend tokio --mode attached --parallel 8 \
//!     --output downloads http://example.com/ http://example.org/
//! ```
//!
//! Without a URL it serves 256 made-up files from the same loop, downloads them all and checks
//! every byte. The part that drives libcurl is the crate `ioloop-curl`, in `drivers/curl`.

use std::fs;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};

use crate::download::{Counts, Downloads, Job};
use crate::output::{Names, about};
use crate::progress::Progress;
use crate::report::Report;
use crate::server::{Check, Server};

mod download;
mod output;
mod progress;
mod report;
mod server;

/// Downloads many URLs at once with libcurl's multi_socket interface.
///
/// Without a URL it serves 256 made-up files of 0 bytes to 8 MiB from the same loop, downloads them
/// all and checks every byte.
#[derive(Parser)]
struct Options {
    /// The runtime: async-io, tokio, smol, or bare for none
    #[arg(long, value_name = "NAME", default_value_t = BackendKind::detect())]
    backend: BackendKind,
    /// Whether the loop makes its runtime, or is attached to one that runs
    #[arg(long, value_enum, default_value_t = Mode::Own)]
    mode: Mode,
    /// How many transfers run at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// A directory for the files, one for each URL; else they are only counted
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// What to download; redirects are followed
    urls: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Own,
    Attached,
}

const MADE_UP_FILES: usize = 256;
const LARGEST: u64 = 8 << 20;

fn main() -> ExitCode {
    let report = match run(Options::parse()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    println!("{report}");
    for (url, reason) in &report.failures {
        eprintln!("failed: {url}: {reason}");
    }
    match report.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs the loop in the way that was asked for.
fn run(options: Options) -> io::Result<Report> {
    let (kind, mode) = (options.backend, options.mode);
    let builder = IOLoop::builder().backend(kind);
    match mode {
        Mode::Own => {
            let io_loop = builder.build()?;
            let session = Session::begin(&io_loop, options)?;
            io_loop.start()?;
            Ok(session.report(&io_loop))
        }
        Mode::Attached => block_on(kind, async {
            let io_loop = builder.attach()?;
            let session = Session::begin(&io_loop, options)?;
            io_loop.run().await?;
            Ok(session.report(&io_loop))
        }),
    }
}

/// The host of an attached loop.
fn block_on<T>(kind: BackendKind, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match kind {
        BackendKind::Tokio => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
        }
        BackendKind::Smol => smol::block_on(future),
        _ => async_io::block_on(future),
    }
}

/// What runs on the loop.
struct Session {
    counts: Rc<Counts>,
    begun: Instant,
    _progress: Rc<Progress<IOLoop>>,
    _downloads: Rc<Downloads>,
    _server: Option<Rc<Server<IOLoop>>>,
}

impl Session {
    /// Starts everything; the loop is stopped when all downloads have ended.
    fn begin(io_loop: &IOLoop, options: Options) -> io::Result<Session> {
        let (server, mut jobs) = if options.urls.is_empty() {
            let (server, jobs) = serve(io_loop)?;
            (Some(server), jobs)
        } else {
            (None, options.urls.into_iter().map(Job::new).collect())
        };
        if let Some(directory) = options.output {
            fs::create_dir_all(&directory).map_err(|error| about(&directory, error))?;
            let mut names = Names::default();
            for job in &mut jobs {
                job.file = Some(directory.join(names.name(&job.url)));
            }
        }
        let counts = Rc::new(Counts::default());
        let total = jobs.len();
        let progress = Progress::start(io_loop.clone(), Rc::clone(&counts), total);
        let begun = io_loop.now();
        let stop = {
            let io_loop = io_loop.downgrade();
            move || io_loop.upgrade().iter().for_each(IOLoop::stop)
        };
        let downloads = Downloads::start(
            io_loop.clone(),
            jobs,
            options.parallel.into(),
            Rc::clone(&counts),
            stop,
        );
        Ok(Session { counts, begun, _progress: progress, _downloads: downloads, _server: server })
    }

    fn report(self, io_loop: &IOLoop) -> Report {
        let mode = if io_loop.is_attached() { "attached" } else { "own" };
        Report {
            host: format!("{}, {mode}", io_loop.backend_name()),
            files: self.counts.complete.get(),
            bytes: self.counts.bytes.get(),
            elapsed: io_loop.now() - self.begun,
            metrics: io_loop.metrics(),
            failures: self.counts.failures.take(),
        }
    }
}

/// Serves made-up files: an empty one, and others from one byte up, each a little larger than the
/// one before.
fn serve(io_loop: &IOLoop) -> io::Result<(Rc<Server<IOLoop>>, Vec<Job>)> {
    let size = |file: usize| match file {
        0 => 0,
        _ => {
            let share = (file - 1) as f64 / (MADE_UP_FILES - 2) as f64;
            (LARGEST as f64).powf(share).round() as u64
        }
    };
    let sizes: Vec<u64> = (0..MADE_UP_FILES).map(size).collect();
    let server = Server::start(io_loop.clone(), sizes.clone())?;
    let jobs = sizes.into_iter().enumerate().map(|(file, size)| Job {
        check: Some(Check::new(file, size)),
        ..Job::new(server.url(&format!("{file}.bin")))
    });
    let jobs = jobs.collect();
    Ok((server, jobs))
}
