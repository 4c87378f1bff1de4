//! c-ares from loops on every backend, in every mode, with a DNS server on the same loop.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{self, Command};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{join, join_all};
use ioloop::{IOLoop, ManualClock, Reactor, timeout};
use ioloop_c_ares::{Error, Family, Options, Resolver};

mod dns;

use dns::{A, MX, PTR, Question, Reply, SRV, Server, TXT};
use testkit::alone::{again, assert_passed, end_a_hang, is_child, strace_works};
use testkit::server::Directory;
use testkit::ways::every_way;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const HANGS: Duration = Duration::from_secs(60);

/// A loop, with a server on it.
struct Site {
    io_loop: IOLoop,
    server: Server,
    /// What there is without a resolver: of the case and the server.
    idle: (usize, usize, usize),
}

impl Site {
    fn options(&self) -> Options {
        options([self.server.address()])
    }

    fn dns(&self) -> Resolver<IOLoop> {
        Resolver::with(self.io_loop.clone(), &self.options()).unwrap()
    }

    fn left(&self) -> (usize, usize, usize) {
        left(&self.io_loop)
    }

    /// Has the server end its connections, and waits until there is nothing of a resolver.
    async fn until_idle(&self) {
        self.server.hang_up();
        self.until(|| self.left() == self.idle).await;
    }

    /// Waits until something has come about that no future tells.
    async fn until(&self, condition: impl Fn() -> bool) {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if condition() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// These servers alone, whatever the machine is configured to.
fn options(servers: impl IntoIterator<Item = SocketAddr>) -> Options {
    Options::new().servers(servers).search([""; 0]).hosts(false)
}

/// Watches, timers and tasks.
fn left(io_loop: &IOLoop) -> (usize, usize, usize) {
    let metrics = io_loop.metrics();
    (metrics.watches, metrics.timers, metrics.tasks)
}

/// Runs a case in each way; nothing may be left in the loop.
fn in_every_way(answering: fn(&Question) -> Reply, case: impl AsyncFn(&Site)) {
    every_way(|way| {
        let io_loop = way.io_loop();
        way.run(&io_loop, async {
            let case = timeout(&io_loop, HANGS, async {
                let server = Server::start(&io_loop, answering);
                // Its tasks begin to wait.
                io_loop.spawn(async {}).await.unwrap();
                let idle = left(&io_loop);
                let site = Site { io_loop: io_loop.clone(), server, idle };
                case(&site).await;
                site.until_idle().await;
                drop(site);
                // A task is dropped in the next turn.
                io_loop.spawn(async {}).await.unwrap();
            });
            case.await.unwrap_or_else(|_| panic!("{}: it hangs", way.name));
        });
        assert_eq!(left(&io_loop), (0, 0, 0));
    });
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

/// The address that stands for a number, in a name such as `n12.test`.
fn numbered(question: &Question) -> Reply {
    let number = question.name.strip_prefix('n').and_then(|name| name.strip_suffix(".test"));
    let number: u16 = number.unwrap().parse().unwrap();
    let [high, low] = number.to_be_bytes();
    Reply::Addresses(vec![Ipv4Addr::new(10, 0, high, low).into()])
}

fn silence(_: &Question) -> Reply {
    Reply::Silence
}

#[test]
fn addresses_of_either_family_and_none() {
    let answering = |question: &Question| match &*question.name {
        "both.test" => Reply::Addresses(vec![v4(1), v4(2), v6(1)]),
        "four.test" => Reply::Addresses(vec![v4(4)]),
        _ => Reply::NoSuchName(None),
    };
    in_every_way(answering, async |site| {
        let dns = site.dns();
        assert_eq!(dns.lookup_family("both.test", Family::V4).await, Ok(vec![v4(1), v4(2)]));
        assert_eq!(dns.lookup_family("both.test", Family::V6).await, Ok(vec![v6(1)]));
        let any: HashSet<_> = dns.lookup("both.test").await.unwrap().into_iter().collect();
        assert_eq!(any, HashSet::from([v4(1), v4(2), v6(1)]));
        assert_eq!(dns.lookup("four.test").await, Ok(vec![v4(4)]));
        let no_data = Error::NoData { name: "four.test".into() };
        assert_eq!(dns.lookup_family("four.test", Family::V6).await, Err(no_data));
        let not_found = Error::NotFound { name: "none.test".into() };
        assert_eq!(dns.lookup("none.test").await, Err(not_found));
        assert_eq!(site.left(), site.idle, "between queries nothing is watched");

        // Nobody has to be asked for these; the answer is there before the call has returned.
        site.server.asked();
        assert_eq!(dns.lookup_family("192.0.2.7", Family::V4).await, Ok(vec![v4(7)]));
        assert_eq!(dns.lookup("2001:db8::7").await, Ok(vec![v6(7)]));
        assert!(matches!(dns.lookup_family("a\0b", Family::V4).await, Err(Error::Invalid { .. })));
        assert!(dns.lookup_family(&"long".repeat(100), Family::V4).await.is_err());
        assert_eq!(site.server.count(), 0);
    });
}

#[test]
fn options_that_make_no_sense() {
    every_way(|way| {
        let io_loop = way.io_loop();
        for options in [Options::new().search(["a\0b"]), Options::new().resolv_conf("\0")] {
            let dns = Resolver::with(io_loop.clone(), &options);
            assert!(matches!(dns.err(), Some(Error::Invalid { .. })), "{options:?}");
        }
        assert_eq!(left(&io_loop), (0, 0, 0));
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(numbered, async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let dns = Resolver::with(reactor, &site.options()).unwrap();
        assert!(dns.lookup_family("n1.test", Family::V4).await.is_ok());
    });
}

#[test]
fn an_answer_too_long_for_udp_comes_over_tcp() {
    let answering = |question: &Question| match question.tcp {
        true => Reply::Addresses((0..100).map(v4).collect()),
        false => Reply::Truncated,
    };
    in_every_way(answering, async |site| {
        let dns = site.dns();
        let expected: Vec<_> = (0..100).map(v4).collect();
        assert_eq!(dns.lookup_family("long.test", Family::V4).await, Ok(expected));
        let transports: Vec<_> = site.server.asked().iter().map(|question| question.tcp).collect();
        assert_eq!(transports, [false, true]);
        assert_eq!(site.server.accepted(), 1);
    });
}

#[test]
fn a_server_that_is_silent_is_asked_as_often_as_was_said() {
    in_every_way(silence, async |site| {
        for tcp in [false, true] {
            let options = site.options().timeout(Duration::from_millis(20)).tries(3).tcp(tcp);
            let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
            let fired = site.io_loop.metrics().timers_fired;
            let timed_out = Error::TimedOut { name: "x.test".into() };
            let found = dns.lookup_family("x.test", Family::V4).await;
            assert_eq!(found, Err(timed_out), "tcp: {tcp}");
            let fired = site.io_loop.metrics().timers_fired - fired;
            // Over one connection it repeats itself in later versions only.
            let least = if tcp { 1 } else { 3 };
            site.until(|| site.server.count() >= least).await;
            let asked = site.server.asked();
            assert!((least..=3).contains(&asked.len()), "{asked:?}");
            assert!(asked.iter().all(|question| question.tcp == tcp));
            // None in vain, as a timer would be that fires before c-ares thinks it is time.
            assert_eq!(fired, asked.len() as u64, "tcp: {tcp}");
            assert_eq!(site.left().1, site.idle.1);
            drop(dns);
            site.until_idle().await;
        }
    });
}

#[test]
fn where_one_server_is_silent_or_absent_the_next_is_asked() {
    in_every_way(numbered, async |site| {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = silent.local_addr().unwrap();
        let absent = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (first, tcp) in [(silent, false), (absent, false), (absent, true)] {
            let mut options = options([first, site.server.address()]).tcp(tcp);
            if !tcp {
                options = options.timeout(Duration::from_millis(20)).tries(10);
            }
            let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
            let found = dns.lookup_family("n7.test", Family::V4).await;
            assert_eq!(found, Ok(vec![Ipv4Addr::new(10, 0, 0, 7).into()]), "{first}, tcp: {tcp}");
        }
    });
}

#[test]
fn a_server_was_asked_for_an_address() {
    in_every_way(numbered, async |site| {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let dns = options([silent.local_addr().unwrap()]);
        let dns = Resolver::with(site.io_loop.clone(), &dns).unwrap();
        for address in ["10.0.0.7", "::1"] {
            let itself = address.parse().unwrap();
            assert_eq!(dns.lookup(address).await, Ok(vec![itself]));
            assert_eq!(dns.lookup_port(address, 80).await, Ok(vec![(itself, 80).into()]));
        }
        let heard = silent.recv(&mut [0; 512]).unwrap_err();
        assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn ten_thousand_names_at_once_lost_each_other_in_the_sockets_buffers() {
    in_every_way(numbered, async |site| {
        for tcp in [false, true] {
            // Where a packet is lost, this takes longer than the case may.
            let options = site.options().timeout(HANGS).tcp(tcp);
            let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
            let names: Vec<_> = (0..10_000).map(|number| format!("n{number}.test")).collect();
            let lookup = |name| dns.lookup_family(name, Family::V4);
            let answers = join_all(names.iter().map(|name| lookup(name))).await;
            for (number, answer) in (0_u16..).zip(answers) {
                let [high, low] = number.to_be_bytes();
                assert_eq!(answer, Ok(vec![Ipv4Addr::new(10, 0, high, low).into()]), "tcp: {tcp}");
            }
            assert_eq!(site.server.asked().len(), 10_000);
            drop(dns);
            site.until_idle().await;
        }
    });
}

#[test]
fn cancelled_in_the_middle_and_used_again() {
    let answering = |question: &Question| match question.name.starts_with('n') {
        true => numbered(question),
        false => Reply::Silence,
    };
    in_every_way(answering, async |site| {
        for tcp in [false, true] {
            let options = site.options().tcp(tcp);
            let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
            let silent = ["a.test", "b.test", "c.test"].map(|name| dns.lookup(name));
            site.until(|| site.server.count() == 6).await;
            dns.cancel();
            assert_eq!(site.server.asked().len(), 6);
            assert_eq!(site.left().1, site.idle.1, "no timer");
            assert_eq!(join_all(silent).await, vec![Err(Error::Cancelled); 3]);
            dns.cancel();
            let found = dns.lookup_family("n1.test", Family::V4).await;
            assert_eq!(found, Ok(vec![Ipv4Addr::new(10, 0, 0, 1).into()]));

            // One that is given up is in nobody's way.
            let given_up = timeout(
                &site.io_loop,
                Duration::from_millis(1),
                dns.lookup_family("d.test", Family::V4),
            );
            assert!(given_up.await.unwrap_err().is_elapsed());
            assert!(dns.lookup_family("n2.test", Family::V4).await.is_ok());
            drop(dns);
            site.until_idle().await;
            site.server.asked();
        }
    });
}

#[test]
fn dropped_in_the_middle_it_answers_and_leaves_nothing() {
    in_every_way(silence, async |site| {
        for tcp in [false, true] {
            let options = site.options().tcp(tcp);
            // At once, with nothing sent over TCP yet; and when all has been asked.
            for asked in [0, 20] {
                let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
                let names: Vec<_> = (0..20).map(|number| format!("n{number}.test")).collect();
                let answers: Vec<_> =
                    names.iter().map(|name| dns.lookup_family(name, Family::V4)).collect();
                let (watches, timers, _) = site.left();
                assert!(watches > site.idle.0 && timers == site.idle.1 + 1);
                site.until(|| site.server.count() >= asked).await;
                drop(dns);
                let of_the_server = site.server.connections();
                let (watches, timers, tasks) = site.idle;
                let idle = (watches + 2 * of_the_server, timers, tasks + of_the_server);
                assert_eq!(site.left(), idle, "tcp: {tcp}");
                assert_eq!(join_all(answers).await, vec![Err(Error::Closed); 20]);
                // What was on its way comes to the server still.
                site.until(|| tcp || site.server.count() >= 20).await;
                site.until_idle().await;
                site.server.asked();
            }
        }
    });
}

#[test]
fn dropped_by_who_gets_the_first_answer() {
    in_every_way(numbered, async |site| {
        let dns = Rc::new(RefCell::new(Some(site.dns())));
        let lookup = |name| dns.borrow().as_ref().unwrap().lookup_family(name, Family::V4);
        let (first, second) = (lookup("n1.test"), lookup("n2.test"));
        let first = async {
            assert!(first.await.is_ok());
            dns.take();
        };
        // Both may have come in one go.
        let ((), second) = join(first, second).await;
        assert!(matches!(second, Ok(_) | Err(Error::Closed)), "{second:?}");
        assert_eq!(site.left(), site.idle);
    });
}

#[test]
fn a_loop_that_is_closed_in_the_middle() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let options = options([silent.local_addr().unwrap()]).at_once(1);
        let dns = Resolver::with(io_loop.clone(), &options).unwrap();
        // One is under way, and one waits for that.
        let pending = ["a.test", "b.test"].map(|name| dns.lookup(name));
        io_loop.close().unwrap();
        assert_eq!(left(&io_loop), (0, 0, 0));
        // Nobody has to ask first.
        for pending in pending {
            let pending = way.block_on(pending);
            assert!(matches!(pending, Err(Error::Loop(_))), "{pending:?}");
        }
        let next = way.block_on(dns.lookup_family("b.test", Family::V4));
        assert!(matches!(next, Err(Error::Loop(_))), "{next:?}");

        let io_loop = way.io_loop();
        let dns = Resolver::with(io_loop.clone(), &options).unwrap();
        let pending = dns.lookup_family("a.test", Family::V4);
        drop(dns);
        io_loop.close().unwrap();
        assert_eq!(way.block_on(pending), Err(Error::Closed));
    });
}

/// A name as it stands in a message.
fn encoded(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

#[test]
fn records_of_other_types() {
    let answering = |question: &Question| {
        let server = |priority: u8, weight: u8, name| {
            let data = [&[0, priority, 0, weight, 0x1f, 0x90], &encoded(name)[..]].concat();
            (SRV, 60, data)
        };
        let mail = |preference: u8, name| (MX, 60, [&[0, preference], &encoded(name)[..]].concat());
        let records = match (question.kind, &*question.name) {
            (SRV, "_http._tcp.test") => {
                vec![server(2, 9, "c.test"), server(1, 1, "b.test"), server(1, 5, "a.test")]
            }
            (MX, "test") => vec![mail(20, "second.test"), mail(10, "first.test")],
            (TXT, "test") => vec![(TXT, 60, b"\x03one\x05\xff two".into()), (TXT, 60, vec![0])],
            (PTR, "7.2.0.192.in-addr.arpa") => vec![(PTR, 60, encoded("seven.test"))],
            _ => return Reply::NoSuchName(None),
        };
        Reply::Records(records)
    };
    in_every_way(answering, async |site| {
        let dns = site.dns();
        let servers = dns.srv("_http._tcp.test").await.unwrap();
        let targets: Vec<_> = servers.iter().map(|srv| (&*srv.target, srv.port)).collect();
        assert_eq!(targets, [("a.test", 8080), ("b.test", 8080), ("c.test", 8080)]);
        let mail = dns.mx("test").await.unwrap();
        let mail: Vec<_> = mail.iter().map(|mx| (mx.preference, &*mx.exchange)).collect();
        assert_eq!(mail, [(10, "first.test"), (20, "second.test")]);
        assert_eq!(dns.txt("test").await, Ok(vec![b"one\xff two"[..].into(), Vec::new()]));
        assert_eq!(dns.reverse(v4(7)).await, Ok(vec!["seven.test".to_owned()]));
        let nobody = dns.reverse(v4(8)).await;
        assert_eq!(nobody, Err(Error::NotFound { name: "192.0.2.8".into() }));
        let nothing = dns.srv("none.test").await;
        assert_eq!(nothing, Err(Error::NotFound { name: "none.test".into() }));
    });
}

#[test]
fn the_systems_files_are_followed() {
    let answering = |question: &Question| match &*question.name {
        "host.b.test" => Reply::Addresses(vec![v4(1)]),
        _ => Reply::NoSuchName(None),
    };
    let directory = Directory::new("dns").unwrap();
    let path = directory.path().join("resolv.conf");
    std::fs::write(&path, "search a.test b.test\nnameserver 192.0.2.1\n").unwrap();
    in_every_way(answering, async |site| {
        let options = Options::new().resolv_conf(&path).servers([site.server.address()]);
        let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
        let found = dns.lookup_port("host", 80).await;
        assert!(found.unwrap().contains(&SocketAddr::new(v4(1), 80)));
        let asked: HashSet<_> = site.server.asked().into_iter().map(|asked| asked.name).collect();
        assert_eq!(asked, HashSet::from(["host.a.test".to_owned(), "host.b.test".to_owned()]));
        // In `/etc/hosts`, or known to c-ares.
        let local = dns.lookup_family("localhost", Family::V4).await;
        assert_eq!(local, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(site.server.count(), 0);
        // The system's own configuration, whatever that is.
        let dns = Resolver::new(site.io_loop.clone()).unwrap();
        assert_eq!(dns.lookup_family("192.0.2.7", Family::V4).await, Ok(vec![v4(7)]));
    });
}

#[test]
fn the_same_question_at_once_is_asked_once() {
    in_every_way(numbered, async |site| {
        let options = site.options().cache(0);
        let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
        let lookup = || dns.lookup_family("n1.test", Family::V4);
        // The first is given up, the others are answered all the same.
        drop(lookup());
        for answer in join_all((0..100).map(|_| lookup())).await {
            assert_eq!(answer, Ok(vec![Ipv4Addr::new(10, 0, 0, 1).into()]));
        }
        assert_eq!(site.server.asked().len(), 1);
        lookup().await.unwrap();
        assert_eq!(site.server.asked().len(), 1, "nothing is kept");
    });
}

#[test]
fn answers_are_kept_as_long_as_their_records_say() {
    let answering = |question: &Question| match &*question.name {
        "minute.test" => Reply::Addresses(vec![v4(1)]),
        "never.test" => Reply::Records(vec![(A, 0, vec![192, 0, 2, 1])]),
        "text.test" => Reply::Records(vec![(TXT, 10, b"\x01x".into())]),
        _ => Reply::NoSuchName(Some(30)),
    };
    every_way(|way| {
        let clock = ManualClock::new();
        clock.set_auto_advance(false);
        let io_loop = way.on_clock(&clock);
        way.run(&io_loop, async {
            let server = Server::start(&io_loop, answering);
            let dns = Resolver::with(io_loop.clone(), &options([server.address()])).unwrap();
            let ask = async || {
                dns.lookup_family("minute.test", Family::V4).await.unwrap();
                dns.lookup_family("never.test", Family::V4).await.unwrap();
                dns.txt("text.test").await.unwrap();
                dns.lookup_family("none.test", Family::V4).await.unwrap_err();
                dns.txt("none.test").await.unwrap_err();
                server.asked().iter().map(|asked| asked.name.clone()).collect::<Vec<_>>()
            };
            let all = ["minute.test", "never.test", "text.test", "none.test", "none.test"];
            assert_eq!(ask().await, all);
            assert_eq!(ask().await, ["never.test"]);
            clock.advance(Duration::from_secs(9));
            assert_eq!(ask().await, ["never.test", "none.test"], "5 s for no address");
            clock.advance(Duration::from_secs(1));
            assert_eq!(ask().await, ["never.test", "text.test"]);
            clock.advance(Duration::from_secs(20));
            let later = ["never.test", "text.test", "none.test", "none.test"];
            assert_eq!(ask().await, later, "30 s for no text");
            clock.advance(Duration::from_secs(30));
            assert_eq!(ask().await, all);
            dns.clear_cache();
            assert_eq!(ask().await, all);
            drop((dns, server));
            io_loop.spawn(async {}).await.unwrap();
        });
        assert_eq!(left(&io_loop), (0, 0, 0));
    });
}

#[test]
fn packets_that_are_lost_are_sent_again() {
    thread_local! { static SEEN: RefCell<HashSet<String>> = RefCell::default(); }
    let answering = |question: &Question| {
        let is_new = SEEN.with_borrow_mut(|seen| seen.insert(question.name.clone()));
        if is_new { Reply::Silence } else { numbered(question) }
    };
    in_every_way(answering, async |site| {
        SEEN.take();
        let options = site.options().timeout(Duration::from_millis(20)).tries(10);
        let dns = Resolver::with(site.io_loop.clone(), &options).unwrap();
        let names: Vec<_> = (0..20).map(|number| format!("n{number}.test")).collect();
        let lookups = names.iter().map(|name| dns.lookup_family(name, Family::V4));
        assert!(join_all(lookups).await.iter().all(Result::is_ok));
    });
}

#[test]
fn a_server_that_refuses_is_an_error_with_the_name() {
    in_every_way(
        |_| Reply::Code(5),
        async |site| {
            let refused = site.dns().lookup("x.test").await;
            // c-ares goes to the next server, and then says that it has reached none.
            assert!(matches!(&refused, Err(Error::Server { name, .. }) if name == "x.test"));
            assert!(site.server.count() > 0);
        },
    );
}

#[test]
fn a_server_that_is_killed_and_comes_back() {
    in_every_way(numbered, async |site| {
        // An address that nobody else has a port of.
        let start = |address| Server::start_at(&site.io_loop, address, numbered);
        for tcp in [false, true] {
            let server = start("127.0.0.53:0".parse().unwrap());
            let address = server.address();
            let options = options([address]).timeout(Duration::from_millis(10)).tries(2).cache(0);
            let dns = Resolver::with(site.io_loop.clone(), &options.tcp(tcp)).unwrap();
            let lookup = async || dns.lookup_family("n1.test", Family::V4).await;
            // On a busy machine its answer may be late.
            while lookup().await.is_err() {}
            drop(server);
            // Its tasks are dropped, and their sockets with them.
            site.io_loop.spawn(async {}).await.unwrap();
            let failed = lookup().await;
            let is_right = matches!(failed, Err(Error::Server { .. } | Error::TimedOut { .. }));
            assert!(is_right, "{failed:?}");
            let server = start(address);
            while lookup().await.is_err() {}
            drop((dns, server));
            site.io_loop.spawn(async {}).await.unwrap();
        }
    });
}

#[test]
fn a_lookup_of_one_address_made_a_socket_to_sort_it() {
    const TEST: &str = "a_lookup_of_one_address_made_a_socket_to_sort_it";
    const LOOKUPS: usize = 10;
    if is_child(module_path!(), TEST) {
        end_a_hang();
        let io_loop = IOLoop::new().unwrap();
        let lookups = async {
            let server = Server::start(&io_loop, numbered);
            let dns = Resolver::with(io_loop.clone(), &options([server.address()])).unwrap();
            for n in 0..LOOKUPS {
                let name = format!("n{n}.test");
                assert_eq!(dns.lookup_family(&name, Family::V4).await.unwrap().len(), 1);
            }
        };
        return io_loop.run_sync(lookups).unwrap();
    }
    if !strace_works() {
        eprintln!("{TEST}: SKIPPED: strace is not installed, or may not trace here");
        return;
    }
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{TEST}.{}", process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=connect", "-o"]).arg(&log);
    assert_passed(&again(Some(strace), module_path!(), TEST));
    let connected = fs::read_to_string(&log).unwrap();
    let connected = connected.lines().filter(|line| line.contains("connect(")).count();
    assert!((1..=LOOKUPS).contains(&connected), "{connected} sockets for {LOOKUPS} lookups");
    // Kept where the check failed.
    fs::remove_file(log).unwrap();
}
