//! A loop, a server on it, and a client whose calls to the loop are noted.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;

use ioloop::{IOLoop, Reactor, deferred};
use ioloop_curl::{Builder, Client, Error, Head, Request, Transfer};
use testkit::alone::end_a_hang;
use testkit::ways::{Way, every_way};

use crate::server::{Check, Server, fill};
use crate::tap::Tap;

pub(crate) const SMALL: usize = 1;
pub(crate) const LARGE: usize = 2;
pub(crate) const SIZES: [u64; 3] = [0, 1, 1 << 18];

/// What a case needs.
pub(crate) struct Bench<'a> {
    way: &'a Way,
    pub(crate) io_loop: IOLoop,
    pub(crate) server: Rc<Server<IOLoop>>,
    pub(crate) tap: Tap,
    client: RefCell<Option<Client>>,
    results: Rc<RefCell<Vec<Ended>>>,
    running: Rc<Cell<usize>>,
}

/// What became of a file.
pub(crate) struct Ended {
    pub(crate) file: usize,
    pub(crate) result: Result<(Head, Vec<u8>), Error>,
}

/// Runs a case in every way, each with a bench of its own, and ends it should it hang.
pub(crate) fn on_every_bench(case: impl Fn(&Bench<'_>)) {
    end_a_hang();
    every_way(|way| case(&Bench::new(way)));
}

impl<'a> Bench<'a> {
    pub(crate) fn new(way: &'a Way) -> Self {
        let io_loop = way.io_loop();
        let tap = Tap::new(&io_loop);
        Bench {
            way,
            server: Server::start(io_loop.clone(), SIZES.to_vec()).unwrap(),
            client: RefCell::new(Some(Client::new(tap.clone()))),
            tap,
            io_loop,
            results: Rc::default(),
            running: Rc::default(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.borrow().clone().unwrap()
    }

    /// Another client takes the place of the first.
    pub(crate) fn limit(&self, builder: Builder) {
        self.client.replace(Some(builder.build(self.tap.clone())));
    }

    pub(crate) fn drop_client(&self) {
        self.client.take();
    }

    /// A request for one of the server's paths.
    pub(crate) fn get(&self, path: &str) -> Request {
        direct(self.client().get(&self.server.url(path)))
    }

    /// Starts a request; the loop is stopped when all that were started have ended.
    pub(crate) fn start(&self, request: Request, file: usize) -> Transfer {
        let (results, running) = (Rc::clone(&self.results), Rc::clone(&self.running));
        running.set(running.get() + 1);
        request.send(move |result| {
            results.borrow_mut().push(Ended { file, result });
            running.set(running.get() - 1);
            if running.get() == 0 {
                IOLoop::current().unwrap().stop();
            }
        })
    }

    /// Runs the loop until all requests have ended.
    pub(crate) fn run(&self) {
        self.way.until_stopped(&self.io_loop);
    }

    /// Runs the loop until a future is done.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.way.run(&self.io_loop, future)
    }

    /// Runs the loop, without ever waiting, until something has come about.
    pub(crate) fn drive_until(&self, condition: impl Fn() -> bool) {
        self.block_on(async {
            while !condition() {
                turn(&self.io_loop).await;
            }
        });
    }

    /// What has ended since this was last asked.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        self.results.take()
    }

    /// Why the only request failed.
    pub(crate) fn failure(&self) -> Error {
        let mut ended = self.ended();
        assert_eq!(ended.len(), 1);
        ended.remove(0).result.expect_err("the request succeeded")
    }

    /// Drops the client, and waits until the server has noticed: only its listener is watched then.
    pub(crate) fn assert_clean(&self) {
        self.drop_client();
        assert_eq!(self.tap.live(), 0, "a socket of libcurl's is still watched");
        self.drive_until(|| self.io_loop.metrics().watches == 1);
        assert_eq!(self.io_loop.metrics().timers, 0);
        assert_eq!(self.io_loop.metrics().tasks, 0);
    }
}

/// A request that goes to no proxy, whatever the environment names.
pub(crate) fn direct(request: Request) -> Request {
    request.configure(|easy| easy.noproxy("*"))
}

/// Waits for the next turn of the loop.
pub(crate) async fn turn(io_loop: &IOLoop) {
    let (resolver, turned) = deferred();
    io_loop.call_soon(move || _ = resolver.resolve(()));
    turned.await.unwrap();
}

pub(crate) fn assert_is(body: &[u8], file: usize) {
    let mut check = Check::new(file, SIZES[file]);
    check.write_all(body).unwrap();
    check.finish().unwrap();
    let mut whole = vec![0; body.len()];
    fill(file, 0, &mut whole);
    assert!(body == whole, "it differs, but the check did not see it");
}

/// That all of them came.
pub(crate) fn assert_came(ended: Vec<Ended>) {
    for Ended { file, result } in ended {
        let (_, body) = result.unwrap_or_else(|error| panic!("file {file}: {error}"));
        assert_is(&body, file);
    }
}
