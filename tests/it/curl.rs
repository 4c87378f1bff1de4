//! The curl driver of the example, against a server on the same loop that behaves and misbehaves.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use curl::easy::{Easy2, List};
use ioloop::backends::BackendKind;
use ioloop::reactor::{Callback, Direction, Owner, Poster, Watcher};
use ioloop::{CallbackHandle, IOLoop, Lent, Reactor, RunError, Watch};

use driver::{Body, CurlMulti, Failure, Token};
use server::{Check, Server, fill};

#[path = "../../examples/curl/driver.rs"]
mod driver;
#[path = "../../examples/curl/server.rs"]
mod server;

/// Each case on a loop of its own without a runtime, and on one attached to tokio.
macro_rules! cases {
    ($($case:ident)*) => {
        mod on_bare {
            $(#[test] fn $case() { super::$case(&super::Bench::new(super::Host::bare())); })*
        }

        #[cfg(feature = "tokio")]
        mod attached_to_tokio {
            $(#[test] fn $case() { super::$case(&super::Bench::new(super::Host::tokio())); })*
        }
    };
}

cases! {
    files_of_all_sizes_come_whole
    a_redirect_is_followed
    an_http_error_is_a_failure
    add_calls_nothing_back
    an_aborted_transfer_leaves_nothing_behind
    a_sink_may_abort_its_own_transfer_and_others
    a_dropped_driver_leaves_nothing_behind
    a_stalled_server_runs_into_the_time_out_of_curl
    a_socket_is_watched_before_it_is_connected
    a_refused_connection_is_named
    a_connection_that_is_cut_is_a_failure
    a_connection_is_used_again
    sockets_are_closed_and_opened_anew_within_one_turn
    a_wish_that_stays_is_not_registered_again
    a_socket_that_cannot_be_watched_fails_the_transfer
    a_sink_that_fails_fails_its_transfer_alone
    a_panic_of_an_owner_hurts_no_other_transfer
    a_closed_loop_takes_no_transfer
}

const SMALL: usize = 1;
const LARGE: usize = 2;
const SIZES: [u64; 3] = [0, 1, 1 << 20];

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_secs(60);

fn files_of_all_sizes_come_whole(bench: &Bench) {
    let files: Vec<usize> = (0..12).map(|n| n % SIZES.len()).collect();
    for file in &files {
        bench.start(bench.get(&format!("{file}.bin")), *file);
    }
    bench.run();
    let ended = bench.ended();
    assert_eq!(ended.len(), files.len());
    for Ended { file, result, body } in ended {
        assert!(result.is_ok(), "file {file}: {result:?}");
        assert_is(&body, file);
    }
    bench.assert_clean();
}

fn a_redirect_is_followed(bench: &Bench) {
    let mut easy = bench.get("redirect/1.bin");
    easy.follow_location(true).unwrap();
    bench.start(easy, SMALL);
    // Over a second connection, opened while the first is closed.
    let mut easy = bench.get("redirect/2.bin");
    easy.follow_location(true).unwrap();
    easy.forbid_reuse(true).unwrap();
    bench.start(easy, LARGE);
    bench.run();
    for Ended { file, result, body } in bench.ended() {
        assert!(result.is_ok(), "{result:?}");
        assert_is(&body, file);
    }
    bench.assert_clean();
}

fn an_http_error_is_a_failure(bench: &Bench) {
    let mut easy = bench.get("3.bin");
    easy.fail_on_error(true).unwrap();
    bench.start(easy, SMALL);
    bench.run();
    let failure = bench.failure();
    assert!(failure.to_string().contains("404"), "{failure}");
}

fn add_calls_nothing_back(bench: &Bench) {
    let mut easy = bench.get("0.bin");
    easy.timeout(PATIENCE).unwrap();
    bench.start(easy, 0);
    // curl asked for a timer of 0 by now.
    assert_eq!(bench.host.io_loop.metrics().timers, 1);
    assert_eq!(bench.tap.live(), 0);
    assert_eq!(bench.curl().len(), 1);
    bench.run();
    // And at the end for one of -1.
    assert_eq!(bench.host.io_loop.metrics().timers, 0);
    assert_eq!(bench.curl().len(), 0);
}

fn an_aborted_transfer_leaves_nothing_behind(bench: &Bench) {
    let mut easy = bench.get("stall/2.bin");
    easy.timeout(PATIENCE).unwrap();
    let (token, body) = bench.start(easy, LARGE);
    bench.drive_until(|| body.borrow().len() as u64 == SIZES[LARGE] / 2);
    assert_ne!(bench.tap.live(), 0);
    assert_eq!(bench.host.io_loop.metrics().timers, 1);
    assert!(bench.curl().abort(token));
    assert_eq!(bench.tap.live(), 0, "a socket is still watched");
    assert_eq!(bench.host.io_loop.metrics().timers, 0);
    assert_eq!(Rc::strong_count(&body), 1, "the sink is still held");
    assert!(!bench.curl().abort(token), "it was aborted already");
    assert!(bench.ended().is_empty());
    bench.assert_clean();
}

fn a_sink_may_abort_its_own_transfer_and_others(bench: &Bench) {
    let (other, _) = bench.start(bench.get("stall/2.bin"), LARGE);
    let itself = Rc::new(Cell::new(None));
    let aborts = Rc::new(Cell::new(0));
    let mut easy = bench.get("2.bin");
    easy.get_mut().sink.on_write = Some(Box::new({
        let (itself, aborts) = (Rc::clone(&itself), Rc::clone(&aborts));
        let curl = Rc::downgrade(&bench.curl());
        move || {
            let curl = curl.upgrade().unwrap();
            for token in [other, itself.get().unwrap()] {
                aborts.set(aborts.get() + usize::from(curl.abort(token)));
            }
            Ok(())
        }
    }));
    let (token, _) = bench.start(easy, LARGE);
    itself.set(Some(token));
    bench.drive_until(|| aborts.get() == 2);
    assert_eq!(bench.curl().len(), 0);
    assert_eq!(bench.tap.live(), 0);
    assert_eq!(bench.host.io_loop.metrics().timers, 0);
    assert!(bench.ended().is_empty());
    bench.assert_clean();
}

fn a_dropped_driver_leaves_nothing_behind(bench: &Bench) {
    // One connection is kept for reuse, another is in use.
    bench.start(bench.get("1.bin"), SMALL);
    bench.run();
    let mut easy = bench.get("stall/2.bin");
    easy.timeout(PATIENCE).unwrap();
    let (_, body) = bench.start(easy, LARGE);
    bench.drive_until(|| !body.borrow().is_empty());
    assert_eq!(bench.host.io_loop.metrics().timers, 1);
    bench.curl.take();
    assert_eq!(bench.tap.live(), 0, "a socket is still watched");
    assert_eq!(bench.host.io_loop.metrics().timers, 0);
    assert_eq!(bench.ended().len(), 1, "only the first has ended");
    bench.assert_clean();
}

fn a_stalled_server_runs_into_the_time_out_of_curl(bench: &Bench) {
    let timeout = Duration::from_millis(80);
    // Its head comes, and then nothing.
    let mut easy = bench.get("stall/1.bin");
    easy.timeout(timeout).unwrap();
    let begun = Instant::now();
    bench.start(easy, SMALL);
    bench.run();
    assert!(begun.elapsed() >= timeout, "curl was called early");
    let events = bench.host.io_loop.metrics().events;
    assert!(events < 20, "{events} calls though nothing was to be done");
    let failure = bench.failure();
    assert!(is(&failure, curl::Error::is_operation_timedout));
    bench.assert_clean();
}

fn a_socket_is_watched_before_it_is_connected(bench: &Bench) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    // A queue of one, which is full: the kernel answers to nobody who connects now.
    let listener: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address: std::net::SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
    let _queued = TcpStream::connect(address).unwrap();

    let mut easy = bench.get("");
    easy.url(&format!("http://{address}/")).unwrap();
    easy.connect_timeout(Duration::from_millis(60)).unwrap();
    bench.start(easy, SMALL);
    bench.run();
    assert!(bench.tap.has_watched(Direction::Write));
    let failure = bench.failure();
    assert!(is(&failure, curl::Error::is_operation_timedout));
    let events = bench.host.io_loop.metrics().events;
    assert_eq!(events, 0, "a socket that is connecting is not ready");
    bench.assert_clean();
}

fn a_refused_connection_is_named(bench: &Bench) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    // Bound, so that nobody else gets the port, but not listening.
    let reserved: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&reserved, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address: std::net::SocketAddr = getsockname(&reserved).unwrap().try_into().unwrap();

    let mut easy = bench.get("");
    easy.url(&format!("http://{address}/")).unwrap();
    bench.start(easy, SMALL);
    bench.run();
    let failure = bench.failure();
    assert!(is(&failure, curl::Error::is_couldnt_connect));
    let reason = failure.to_string();
    assert!(reason.contains("127.0.0.1"), "{reason}");
    assert!(reason.contains("Connection refused"), "{reason}");
    bench.assert_clean();
}

fn a_connection_that_is_cut_is_a_failure(bench: &Bench) {
    let (_, body) = bench.start(bench.get("cut/2.bin"), LARGE);
    bench.run();
    let failure = bench.failure();
    assert!(is(&failure, curl::Error::is_partial_file), "{failure}");
    assert_eq!(body.borrow().len() as u64, SIZES[LARGE] / 2);
    bench.assert_clean();
}

fn a_connection_is_used_again(bench: &Bench) {
    for file in [LARGE, SMALL, 0, LARGE] {
        bench.start(bench.get(&format!("{file}.bin")), file);
        bench.run();
    }
    assert!(bench.ended().iter().all(|ended| ended.result.is_ok()));
    assert_eq!(bench.connections.get(), 1);
    bench.assert_clean();
}

fn sockets_are_closed_and_opened_anew_within_one_turn(bench: &Bench) {
    const TRANSFERS: usize = 200;
    // curl itself holds back what is over this limit, and starts it where another one ends.
    let curl = CurlMulti::configured(bench.tap.clone(), |multi| multi.set_max_total_connections(4));
    bench.curl.replace(Some(curl.unwrap()));
    for n in 0..TRANSFERS {
        let file = n % 2;
        let mut easy = bench.get(&format!("{file}.bin"));
        easy.forbid_reuse(true).unwrap();
        bench.start(easy, file);
    }
    bench.run();
    let ended = bench.ended();
    assert_eq!(ended.len(), TRANSFERS);
    for Ended { file, result, body } in ended {
        assert!(result.is_ok(), "{result:?}");
        assert_is(&body, file);
    }
    assert_eq!(bench.connections.get(), TRANSFERS as u64);
    assert_ne!(bench.tap.reused_within_a_turn(), 0, "the case did not arise");
    bench.assert_clean();
}

fn a_wish_that_stays_is_not_registered_again(bench: &Bench) {
    // curl waits to write while it sends this, and to read all the time.
    let mut easy = bench.get("2.bin");
    easy.post_fields_copy(&vec![0; 16 << 20]).unwrap();
    let mut headers = List::new();
    headers.append("Expect:").unwrap();
    easy.http_headers(headers).unwrap();
    bench.start(easy, LARGE);
    bench.run();
    let log = bench.tap.log.borrow();
    let added: Vec<(RawFd, Direction)> =
        log.iter().filter_map(|entry| entry.added.map(|direction| (entry.fd, direction))).collect();
    let distinct: HashSet<_> = added.iter().collect();
    assert!(distinct.len() >= 2, "a reader and a writer");
    assert_eq!(added.len(), distinct.len(), "{added:?}");
}

fn a_socket_that_cannot_be_watched_fails_the_transfer(bench: &Bench) {
    bench.tap.refuses.set(true);
    bench.start(bench.get("1.bin"), SMALL);
    bench.run();
    bench.tap.refuses.set(false);
    let failure = bench.failure();
    assert!(matches!(failure, Failure::Driver(_)));
    assert_eq!(failure.to_string(), "no more watches");
    assert_eq!(bench.tap.live(), 0);
    // The driver goes on.
    bench.start(bench.get("1.bin"), SMALL);
    bench.run();
    assert!(bench.ended()[0].result.is_ok());
    bench.assert_clean();
}

fn a_sink_that_fails_fails_its_transfer_alone(bench: &Bench) {
    let mut full = bench.get("2.bin");
    full.get_mut().sink.on_write = Some(Box::new(|| Err(io::Error::other("the disk is full"))));
    bench.start(full, 0);
    let mut panics = bench.get("2.bin");
    panics.get_mut().sink.on_write = Some(Box::new(|| panic!("on purpose")));
    bench.start(panics, 1);
    bench.start(bench.get("2.bin"), 2);
    bench.run();
    let reason = |file| {
        let ended = bench.results.borrow();
        let ended = ended.iter().find(|ended| ended.file == file).unwrap();
        ended.result.as_ref().err().map(Failure::to_string)
    };
    assert_eq!(reason(0).as_deref(), Some("the disk is full"));
    assert_eq!(reason(1).as_deref(), Some("the sink panicked"));
    assert_eq!(reason(2), None);
    bench.assert_clean();
}

fn a_panic_of_an_owner_hurts_no_other_transfer(bench: &Bench) {
    let panics = Rc::new(Cell::new(0));
    let seen = Rc::clone(&panics);
    bench.host.io_loop.set_exception_handler(move |_| seen.set(seen.get() + 1));
    let easy = bench.get("1.bin");
    bench.curl().add(easy, |_, _| panic!("on purpose")).map(drop).unwrap();
    bench.start(bench.get("1.bin"), SMALL);
    bench.start(bench.get("2.bin"), LARGE);
    bench.run();
    bench.drive_until(|| bench.curl().len() == 0);
    assert_eq!(panics.get(), 1);
    assert!(bench.ended().iter().all(|ended| ended.result.is_ok()));
    bench.assert_clean();
}

fn a_closed_loop_takes_no_transfer(bench: &Bench) {
    bench.host.io_loop.close().unwrap();
    let refused = bench.curl().add(bench.get("1.bin"), |_, _| ());
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(bench.curl().len(), 0);
}

/// A loop, a server on it, and a driver whose calls to the loop are looked at.
struct Bench {
    host: Host,
    server: Rc<Server<IOLoop>>,
    tap: Tap,
    curl: RefCell<Option<Rc<CurlMulti<Tap, Sink>>>>,
    results: Rc<RefCell<Vec<Ended>>>,
    running: Rc<Cell<usize>>,
    connections: Rc<Cell<u64>>,
}

struct Ended {
    file: usize,
    result: Result<(), Failure>,
    body: Vec<u8>,
}

impl Bench {
    fn new(host: Host) -> Self {
        let tap = Tap { io_loop: host.io_loop.clone(), log: Rc::default(), refuses: Rc::default() };
        Bench {
            server: Server::start(host.io_loop.clone(), SIZES.to_vec()).unwrap(),
            curl: RefCell::new(Some(CurlMulti::new(tap.clone()).unwrap())),
            tap,
            host,
            results: Rc::default(),
            running: Rc::default(),
            connections: Rc::default(),
        }
    }

    fn curl(&self) -> Rc<CurlMulti<Tap, Sink>> {
        self.curl.borrow().clone().unwrap()
    }

    /// A transfer of one of the server's paths.
    fn get(&self, path: &str) -> Easy2<Body<Sink>> {
        let mut easy = Easy2::new(Body::new(Sink::default()));
        easy.url(&self.server.url(path)).unwrap();
        easy.noproxy("*").unwrap();
        easy
    }

    /// Starts a transfer, and gives what has come of it so far.
    fn start(&self, easy: Easy2<Body<Sink>>, file: usize) -> (Token, Rc<RefCell<Vec<u8>>>) {
        let bytes = Rc::clone(&easy.get_ref().sink.bytes);
        let (results, running) = (Rc::clone(&self.results), Rc::clone(&self.running));
        let connections = Rc::clone(&self.connections);
        running.set(running.get() + 1);
        let started = self.curl().add(easy, move |result, easy| {
            connections.set(connections.get() + easy.num_connects().unwrap());
            let body = easy.get_ref().sink.bytes.borrow().clone();
            results.borrow_mut().push(Ended { file, result, body });
            running.set(running.get() - 1);
            if running.get() == 0 {
                IOLoop::current().unwrap().stop();
            }
        });
        (started.unwrap(), bytes)
    }

    /// Runs the loop until all transfers have ended.
    fn run(&self) {
        self.host.run();
    }

    /// Runs the loop, without ever waiting, until something has come about.
    fn drive_until(&self, condition: impl Fn() -> bool) {
        self.host.drive_until(condition);
    }

    /// What has ended since this was last asked.
    fn ended(&self) -> Vec<Ended> {
        self.results.take()
    }

    /// Why the only transfer failed.
    fn failure(&self) -> Failure {
        let mut ended = self.ended();
        assert_eq!(ended.len(), 1);
        ended.remove(0).result.expect_err("the transfer succeeded")
    }

    /// Drops the driver, and waits until the server has noticed: only its listener is watched then.
    fn assert_clean(&self) {
        self.curl.take();
        assert_eq!(self.tap.live(), 0, "a socket of curl's is still watched");
        let io_loop = &self.host.io_loop;
        self.drive_until(|| io_loop.metrics().watches == 1);
        assert_eq!(io_loop.metrics().timers, 0);
    }
}

fn assert_is(body: &[u8], file: usize) {
    let mut check = Check::new(file, SIZES[file]);
    check.write_all(body).unwrap();
    check.finish().unwrap();
    let mut whole = vec![0; body.len()];
    fill(file, 0, &mut whole);
    assert!(body == whole, "it differs, but the check did not see it");
}

fn is(failure: &Failure, kind: fn(&curl::Error) -> bool) -> bool {
    matches!(failure, Failure::Curl(error) if kind(error))
}

/// Keeps what comes, where the test can see it.
#[derive(Default)]
struct Sink {
    bytes: Rc<RefCell<Vec<u8>>>,
    on_write: Option<Box<dyn FnMut() -> io::Result<()>>>,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(on_write) = &mut self.on_write {
            on_write()?;
        }
        self.bytes.borrow_mut().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A loop, and what drives it.
struct Host {
    io_loop: IOLoop,
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Runtime>,
}

impl Host {
    fn bare() -> Self {
        Host {
            io_loop: IOLoop::builder().backend(BackendKind::Bare).build().unwrap(),
            #[cfg(feature = "tokio")]
            runtime: None,
        }
    }

    #[cfg(feature = "tokio")]
    fn tokio() -> Self {
        use ioloop::backends::tokio::TokioBackend;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = TokioBackend::attached(runtime.handle().clone());
        Host { io_loop: IOLoop::builder().host(host).attach().unwrap(), runtime: Some(runtime) }
    }

    /// Runs the loop until it is stopped, but not for ever.
    fn run(&self) {
        let late = Rc::new(Cell::new(false));
        let is_late = Rc::clone(&late);
        let patience = self.io_loop.call_later(PATIENCE, move || {
            is_late.set(true);
            IOLoop::current().unwrap().stop();
        });
        let _patience = patience.cancel_on_drop();
        self.start().unwrap();
        assert!(!late.get(), "the loop was not stopped");
    }

    fn start(&self) -> Result<(), RunError> {
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            return runtime.block_on(self.io_loop.run());
        }
        self.io_loop.start()
    }

    fn drive_until(&self, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        let arrived = poll_fn(|cx| {
            if condition() {
                return Poll::Ready(());
            }
            assert!(begun.elapsed() < PATIENCE, "it never came");
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        #[cfg(feature = "tokio")]
        if let Some(runtime) = &self.runtime {
            return runtime.block_on(self.io_loop.run_until(arrived)).unwrap();
        }
        self.io_loop.run_sync(arrived).unwrap();
    }
}

/// A reactor that notes which watches come and go in which turn, and can refuse them.
#[derive(Clone)]
struct Tap {
    io_loop: IOLoop,
    log: Rc<RefCell<Vec<Entry>>>,
    refuses: Rc<Cell<bool>>,
}

struct Entry {
    turn: u64,
    /// Larger for a later one.
    watch: usize,
    fd: RawFd,
    /// None if the watch went.
    added: Option<Direction>,
}

impl Tap {
    /// How many watches there are now.
    fn live(&self) -> usize {
        let log = self.log.borrow();
        let added = log.iter().filter(|entry| entry.added.is_some()).count();
        2 * added - log.len()
    }

    fn has_watched(&self, direction: Direction) -> bool {
        let log = self.log.borrow();
        log.iter().any(|entry| entry.added == Some(direction))
    }

    /// How often a number got a new watch in the turn in which an older one went.
    fn reused_within_a_turn(&self) -> usize {
        let log = self.log.borrow();
        let is_reuse = |added: &&Entry| {
            added.added.is_some()
                && log.iter().any(|gone| {
                    gone.added.is_none()
                        && (gone.turn, gone.fd) == (added.turn, added.fd)
                        && gone.watch < added.watch
                })
        };
        log.iter().filter(is_reuse).count()
    }

    fn note(&self, watch: usize, fd: RawFd, added: Option<Direction>) {
        let turn = self.io_loop.metrics().turns;
        self.log.borrow_mut().push(Entry { turn, watch, fd, added });
    }
}

/// Notes the end of a watch.
struct Gone {
    tap: Tap,
    watch: usize,
    fd: RawFd,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.tap.note(self.watch, self.fd, None);
    }
}

impl Reactor for Tap {
    fn watch(&self, direction: Direction, mut watcher: Watcher) -> io::Result<Watch> {
        if self.refuses.get() {
            return Err(io::Error::other("no more watches"));
        }
        let fd = watcher.as_fd().as_raw_fd();
        let watch = self.log.borrow().len();
        self.note(watch, fd, Some(direction));
        let gone = Gone { tap: self.clone(), watch, fd };
        #[expect(unsafe_code, reason = "the watcher moves into the callback")]
        // SAFETY: what owns the descriptor, or vouches for it, is in the closure that goes with the
        // watch.
        let lent = unsafe { Lent::new(fd) };
        let watched = Watcher::new(lent, move |_| {
            let _gone = &gone;
            watcher.ready();
        });
        self.io_loop.watch(direction, watched)
    }

    fn unwatch(&self, direction: Direction, fd: RawFd) -> bool {
        self.io_loop.unwatch(direction, fd)
    }

    fn queue(&self, callback: Callback) -> CallbackHandle {
        self.io_loop.queue(callback)
    }

    fn owner(&self) -> Weak<dyn Owner> {
        self.io_loop.owner()
    }

    fn poster(&self) -> Poster {
        self.io_loop.poster()
    }
}

#[test]
fn a_socket_that_curl_closed_without_a_word_left_its_successor_unserved() {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    let io_loop = IOLoop::new().unwrap();
    let driver = CurlMulti::<_, Vec<u8>>::new(io_loop.clone()).unwrap();
    let (first, _peer) = UnixStream::pair().unwrap();
    let mut number = OwnedFd::from(first);
    let follow = |watch, number: &OwnedFd| {
        driver.follow(watch, ioloop::reactor::Direction::Read, number.as_raw_fd(), true).unwrap()
    };
    let watch = follow(None, &number);
    let watch = follow(watch, &number);
    assert_eq!(io_loop.metrics().watches, 1);
    // Another file gets the number in one step, so that no other test's can.
    let (second, mut peer) = UnixStream::pair().unwrap();
    rustix::io::dup3(second, &mut number, rustix::io::DupFlags::CLOEXEC).unwrap();
    let watch = follow(watch, &number);
    peer.write_all(b"x").unwrap();
    io_loop.stop();
    io_loop.start().unwrap();
    assert_eq!((io_loop.metrics().watches, io_loop.metrics().events), (1, 1));
    drop(watch);
}
