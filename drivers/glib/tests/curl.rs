//! The curl example's driver, downloads and server, unchanged, on GLib: there is no loop of
//! ioloop's in here.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;

use curl::easy::Easy2;
use glib::{MainContext, MainLoop};
use ioloop_glib::GlibReactor;

use download::{Counts, Downloads, Job};
use driver::{Body, CurlMulti};
use server::{Check, Server};

#[path = "../../../examples/curl/download.rs"]
mod download;
#[path = "../../../examples/curl/driver.rs"]
#[allow(dead_code, reason = "it is meant for others too")]
mod driver;
#[path = "../../../examples/curl/output.rs"]
#[allow(dead_code, reason = "names are for a command line")]
mod output;
#[path = "../../../examples/curl/server.rs"]
mod server;

const SIZES: [u64; 5] = [0, 1, 5000, 1 << 17, 3 << 20];

#[test]
fn files_come_whole_and_nothing_is_left() {
    let context = MainContext::new();
    let main_loop = MainLoop::new(Some(&context), false);
    let reactor = GlibReactor::new(&context);
    let sizes: Vec<u64> = SIZES.into_iter().cycle().take(20).collect();
    let server = Server::start(reactor.clone(), sizes.clone()).unwrap();
    let jobs = sizes.iter().enumerate().map(|(file, size)| Job {
        check: Some(Check::new(file, *size)),
        ..Job::new(server.url(&format!("{file}.bin")))
    });
    let counts = Rc::new(Counts::default());
    let quit = main_loop.clone();
    let downloads = Downloads::start(reactor, jobs.collect(), 4, Rc::clone(&counts), move || {
        quit.quit();
    });
    let downloads = downloads.unwrap();
    main_loop.run();
    assert!(counts.failures.borrow().is_empty(), "{:?}", counts.failures.borrow());
    assert_eq!(counts.complete.get(), sizes.len());
    assert_eq!(counts.bytes.get(), sizes.iter().sum::<u64>());
    drop((downloads, server));
    while context.iteration(false) {}
    assert!(!context.pending());
}

/// Counts what comes.
struct Counter(Rc<Cell<usize>>);

impl Write for Counter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + data.len());
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_transfer_that_is_aborted_leaves_nothing() {
    let context = MainContext::new();
    let reactor = GlibReactor::new(&context);
    let size = 1 << 20;
    let server = Server::start(reactor.clone(), vec![size]).unwrap();
    let curl = CurlMulti::new(reactor).unwrap();
    let (come, held) = (Rc::new(Cell::new(0)), Rc::new(()));
    let mut easy = Easy2::new(Body::new(Counter(Rc::clone(&come))));
    // It sends half of it, and then nothing.
    easy.url(&server.url("stall/0.bin")).unwrap();
    easy.noproxy("*").unwrap();
    let on_done = Rc::clone(&held);
    let token = curl.add(easy, move |_, _| drop(on_done)).unwrap();
    while come.get() < size as usize / 2 {
        context.iteration(true);
    }
    assert!(curl.abort(token) && !curl.abort(token));
    assert_eq!((curl.len(), Rc::strong_count(&held), Rc::strong_count(&come)), (0, 1, 1));
    drop((curl, server));
    while context.iteration(false) {}
    assert!(!context.pending());
}
