//! Many URLs, so many of them at a time.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::Reactor;
use ioloop_curl::{Client, Error};

use crate::output::PartFile;
use crate::server::Check;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A transfer that brings less than a byte a second for so long has stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTIONS: u32 = 10;

/// One URL, and what becomes of its bytes.
pub(crate) struct Job {
    /// What is downloaded.
    pub(crate) url: String,
    /// The file that it is written to.
    pub(crate) file: Option<PathBuf>,
    /// What it is compared with.
    pub(crate) check: Option<Check>,
}

impl Job {
    /// A URL whose bytes are only counted.
    pub(crate) fn new(url: String) -> Self {
        Job { url, file: None, check: None }
    }
}

/// How far the downloads are.
#[derive(Default)]
pub(crate) struct Counts {
    /// Files that are complete.
    pub(crate) complete: Cell<usize>,
    /// Bytes that have come, those of failed downloads too.
    pub(crate) bytes: Cell<u64>,
    /// What failed, and why.
    pub(crate) failures: RefCell<Vec<(String, String)>>,
}

impl Counts {
    /// Files that are complete or have failed.
    pub(crate) fn ended(&self) -> usize {
        self.complete.get() + self.failures.borrow().len()
    }
}

/// Downloads that run.
pub(crate) struct Downloads {
    client: Client,
    waiting: RefCell<std::vec::IntoIter<Job>>,
    total: usize,
    counts: Rc<Counts>,
    finished: Cell<Option<Box<dyn FnOnce()>>>,
    this: Weak<Self>,
}

impl Downloads {
    /// Starts `jobs`, at most `parallel` at a time, and calls `finished` when all have ended.
    pub(crate) fn start(
        reactor: impl Reactor + 'static,
        jobs: Vec<Job>,
        parallel: usize,
        counts: Rc<Counts>,
        finished: impl FnOnce() + 'static,
    ) -> Rc<Self> {
        let client = Client::new(reactor);
        let downloads = Rc::new_cyclic(|this| Downloads {
            client,
            total: jobs.len(),
            waiting: RefCell::new(jobs.into_iter()),
            counts,
            finished: Cell::new(Some(Box::new(finished))),
            this: this.clone(),
        });
        for _ in 0..parallel.min(downloads.total) {
            downloads.start_next();
        }
        downloads
    }

    /// Starts what waits longest; what cannot be started has failed.
    fn start_next(&self) {
        loop {
            let next = self.waiting.borrow_mut().next();
            let Some(job) = next else { return };
            let url = job.url.clone();
            match self.begin(job) {
                Ok(()) => return,
                Err(error) => self.end(url, Err(error)),
            }
        }
    }

    fn begin(&self, job: Job) -> io::Result<()> {
        let is_ours = job.check.is_some();
        let sink = Rc::new(RefCell::new(Sink {
            file: job.file.map(PartFile::create).transpose()?,
            check: job.check,
            counts: Rc::clone(&self.counts),
        }));
        let mut request = self.client.get(&job.url);
        request = request
            .follow_redirects(REDIRECTIONS)
            .connect_timeout(CONNECT_TIMEOUT)
            .low_speed_limit(1, STALL_TIMEOUT);
        if is_ours {
            // Whatever proxy the environment names.
            request = request.configure(|easy| easy.noproxy("*"));
        }
        let file = Rc::clone(&sink);
        request = request.on_chunk(move |chunk| file.borrow_mut().write_all(chunk));
        let this = self.this.clone();
        request.send(move |result| {
            let result = result.map_err(reason);
            let result = result.and_then(|(head, _)| match head.status() {
                status @ 400.. => Err(io::Error::other(format!("the server answered {status}"))),
                _ => sink.borrow().finish(),
            });
            if let Some(downloads) = this.upgrade() {
                downloads.end(job.url, result);
                downloads.start_next();
            }
        });
        Ok(())
    }

    fn end(&self, url: String, result: io::Result<()>) {
        let counts = &self.counts;
        match result {
            Ok(()) => counts.complete.set(counts.complete.get() + 1),
            Err(error) => counts.failures.borrow_mut().push((url, error.to_string())),
        }
        if counts.ended() == self.total {
            if let Some(finished) = self.finished.take() {
                finished();
            }
        }
    }
}

/// Why a download failed, without its URL, which is told beside it.
fn reason(error: Error) -> io::Error {
    match error {
        Error::Body(error) => error,
        Error::Curl { error, .. } => {
            io::Error::other(error.extra_description().unwrap_or(error.description()))
        }
        error => io::Error::other(error),
    }
}

/// Takes the bytes of one download.
struct Sink {
    file: Option<PartFile>,
    check: Option<Check>,
    counts: Rc<Counts>,
}

impl Sink {
    fn finish(&self) -> io::Result<()> {
        self.check.as_ref().map_or(Ok(()), Check::finish)?;
        self.file.as_ref().map_or(Ok(()), PartFile::finish)
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(check) = &mut self.check {
            check.write_all(data)?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(data)?;
        }
        let bytes = &self.counts.bytes;
        bytes.set(bytes.get() + data.len() as u64);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
