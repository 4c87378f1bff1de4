//! What there is for a `Reactor` is there for each form of one.

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_lite::StreamExt;
use ioloop::hooks::BeforeSleep;
use ioloop::{
    Async, IOLoop, Interest, PeriodicCallback, Reactor, Timer, Trigger, deferred, interval, sleep,
    sleep_until, spawn, timeout,
};
use testkit::ways::{Way, every_way};

const SOON: Duration = Duration::from_millis(1);

/// Counts what has been called.
#[derive(Clone, Default)]
struct Count(Rc<Cell<u32>>);

impl Count {
    fn one(&self) -> impl FnMut() + use<> {
        let count = Rc::clone(&self.0);
        move || count.set(count.get() + 1)
    }
}

async fn everything<R: Reactor>(reactor: &R) {
    let calls = Count::default();

    // What is called back.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut written = calls.one();
    let writer = reactor.add_handler(ours, Interest::WRITE, move |_, _| written()).unwrap();
    let mut before = calls.one();
    let before = reactor.before_sleep(move || {
        before();
        BeforeSleep::Sleep
    });
    let hooks = [before.unwrap(), reactor.after_wake(calls.one()).unwrap()];
    let timer = Timer::new(reactor, calls.one());
    assert!(timer.set(SOON));
    let periodic = PeriodicCallback::new(reactor, SOON, calls.one()).unwrap();
    periodic.start();
    let trigger = Trigger::new(reactor, calls.one()).unwrap();
    trigger.fire().unwrap();
    reactor.call_soon(calls.one());
    reactor.call_at(reactor.instant_at(SystemTime::now()), calls.one());

    // What is awaited.
    sleep(reactor, SOON).await.unwrap();
    sleep_until(reactor, reactor.now() + SOON).await.unwrap();
    timeout(reactor, SOON, std::future::pending::<()>()).await.unwrap_err();
    assert!(interval(reactor, SOON).unwrap().next().await.is_some());
    assert_eq!(spawn(reactor, async { 7 }).await.unwrap(), 7);
    Async::new(reactor, theirs).unwrap().writable().await.unwrap();

    assert!(writer.remove() && hooks.into_iter().all(|hook| hook.remove()));
    assert!(calls.0.get() >= 8, "{}", calls.0.get());
}

fn on(way: &Way, io_loop: &IOLoop, done: impl AsyncFnOnce()) {
    way.run(io_loop, done());
    // What a trigger leaves is dropped in the next turn.
    let (resolver, next) = deferred();
    io_loop.call_soon(move || _ = resolver.resolve(()));
    way.run(io_loop, next).unwrap();
    let left = io_loop.metrics();
    assert_eq!((left.watches, left.timers), (0, 0), "{}", io_loop.listing());
}

#[test]
fn each_form_of_a_reactor_has_everything() {
    every_way(|way| {
        let io_loop = way.io_loop();
        on(way, &io_loop, async || everything(&io_loop).await);
        let erased: Rc<dyn Reactor> = Rc::new(io_loop.clone());
        on(way, &io_loop, async || everything(&erased).await);
        let borrowed: &dyn Reactor = &io_loop;
        on(way, &io_loop, async || everything(&borrowed).await);
        let boxed: Box<dyn Reactor> = Box::new(io_loop.downgrade());
        on(way, &io_loop, async || everything(&boxed).await);
        on(way, &io_loop, async || everything(&io_loop.downgrade()).await);
    });
}
