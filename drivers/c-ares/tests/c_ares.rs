//! c-ares from loops on every backend, in every mode, with a DNS server on the same loop.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{join, join_all};
use ioloop::{IOLoop, Reactor, timeout};
use ioloop_c_ares::{Dns, Error, Family, Options};

mod dns;

use dns::{Question, Reply, Server};
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
        Options::new(self.server.address())
    }

    fn dns(&self) -> Dns<IOLoop> {
        Dns::new(self.io_loop.clone(), &self.options()).unwrap()
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
        _ => Reply::NoSuchName,
    };
    in_every_way(answering, async |site| {
        let dns = site.dns();
        assert_eq!(dns.lookup("both.test", Family::V4).await, Ok(vec![v4(1), v4(2)]));
        assert_eq!(dns.lookup("both.test", Family::V6).await, Ok(vec![v6(1)]));
        let any: HashSet<_> =
            dns.lookup("both.test", Family::Any).await.unwrap().into_iter().collect();
        assert_eq!(any, HashSet::from([v4(1), v4(2), v6(1)]));
        assert_eq!(dns.lookup("four.test", Family::Any).await, Ok(vec![v4(4)]));
        assert_eq!(dns.lookup("four.test", Family::V6).await, Err(Error::NoData));
        assert_eq!(dns.lookup("none.test", Family::Any).await, Err(Error::NotFound));
        assert_eq!(site.left(), site.idle, "between queries nothing is watched");

        // Nobody has to be asked for these; the answer is there before the call has returned.
        site.server.asked();
        assert_eq!(dns.lookup("192.0.2.7", Family::V4).await, Ok(vec![v4(7)]));
        assert_eq!(dns.lookup("2001:db8::7", Family::Any).await, Ok(vec![v6(7)]));
        assert!(matches!(dns.lookup("a\0b", Family::V4).await, Err(Error::Other(_))));
        assert!(dns.lookup(&"long".repeat(100), Family::V4).await.is_err());
        assert_eq!(site.server.count(), 0);
    });
}

#[test]
fn options_that_make_no_sense() {
    every_way(|way| {
        let io_loop = way.io_loop();
        for servers in ["no server", "\0"] {
            let dns = Dns::new(io_loop.clone(), &Options::new(servers));
            assert!(matches!(dns.err(), Some(Error::Other(_))), "{servers:?}");
        }
        assert_eq!(left(&io_loop), (0, 0, 0));
    });
}

#[test]
fn a_reactor_whose_type_nobody_knows() {
    in_every_way(numbered, async |site| {
        let reactor: Rc<dyn Reactor> = Rc::new(site.io_loop.clone());
        let dns = Dns::new(reactor, &site.options()).unwrap();
        assert!(dns.lookup("n1.test", Family::V4).await.is_ok());
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
        assert_eq!(dns.lookup("long.test", Family::V4).await, Ok(expected));
        let transports: Vec<_> = site.server.asked().iter().map(|question| question.tcp).collect();
        assert_eq!(transports, [false, true]);
        assert_eq!(site.server.accepted(), 1);
    });
}

#[test]
fn a_server_that_is_silent_is_asked_as_often_as_was_said() {
    in_every_way(silence, async |site| {
        let mut options = site.options();
        (options.timeout, options.tries) = (Duration::from_millis(20), 3);
        for tcp in [false, true] {
            options.tcp = tcp;
            let dns = Dns::new(site.io_loop.clone(), &options).unwrap();
            let fired = site.io_loop.metrics().timers_fired;
            assert_eq!(dns.lookup("x.test", Family::V4).await, Err(Error::TimedOut), "tcp: {tcp}");
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
            let mut options = Options::new(format!("{first},{}", site.server.address()));
            if !tcp {
                (options.timeout, options.tries) = (Duration::from_millis(20), 10);
            }
            options.tcp = tcp;
            let dns = Dns::new(site.io_loop.clone(), &options).unwrap();
            let found = dns.lookup("n7.test", Family::V4).await;
            assert_eq!(found, Ok(vec![Ipv4Addr::new(10, 0, 0, 7).into()]), "{first}, tcp: {tcp}");
        }
    });
}

#[test]
fn a_thousand_queries_at_once() {
    in_every_way(numbered, async |site| {
        for tcp in [false, true] {
            let mut options = site.options();
            options.tcp = tcp;
            if !tcp {
                // What the sockets do not hold is lost, and asked again.
                (options.timeout, options.tries) = (Duration::from_millis(100), 10);
            }
            let dns = Dns::new(site.io_loop.clone(), &options).unwrap();
            let names: Vec<_> = (0..1000).map(|number| format!("n{number}.test")).collect();
            let answers = join_all(names.iter().map(|name| dns.lookup(name, Family::V4))).await;
            for (number, answer) in (0_u16..).zip(answers) {
                let [high, low] = number.to_be_bytes();
                assert_eq!(answer, Ok(vec![Ipv4Addr::new(10, 0, high, low).into()]), "tcp: {tcp}");
            }
            let asked: HashSet<_> = site.server.asked().into_iter().collect();
            assert_eq!(asked.len(), 1000);
        }
        assert_eq!(site.server.accepted(), 1, "one connection for all");
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
            let mut options = site.options();
            options.tcp = tcp;
            let dns = Dns::new(site.io_loop.clone(), &options).unwrap();
            let silent = ["a.test", "b.test", "c.test"].map(|name| dns.lookup(name, Family::Any));
            site.until(|| site.server.count() == 6).await;
            dns.cancel();
            assert_eq!(site.server.asked().len(), 6);
            assert_eq!(site.left().1, site.idle.1, "no timer");
            assert_eq!(join_all(silent).await, vec![Err(Error::Cancelled); 3]);
            dns.cancel();
            let found = dns.lookup("n1.test", Family::V4).await;
            assert_eq!(found, Ok(vec![Ipv4Addr::new(10, 0, 0, 1).into()]));

            // One that is given up is in nobody's way.
            let given_up =
                timeout(&site.io_loop, Duration::from_millis(1), dns.lookup("d.test", Family::V4));
            assert!(given_up.await.unwrap_err().is_elapsed());
            assert!(dns.lookup("n2.test", Family::V4).await.is_ok());
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
            let mut options = site.options();
            options.tcp = tcp;
            // At once, with nothing sent over TCP yet; and when all has been asked.
            for asked in [0, 20] {
                let dns = Dns::new(site.io_loop.clone(), &options).unwrap();
                let names: Vec<_> = (0..20).map(|number| format!("n{number}.test")).collect();
                let answers: Vec<_> =
                    names.iter().map(|name| dns.lookup(name, Family::V4)).collect();
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
        let lookup = |name| dns.borrow().as_ref().unwrap().lookup(name, Family::V4);
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
        let options = Options::new(silent.local_addr().unwrap().to_string());
        let dns = Dns::new(io_loop.clone(), &options).unwrap();
        let pending = dns.lookup("a.test", Family::V4);
        io_loop.close().unwrap();
        assert_eq!(left(&io_loop), (0, 0, 0));
        // The sockets that there are go on being used; who needs a watch finds out, for all.
        dns.cancel();
        assert_eq!(way.block_on(pending), Err(Error::Cancelled));
        let next = way.block_on(dns.lookup("b.test", Family::V4));
        assert!(matches!(next, Err(Error::Loop(_))), "{next:?}");

        let io_loop = way.io_loop();
        let dns = Dns::new(io_loop.clone(), &options).unwrap();
        let pending = dns.lookup("a.test", Family::V4);
        io_loop.close().unwrap();
        drop(dns);
        assert_eq!(way.block_on(pending), Err(Error::Closed));
    });
}
