//! The curl example's downloads and server, and the client that they use, on GLib: there is no loop
//! of ioloop's in here.

use std::cell::Cell;
use std::rc::Rc;

use glib::{MainContext, MainLoop};
use ioloop_curl::Client;
use ioloop_glib::GlibReactor;

use download::{Counts, Downloads, Job};
use server::{Check, Server};

#[path = "../../../examples/curl/download.rs"]
mod download;
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
    main_loop.run();
    assert!(counts.failures.borrow().is_empty(), "{:?}", counts.failures.borrow());
    assert_eq!(counts.complete.get(), sizes.len());
    assert_eq!(counts.bytes.get(), sizes.iter().sum::<u64>());
    drop((downloads, server));
    while context.iteration(false) {}
    assert!(!context.pending());
}

#[test]
fn a_transfer_that_is_cancelled_leaves_nothing() {
    let context = MainContext::new();
    let reactor = GlibReactor::new(&context);
    let size = 1 << 20;
    let server = Server::start(reactor.clone(), vec![size]).unwrap();
    let client = Client::new(reactor);
    let (came, held) = (Rc::new(Cell::new(0)), Rc::new(()));
    // It sends half of it, and then nothing.
    let request = client.get(&server.url("stall/0.bin")).configure(|easy| easy.noproxy("*"));
    let (counter, on_done) = (Rc::clone(&came), Rc::clone(&held));
    let request = request.on_chunk(move |chunk| {
        counter.set(counter.get() + chunk.len() as u64);
        Ok(())
    });
    let transfer = request.send(move |_| drop(on_done));
    while came.get() < size / 2 {
        context.iteration(true);
    }
    assert!(transfer.cancel() && !transfer.cancel());
    assert_eq!((client.unfinished(), Rc::strong_count(&held), Rc::strong_count(&came)), (0, 1, 1));
    drop((client, server));
    while context.iteration(false) {}
    assert!(!context.pending());
}
