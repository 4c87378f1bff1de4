//! D-Bus through libdbus from loops on every backend, in every mode, against a bus of the test's
//! own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use std::{fs::File, thread};

use futures_lite::future::block_on;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use ioloop::{IOLoop, ManualClock, Reactor, timeout};
use ioloop_dbus::arg::{Arg, ArgType, Get, Iter, RefArg, Variant};
use ioloop_dbus::strings::{Path, Signature};
use ioloop_dbus::{Bytes, Connection, Error, MatchRule, MethodCall, Proxy, Reply, Served};
use ioloop_glib::GlibReactor;

use testkit::server::dbus::Server;
use testkit::ways::{Way, every_way};

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const HANGS: Duration = Duration::from_secs(60);

const PATH: &str = "/com/example/Test";
const INTERFACE: &str = "com.example.Test";

/// A loop, and a bus for it alone.
struct Site {
    io_loop: IOLoop,
    server: RefCell<Server>,
}

impl Site {
    async fn try_connect(&self) -> Result<Connection, Error> {
        let address = self.server.borrow().address();
        Connection::open(self.io_loop.clone(), &address).await
    }

    async fn connect(&self) -> Connection {
        self.try_connect().await.unwrap()
    }

    /// A service, and a client's proxy of it.
    async fn service(&self, handler: impl Fn(MethodCall) + 'static) -> (Served, Proxy) {
        let (service, client) = (self.connect().await, self.connect().await);
        let proxy = client.proxy(service.unique_name(), PATH, INTERFACE).unwrap();
        (service.serve(PATH, INTERFACE, handler).unwrap(), proxy)
    }

    /// Waits until something has come about that no future tells.
    async fn until(&self, condition: impl Fn() -> bool) {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if condition() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn left(&self) -> (usize, usize, usize) {
        let metrics = self.io_loop.metrics();
        (metrics.watches, metrics.timers, metrics.tasks)
    }
}

/// Runs a case in each way, each with a bus of its own; nothing may be left in the loop.
fn in_every_way(case: impl AsyncFn(&Site)) {
    every_way(|way| in_a_way(way, &case));
}

/// Runs it in the last way alone.
fn in_one_way(case: impl AsyncFn(&Site)) {
    every_way(|way| {
        if way.name == "attached tokio" {
            in_a_way(way, &case);
        }
    });
}

fn in_a_way(way: &Way, case: &impl AsyncFn(&Site)) {
    with_site(way.io_loop(), |site| {
        way.run(&site.io_loop, async {
            let case = timeout(&site.io_loop, HANGS, case(site)).await;
            case.unwrap_or_else(|_| panic!("{}: it hangs", way.name));
        });
        assert_eq!(site.left(), (0, 0, 0), "watches, timers and tasks");
    });
}

fn with_site(io_loop: IOLoop, test: impl FnOnce(&Site)) {
    let Some(server) = Server::start_or_skip() else { return };
    test(&Site { io_loop, server: RefCell::new(server) });
}

/// Answers as the methods of its tests do.
fn answer(call: MethodCall) {
    let answered = match call.member() {
        "Echo" => {
            let (bytes,): (Bytes,) = call.read().unwrap();
            call.reply((bytes,))
        }
        "Add" => match call.read::<(i32, i32)>() {
            Ok((a, b)) => call.reply((a + b,)),
            Err(error) => call.error("com.example.Error.Arguments", &error.to_string()),
        },
        _ => call.error("com.example.Error.Unknown", "no such method"),
    };
    answered.unwrap();
}

/// Polls a future once, which has to find nothing yet.
async fn begin(future: &mut (impl Future + Unpin)) {
    poll_fn(|cx| {
        assert!(pin!(&mut *future).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

fn proxy_of(connection: &Connection, name: &str, path: &str, interface: &str) -> Proxy {
    connection.proxy(name, path, interface).unwrap()
}

fn bus_of(connection: &Connection) -> Proxy {
    let name = "org.freedesktop.DBus";
    proxy_of(connection, name, "/org/freedesktop/DBus", name)
}

#[test]
fn calls_and_the_errors_that_answer_them() {
    in_every_way(async |site| {
        let (served, proxy) = site.service(answer).await;
        assert_eq!(proxy.call("Add", (40, 2)).await, Ok((42,)));
        let error = proxy.call::<_, ()>("Add", ("x",)).await.unwrap_err();
        assert_eq!(error.name(), Some("com.example.Error.Arguments"));
        let error = proxy.call::<_, ()>("Nothing", ()).await.unwrap_err();
        let (name, message) = ("com.example.Error.Unknown".into(), "no such method".into());
        assert_eq!(error, Error::Reply { name, message });
        let error = proxy.call::<_, (String,)>("Add", (1, 2)).await.unwrap_err();
        assert!(matches!(error, Error::Type(_)), "{error}");
        let error = proxy.call::<_, ()>("not a name", ()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");

        let bus = site.connect().await;
        let error = bus.call::<_, ()>("com.example.Nobody", "/", "a.b", "C", ()).await.unwrap_err();
        assert_eq!(error.name(), Some("org.freedesktop.DBus.Error.ServiceUnknown"));
        assert!(matches!(bus.proxy("x", "no path", "a.b"), Err(Error::Invalid(_))));
        let features: Vec<String> = bus_of(&bus).get("Features").await.unwrap();
        assert!(!features.is_empty());

        drop(served);

        // What no handler is for, the connection answers itself.
        let served = bus.serve(PATH, INTERFACE, answer).unwrap();
        let me = bus.unique_name();
        let other = "com.example.Other";
        for (path, interface) in [("/", INTERFACE), (PATH, other)] {
            let error = proxy_of(&bus, me, path, interface).call::<_, ()>("Add", (1, 2)).await;
            let error = error.unwrap_err();
            assert_eq!(error.name(), Some("org.freedesktop.DBus.Error.UnknownMethod"));
        }
        let peer = proxy_of(&bus, me, "/", "org.freedesktop.DBus.Peer");
        assert_eq!(peer.call("Ping", ()).await, Ok(()));
        let itself = proxy_of(&bus, me, PATH, INTERFACE);
        assert_eq!(itself.call("Add", (1, 2)).await, Ok((3,)));
        drop(served);
        let error = itself.call::<_, ()>("Add", (1, 2)).await.unwrap_err();
        assert_eq!(error.name(), Some("org.freedesktop.DBus.Error.UnknownMethod"));
    });
}

type Basic = (u8, bool, i16, u16, i32, u32, i64, u64, f64);
type Dict = HashMap<String, Variant<Box<dyn RefArg>>>;

#[test]
fn values_of_every_type() {
    in_every_way(async |site| {
        let types = |call: MethodCall| {
            let (basic, path, dict): (Basic, Path<'static>, Dict) = call.read().unwrap();
            let pairs = vec![(basic.0, "one".to_owned()), (2, String::new())];
            call.reply((basic, path, dict, pairs)).unwrap();
        };
        let (_served, proxy) = site.service(types).await;
        let basic: Basic = (1, true, -2, 3, -4, 5, -6, 7, 8.5);
        let dict: Dict = HashMap::from([
            ("number".to_owned(), Variant(Box::new(-1i64) as Box<dyn RefArg>)),
            ("list".to_owned(), Variant(Box::new(vec!["a".to_owned(), "b".to_owned()]))),
        ]);
        let path = Path::new("/a/b").unwrap();
        let reply: (Basic, Path<'static>, Dict, Vec<(u8, String)>) =
            proxy.call("Types", (basic, path, dict)).await.unwrap();
        assert_eq!((reply.0, &*reply.1), (basic, "/a/b"));
        assert_eq!(reply.2["number"].0.as_i64(), Some(-1));
        let list = reply.2["list"].0.as_iter().unwrap();
        let list: Vec<_> = list.map(|item| item.as_str().unwrap().to_owned()).collect();
        assert_eq!(list, ["a", "b"]);
        assert_eq!(reply.3, [(1, "one".into()), (2, String::new())]);
    });
}

#[test]
fn a_descriptor_crosses_the_bus() {
    in_every_way(async |site| {
        let (_served, proxy) = site
            .service(|call| {
                let (writer,): (OwnedFd,) = call.read().unwrap();
                File::from(writer).write_all(b"hello").unwrap();
                call.reply(()).unwrap();
            })
            .await;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(proxy.call("Write", (&writer,)).await, Ok(()));
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    });
}

#[test]
fn messages_that_no_buffer_on_the_way_holds() {
    in_every_way(async |site| {
        let (_served, proxy) = site.service(answer).await;
        let large = Bytes((0..3 << 20).map(|n| n as u8).collect());
        // Several at once, so one waits for the room that the other leaves.
        let replies = join_all((0..3).map(|_| proxy.call("Echo", (&large,)))).await;
        for reply in replies {
            assert!(reply == Ok((large.clone(),)));
        }
    });
}

#[test]
fn what_was_sent_is_with_the_kernel_once_it_is_flushed() {
    in_every_way(async |site| {
        let (service, client) = (site.connect().await, site.connect().await);
        let mut signals = client.signals(MatchRule::new_signal(INTERFACE, "Last")).await.unwrap();
        let large = Bytes(vec![0; 3 << 20]);
        site.server.borrow().freeze();
        service.emit(PATH, INTERFACE, "Last", (&large,)).unwrap();
        {
            let mut flushing = pin!(service.flush());
            begin(&mut flushing).await;
            site.server.borrow().thaw();
            flushing.await.unwrap();
        }
        drop(service);
        let signal = signals.next().await.unwrap();
        assert!(signal.read() == Ok((large,)));
    });
}

#[test]
fn a_burst_of_signals_arrives_in_order() {
    in_every_way(async |site| {
        let (service, client) = (site.connect().await, site.connect().await);
        let rule = MatchRule::new_signal(INTERFACE, "Tick");
        let mut signals = client.signals(rule.clone()).await.unwrap();
        let mut second = client.signals(rule.with_path(PATH)).await.unwrap();
        let other = client.signals(MatchRule::new_signal(INTERFACE, "Tock")).await.unwrap();
        for n in 0..10_000 {
            service.emit(PATH, INTERFACE, "Tick", (n,)).unwrap();
        }
        for n in 0..10_000 {
            let signal = signals.next().await.unwrap();
            assert_eq!(signal.read(), Ok((n,)));
            assert_eq!(signal.sender().as_deref(), Some(service.unique_name()));
        }
        drop(signals);
        // The rest of the second, whose rule is still there.
        service.emit(PATH, INTERFACE, "Tick", (10_000,)).unwrap();
        for n in 0..10_001 {
            assert_eq!(second.next().await.unwrap().read(), Ok((n,)));
        }
        assert_eq!(other.size_hint(), (0, None));

        client.close();
        assert!(second.next().await.is_none(), "it ends with the connection");
        drop((service, other));
    });
}

#[test]
fn a_stream_that_is_dropped_takes_its_rule_back() {
    in_every_way(async |site| {
        let (service, client) = (site.connect().await, site.connect().await);
        let rule = || MatchRule::new_signal(INTERFACE, "Tick");
        let signals = client.signals(rule()).await.unwrap();
        let mut given_up = Box::pin(client.signals(rule()));
        begin(&mut given_up).await;
        drop((signals, given_up));
        // The bus answers after it has removed them: it says that there are none.
        let bus = bus_of(&client);
        let text = rule().match_str();
        let error = bus.call::<_, ()>("RemoveMatch", (text,)).await.unwrap_err();
        assert_eq!(error.name(), Some("org.freedesktop.DBus.Error.MatchRuleNotFound"));
        drop(service);
    });
}

#[test]
fn what_a_slow_reader_holds_stops_the_reading_until_it_is_dropped() {
    // In one way: 70 MB in a test are enough.
    in_one_way(async |site| {
        let (service, client) = (site.connect().await, site.connect().await);
        let mut signals = client.signals(MatchRule::new_signal(INTERFACE, "Tick")).await.unwrap();
        // More than the 63 MB that libdbus lets a connection hold.
        const COUNT: usize = 24;
        let large = Bytes(vec![7; 3 << 20]);
        for _ in 0..COUNT {
            service.emit(PATH, INTERFACE, "Tick", (&large,)).unwrap();
        }
        let mut held = Vec::new();
        let mut flushing = Box::pin(service.flush());
        begin(&mut flushing).await;
        // It reads as much as it may, and not the rest.
        site.until(|| signals.size_hint().0 >= 20).await;
        while signals.size_hint().0 > 0 {
            held.push(signals.next().await.unwrap());
        }
        assert!(held.len() < COUNT, "{}", held.len());
        let late = bus_of(&client).with_timeout(Some(Duration::from_millis(20)));
        let answer = late.call::<_, (String,)>("GetId", ()).await;
        assert_eq!(answer, Err(Error::TimedOut(Duration::from_millis(20))));

        let mut seen = held.len();
        held.clear();
        while seen < COUNT {
            signals.next().await.unwrap();
            seen += 1;
        }
        flushing.await.unwrap();
        assert!(bus_of(&client).call::<_, (String,)>("GetId", ()).await.is_ok());
    });
}

#[test]
fn a_call_that_is_not_answered_in_time() {
    const LIMIT: Duration = Duration::from_secs(4);
    every_way(|way| {
        let clock = ManualClock::new();
        clock.set_auto_advance(false);
        with_site(way.on_clock(&clock), |site| {
            way.run(&site.io_loop, async {
                let calls = Rc::new(RefCell::new(Vec::new()));
                let kept = Rc::clone(&calls);
                let (served, proxy) = site.service(move |call| kept.borrow_mut().push(call)).await;
                let limited = proxy.clone().with_timeout(Some(LIMIT));
                let late = limited.call::<_, (i32,)>("Later", ());
                let patient = proxy.call::<_, (i32,)>("Later", ());
                let endless = proxy.clone().with_timeout(None).call::<_, (i32,)>("Later", ());
                assert_eq!(site.io_loop.metrics().timers, 2);
                site.until(|| calls.borrow().len() == 3).await;
                clock.advance(LIMIT);
                assert_eq!(late.await, Err(Error::TimedOut(LIMIT)));
                // The late reply is nobody's, and those of the others are theirs.
                for (n, call) in calls.take().into_iter().enumerate() {
                    call.reply((n as i32,)).unwrap();
                }
                assert_eq!(patient.await, Ok((1,)));
                assert_eq!(endless.await, Ok((2,)));

                // One that is given up has no timer any more.
                drop(proxy.call::<_, (i32,)>("Later", ()));
                assert_eq!(site.io_loop.metrics().timers, 0);
                drop(served);
            });
            assert_eq!(site.left(), (0, 0, 0));
        });
    });
}

#[test]
fn ten_thousand_calls_at_once() {
    in_every_way(async |site| {
        let (_served, proxy) = site.service(answer).await;
        let replies: Vec<Reply<(i32,)>> = (0..10_000).map(|n| proxy.call("Add", (n, 1))).collect();
        for (reply, n) in join_all(replies).await.into_iter().zip(1..) {
            assert_eq!(reply, Ok((n,)));
        }
    });
}

#[test]
fn a_name_has_one_owner() {
    in_every_way(async |site| {
        let (first, second) = (site.connect().await, site.connect().await);
        let name = "com.example.Only";
        first.request_name(name).await.unwrap();
        first.request_name(name).await.unwrap();
        assert_eq!(second.request_name(name).await, Err(Error::NameTaken(name.into())));
        let _served = first.serve(PATH, INTERFACE, answer).unwrap();
        let proxy = second.proxy(name, PATH, INTERFACE).unwrap();
        assert_eq!(proxy.call("Add", (1, 2)).await, Ok((3,)));
        let taken = first.serve(PATH, INTERFACE, answer).unwrap_err();
        assert!(matches!(taken, Error::Served { .. }), "{taken}");
        // By the well-known name, and sent by the unique one.
        let mut signals = proxy.signals("Tick").await.unwrap();
        first.emit(PATH, INTERFACE, "Tick", (7u8,)).unwrap();
        assert_eq!(signals.next().await.unwrap().read(), Ok((7u8,)));
        assert_eq!(first.release_name(name).await, Ok(true));
        assert_eq!(first.release_name(name).await, Ok(false));
        second.request_name(name).await.unwrap();
    });
}

#[test]
fn a_handler_that_panics_answers_with_an_error_and_goes_on() {
    in_every_way(async |site| {
        let panics = Rc::new(Cell::new(0));
        let seen = Rc::clone(&panics);
        site.io_loop.set_exception_handler(move |_| seen.set(seen.get() + 1));
        let (_served, proxy) = site
            .service(|call| match call.member() {
                "Panic" => panic!("on purpose"),
                "Forget" => drop(call),
                _ => answer(call),
            })
            .await;
        for method in ["Panic", "Forget"] {
            let error = proxy.call::<_, ()>(method, ()).await.unwrap_err();
            assert_eq!(error.name(), Some("org.freedesktop.DBus.Error.Failed"), "{method}");
        }
        assert_eq!(panics.get(), 1);
        assert_eq!(proxy.call("Add", (1, 2)).await, Ok((3,)));
    });
}

/// Panics as it is read.
#[derive(Debug, PartialEq)]
struct Panics;

impl Arg for Panics {
    const ARG_TYPE: ArgType = ArgType::Int32;

    fn signature() -> Signature<'static> {
        <i32 as Arg>::signature()
    }
}

impl<'a> Get<'a> for Panics {
    fn get(_: &mut Iter<'a>) -> Option<Self> {
        panic!("on purpose")
    }
}

#[test]
fn a_type_that_panics_as_it_is_read_ended_the_connection() {
    in_every_way(async |site| {
        let (served, proxy) = site.service(answer).await;
        let client = site.connect().await;
        let remote = client.remote().unwrap();
        let id = ("org.freedesktop.DBus", "/", "org.freedesktop.DBus");
        let replies = [
            site.io_loop.spawn(proxy.call::<_, (Panics,)>("Add", (1, 2))),
            site.io_loop.spawn(remote.call::<_, (Panics,)>(id.0, id.1, id.2, "GetId", ())),
        ];
        for reply in replies {
            assert!(reply.await.unwrap_err().is_panic(), "it is who awaits it that gets the panic");
        }
        assert_eq!(proxy.call("Add", (1, 2)).await, Ok((3,)));
        let again = remote.call::<_, (String,)>(id.0, id.1, id.2, "GetId", ()).await;
        assert!(again.is_ok());
        drop((client, remote, served, proxy));
        site.until(|| site.io_loop.metrics().watches == 0).await;
    });
}

#[test]
fn a_connection_that_is_dropped_inside_a_handler_or_by_a_signal() {
    in_every_way(async |site| {
        let client = site.connect().await;
        let service = site.connect().await;
        let name = service.unique_name().to_owned();
        let slot = Rc::new(RefCell::new(None));
        let held = Rc::clone(&slot);
        let served = service.serve(PATH, INTERFACE, move |call| {
            // The last that holds the connection, and the handler that runs here.
            drop(held.take());
            assert_eq!(call.reply(()), Err(Error::Closed));
        });
        slot.replace(Some(served.unwrap()));
        drop(service);
        let gone = client.call::<_, ()>(&name, PATH, INTERFACE, "Go", ()).await.unwrap_err();
        assert_eq!(gone.name(), Some("org.freedesktop.DBus.Error.NoReply"));
        assert!(slot.borrow().is_none());

        // The task that the signal wakes drops all there is of its connection.
        let rule = MatchRule::new_signal(INTERFACE, "Tick");
        let mut signals = site.connect().await.signals(rule).await.unwrap();
        let task = site.io_loop.spawn(async move {
            let signal = signals.next().await.unwrap();
            drop(signals);
            signal.read::<(u8,)>()
        });
        for n in 0..10u8 {
            client.emit(PATH, INTERFACE, "Tick", (n,)).unwrap();
        }
        assert_eq!(task.await.unwrap(), Ok((0,)), "the message outlives its connection");
    });
}

#[test]
fn a_bus_that_is_killed_ends_all_and_can_be_opened_again() {
    in_every_way(async |site| {
        let (_served, proxy) = site.service(drop).await;
        let client = site.connect().await;
        let mut signals = client.signals(MatchRule::new_signal(INTERFACE, "Tick")).await.unwrap();
        site.server.borrow().freeze();
        let blocked = bus_of(&client).call::<_, (String,)>("GetId", ());
        let blocked_too = proxy.call::<_, ()>("Any", ());
        site.server.borrow_mut().kill().unwrap();
        assert_eq!(client.disconnected().await, Error::Disconnected);
        assert_eq!(blocked.await, Err(Error::Disconnected));
        assert_eq!(blocked_too.await, Err(Error::Disconnected));
        assert!(signals.next().await.is_none());
        assert_eq!(client.emit(PATH, INTERFACE, "Tick", ()), Err(Error::Disconnected));
        assert_eq!(client.flush().await, Err(Error::Disconnected));
        assert_eq!(client.request_name("a.b").await, Err(Error::Disconnected));
        assert!(matches!(client.remote(), Err(Error::Disconnected)));
        let served = client.serve("/", INTERFACE, drop);
        assert_eq!(served.unwrap_err(), Error::Disconnected);
        assert_eq!(site.left().0, 0, "nothing of it is left, although it is still there");

        let refused = site.try_connect().await.unwrap_err();
        assert!(matches!(refused, Error::Connect { .. }), "{refused}");
        site.server.borrow_mut().start_again().unwrap();
        let again = site.connect().await;
        again.request_name("com.example.Again").await.unwrap();
    });
}

#[test]
fn an_address_that_is_none() {
    in_every_way(async |site| {
        for address in ["", "nonsense", "unix:path=/does/not/exist", "unix:path=/\0"] {
            let error = Connection::open(site.io_loop.clone(), address).await.unwrap_err();
            let Error::Connect { address: tried, reason } = error else { panic!("{error}") };
            assert_eq!(tried, address);
            assert!(!reason.is_empty());
        }
    });
}

#[test]
fn a_connection_that_is_given_up_while_it_is_made() {
    in_every_way(async |site| {
        site.server.borrow().freeze();
        let address = site.server.borrow().address();
        {
            let mut opening = pin!(Connection::open(site.io_loop.clone(), &address));
            begin(&mut opening).await;
            assert!(site.left().0 > 0);
        }
        assert_eq!(site.left().0, 0);
        site.server.borrow().thaw();
    });
}

#[test]
fn closing_answers_what_is_out() {
    in_every_way(async |site| {
        let (_served, proxy) = site.service(std::mem::forget).await;
        let client = site.connect().await;
        let shared = client.clone();
        let mut signals = client.signals(MatchRule::new_signal(INTERFACE, "Tick")).await.unwrap();
        let blocked: Vec<Reply<()>> =
            (0..100).map(|_| client.call("org.freedesktop.DBus", "/", "a.b", "C", ())).collect();
        client.close();
        assert_eq!(join_all(blocked).await, vec![Err(Error::Closed); 100]);
        assert_eq!(shared.disconnected().await, Error::Closed);
        assert!(signals.next().await.is_none());
        assert!(shared.call::<_, ()>("a.b", "/", "a.b", "C", ()).await == Err(Error::Closed));

        // And dropping the last share.
        let blocked = proxy.call::<_, ()>("Never", ());
        drop(proxy);
        assert_eq!(blocked.await, Err(Error::Closed));
    });
}

#[test]
fn a_loop_that_is_closed_while_a_call_is_out() {
    every_way(|way| {
        with_site(way.io_loop(), |site| {
            let (client, remote) = way.run(&site.io_loop, async {
                let client = site.connect().await;
                let remote = client.remote().unwrap();
                (client, remote)
            });
            let bus = bus_of(&client);
            let blocked = bus.call::<_, (String,)>("GetId", ());
            let asked = remote.call::<_, (String,)>("a.b", "/", "a.b", "C", ());
            let (mut end, mut flushing) = (pin!(client.disconnected()), pin!(client.flush()));
            site.io_loop.close().unwrap();
            assert_eq!(way.block_on(blocked), Err(Error::Closed));
            assert_eq!(way.block_on(asked), Err(Error::Closed));
            assert_eq!(way.block_on(&mut end), Error::Closed);
            assert_eq!(way.block_on(&mut flushing), Err(Error::Closed));
            let next = way.block_on(bus.call::<_, (String,)>("GetId", ()));
            assert_eq!(next, Err(Error::Closed));
            let next = way.block_on(remote.call::<_, ()>("a.b", "/", "a.b", "C", ()));
            assert_eq!(next, Err(Error::Closed));
            assert_eq!(site.left(), (0, 0, 0));

            let connecting = way.block_on(site.try_connect());
            assert!(matches!(connecting, Err(Error::Loop(_))), "{connecting:?}");
        });
    });
}

#[test]
fn calls_from_other_threads_wake_the_loop() {
    in_every_way(async |site| {
        let (service, client) = (site.connect().await, site.connect().await);
        let served = service.serve(PATH, INTERFACE, answer).unwrap();
        let name = service.unique_name().to_owned();
        drop(service); // the object holds it
        let remote = client.remote().unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (remote, name) = (remote.clone(), name.clone());
                thread::spawn(move || {
                    let calls: Vec<_> = (0..500)
                        .map(|n| remote.call(&name, PATH, INTERFACE, "Add", (thread, n)))
                        .collect();
                    block_on(join_all(calls))
                        .into_iter()
                        .zip(thread..)
                        .all(|(reply, sum)| reply == Ok((sum,)))
                })
            })
            .collect();
        site.until(|| threads.iter().all(|thread| thread.is_finished())).await;
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));

        client.close();
        let after = remote.call::<_, ()>(&name, PATH, INTERFACE, "Add", (1, 2)).await;
        assert_eq!(after, Err(Error::Closed));
        drop((client, remote, served));
        // The trigger's watch ends in the loop's next turn.
        site.until(|| site.io_loop.metrics().watches == 0).await;
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let address = site.server.borrow().address();
        let client = Connection::open(reactor, &address).await.unwrap();
        let (id,): (String,) = bus_of(&client).call("GetId", ()).await.unwrap();
        assert!(!id.is_empty());
        let remote = client.remote().unwrap();
        let (again,): (String,) = remote
            .call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId", ())
            .await
            .unwrap();
        assert_eq!(id, again);
        drop((client, remote));
        site.until(|| site.io_loop.metrics().watches == 0).await;
    });
}

/// There is no loop of ioloop's: what runs is GLib's.
#[test]
fn a_reactor_that_is_no_io_loop() {
    let Some(mut server) = Server::start_or_skip() else { return };
    let context = glib::MainContext::new();
    let reactor = GlibReactor::new(&context);
    let large = Bytes((0..3 << 20).map(|n| n as u8).collect());
    context.block_on(async {
        let address = server.address();
        let service = Connection::open(reactor.clone(), &address).await.unwrap();
        let client = Connection::open(reactor.clone(), &address).await.unwrap();
        let served = service.serve(PATH, INTERFACE, answer).unwrap();
        let proxy = proxy_of(&client, service.unique_name(), PATH, INTERFACE);
        let replies: Vec<Reply<(i32,)>> = (0..1000).map(|n| proxy.call("Add", (n, 1))).collect();
        for (reply, n) in join_all(replies).await.into_iter().zip(1..) {
            assert_eq!(reply, Ok((n,)));
        }
        assert!(proxy.call("Echo", (&large,)).await == Ok((large.clone(),)));
        let brief = proxy.with_timeout(Some(Duration::from_millis(1)));
        server.freeze();
        let late = brief.call::<_, (i32,)>("Add", (1, 1)).await;
        assert_eq!(late, Err(Error::TimedOut(Duration::from_millis(1))));
        server.kill().unwrap();
        assert_eq!(client.disconnected().await, Error::Disconnected);
        drop(served);
    });
    while context.iteration(false) {}
    assert!(!context.pending());
}
