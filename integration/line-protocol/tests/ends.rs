//! Every way in which a connection, a server or its loop ends.

mod ways;

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, ManualClock, sleep};
use ioloop_with_line_protocol::{Client, Error, Limits, Reply, Request, Requests, Served, Socket};
use ways::{
    LINE, Site, Tcp, Transport, Unix, on_every_loop, on_every_loop_by, read, read_to_end, write,
};

fn echo(text: impl ToString) -> Request {
    Request::Echo(text.to_string())
}

fn data(text: impl ToString) -> Reply {
    Reply::Data(text.to_string())
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// More requests of a kilobyte than the buffers between the two sides hold.
const MANY: usize = 20_000;

fn queue_many<S: Socket>(requests: &mut Requests<S>) {
    let request = echo("x".repeat(1000));
    for _ in 0..MANY {
        requests.queue(&request).unwrap();
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn minutes() -> Limits {
    Limits { idle: MINUTE, grace: MINUTE / 6, ..Limits::default() }
}

#[test]
fn clients_that_vanish_in_the_middle_disturb_nobody() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let site = Site::<T>::new(io_loop, Limits::default());
        let mut steady = site.client().await;
        // In the middle of a line.
        let socket = site.socket().await;
        write(&socket, b"SET key value\nGET k").await;
        assert_eq!(read(&socket).await, "OK\n");
        drop(socket);
        // With replies that it does not take.
        let mut client = site.client().await;
        let untaken = echo("untaken");
        let mut call = Box::pin(client.call(&untaken));
        assert!(poll_once(call.as_mut()).await.is_pending());
        drop(call);
        drop(client);
        // In a task that listens, and is cancelled.
        let (_, mut replies) = site.client().await.split();
        let listening = io_loop.spawn(async move { replies.next().await });
        assert_eq!(steady.call(&Request::Get("key".to_owned())).await.unwrap(), data("value"));
        listening.cancel();
        assert!(listening.await.unwrap_err().is_cancelled());
        assert_eq!(steady.call(&echo("steady")).await.unwrap(), data("steady"));
        drop(steady);
        let served = site.stop().await;
        assert_eq!((served.closed + served.failed, served.dropped), (4, 0));
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_call_that_is_given_up_leaves_the_replies_to_their_own_calls() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let site = Site::<T>::new(io_loop, Limits::default());
        let mut client = site.client().await;
        for n in 0..10 {
            let given_up = echo(format!("given up {n}"));
            let mut call = Box::pin(client.call(&given_up));
            assert!(poll_once(call.as_mut()).await.is_pending());
            drop(call);
            if n % 3 == 0 {
                assert_eq!(client.call(&echo(n)).await.unwrap(), data(n));
            }
        }
        drop(client);
        assert_eq!(site.stop().await, Served { closed: 1, ..Served::default() });
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_server_whose_task_is_cancelled_ends_its_connections() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let site = Site::<T>::new(io_loop, Limits::default());
        let mut client = site.client().await;
        assert_eq!(client.call(&echo("x")).await.unwrap(), data("x"));
        site.serving.cancel();
        assert!(site.serving.await.unwrap_err().is_cancelled());
        let error = client.call(&echo("y")).await.unwrap_err();
        assert!(matches!(error, Error::NoReply | Error::Io(_)), "{error}");
        let refused = site.transport.connect(io_loop).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_server_that_is_stopped_answers_what_it_has_read_and_parts_with_its_clients() {
    async fn case<T: Transport>(io_loop: &IOLoop, clock: &ManualClock) {
        let site = Site::<T>::new(io_loop, minutes());
        let mut idle = site.client().await;
        assert_eq!(idle.call(&echo("idle")).await.unwrap(), data("idle"));
        // More than fits on the way, and nobody listens: the server waits, with requests that it
        // has read.
        let (mut requests, mut replies) = site.client().await.split();
        queue_many(&mut requests);
        let mut flush = Box::pin(requests.flush());
        for _ in 0..10 {
            assert!(poll_once(flush.as_mut()).await.is_pending(), "there is no end of room");
            // The clock jumps once the loop has nothing else to do.
            sleep(io_loop, MINUTE / 100).await.unwrap();
        }
        drop(flush);
        clock.set_auto_advance(false);
        site.stop.stop();
        let late = idle.call(&echo("late")).await;
        assert!(matches!(late, Err(Error::NoReply)), "{late:?}");
        drop(idle);
        let mut answered = 0;
        while let Some(reply) = replies.next().await.unwrap() {
            assert_eq!(reply, data("x".repeat(1000)));
            answered += 1;
        }
        assert!((1..MANY).contains(&answered), "{answered}");
        let refused = site.transport.connect(io_loop).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(!site.serving.is_finished(), "it waits for the client to close");
        drop((requests, replies));
        let served = site.serving.await.unwrap().unwrap();
        assert_eq!(served, Served { closed: 2, ..Served::default() });
        clock.set_auto_advance(true);
    }
    let clock = ManualClock::new();
    on_every_loop_by(&clock, async |io_loop| {
        case::<Tcp>(io_loop, &clock).await;
        case::<Unix>(io_loop, &clock).await;
    });
}

#[test]
fn a_server_is_stopped_from_another_thread() {
    on_every_loop(async |io_loop| {
        let site = Site::<Tcp>::new(io_loop, Limits::default());
        let Site { stop, serving, .. } = site;
        thread::spawn(move || stop.stop());
        assert_eq!(serving.await.unwrap().unwrap(), Served::default());
    });
}

#[test]
fn clients_beyond_the_limit_wait_for_one_to_leave() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let limits = Limits { connections: 2, ..Limits::default() };
        let site = Site::<T>::new(io_loop, limits);
        let (mut one, mut two) = (site.client().await, site.client().await);
        assert_eq!(one.call(&echo(1)).await.unwrap(), data(1));
        assert_eq!(two.call(&echo(2)).await.unwrap(), data(2));
        let mut three = site.client().await;
        let three_asks = echo(3);
        let mut waiting = Box::pin(three.call(&three_asks));
        for n in 0..10 {
            assert!(poll_once(waiting.as_mut()).await.is_pending());
            assert_eq!(two.call(&echo(n)).await.unwrap(), data(n));
        }
        drop(one);
        assert_eq!(waiting.as_mut().await.unwrap(), data(3));
        drop(waiting);
        drop((two, three));
        assert_eq!(site.stop().await.closed, 3);
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_client_that_never_pauses_lets_the_others_have_their_turn() {
    const REQUESTS: usize = 10_000;
    let io_loop = IOLoop::new().unwrap();
    io_loop
        .run_sync(async {
            let site = Site::<Unix>::new(&io_loop, Limits::default());
            // All of it lies in the kernel before the server is polled.
            let socket = site.socket().await;
            let sent = "SET k v\n".repeat(REQUESTS);
            let written = socket.get_ref().write(sent.as_bytes()).unwrap();
            assert_eq!(written, sent.len(), "a socket's buffer holds it");
            let turns = io_loop.metrics().turns;
            let mut received = 0;
            while received < "OK\n".len() * REQUESTS {
                received += read(&socket).await.len();
            }
            let turns = io_loop.metrics().turns - turns;
            assert!(turns > 10, "it was served in {turns} turns");
            drop(socket);
            assert_eq!(site.stop().await.closed, 1);
        })
        .unwrap();
}

/// Over Unix sockets alone: what is written to one is there at once, so a clock that jumps
/// over idle times does not jump past what is on its way.
fn on_a_clock_that_jumps(case: impl AsyncFn(Site<Unix>, &ManualClock)) {
    let clock = ManualClock::new();
    on_every_loop_by(&clock, async |io_loop| {
        case(Site::<Unix>::new(io_loop, minutes()), &clock).await;
    });
}

#[test]
fn a_client_that_does_not_complete_a_request_in_time_is_told_so() {
    on_a_clock_that_jumps(async |site, clock| {
        let socket = site.socket().await;
        write(&socket, b"ECHO x\n").await;
        assert_eq!(read(&socket).await, "DATA x\n");
        let start = clock.now();
        // However often it sends a bit of one.
        for byte in b"ECHO" {
            write(&socket, &[*byte]).await;
            sleep(&site.io_loop, MINUTE / 5).await.unwrap();
        }
        assert_eq!(read_to_end(&socket).await, "ERROR no request came in time\n");
        assert_eq!(clock.now() - start, MINUTE);
        drop(socket);
        assert_eq!(site.stop().await.closed, 1);
    });
}

#[test]
fn a_client_that_asks_now_and_then_stays_connected() {
    on_a_clock_that_jumps(async |site, clock| {
        let mut client = site.client().await;
        let start = clock.now();
        for n in 0..10 {
            sleep(&site.io_loop, MINUTE - Duration::from_nanos(1)).await.unwrap();
            assert_eq!(client.call(&echo(n)).await.unwrap(), data(n));
        }
        assert!(clock.now() - start > 9 * MINUTE);
        drop(client);
        assert_eq!(site.stop().await.closed, 1);
    });
}

#[test]
fn a_client_that_takes_no_replies_is_dropped() {
    on_a_clock_that_jumps(async |site, _| {
        let (mut requests, replies) = site.client().await.split();
        queue_many(&mut requests);
        let Err(Error::Io(error)) = requests.flush().await else {
            panic!("there is no end of room")
        };
        let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(gone.contains(&error.kind()), "{error}");
        drop((requests, replies));
        assert_eq!(site.stop().await, Served { failed: 1, ..Served::default() });
    });
}

#[test]
fn a_client_that_does_not_close_its_side_is_not_waited_for_long() {
    on_a_clock_that_jumps(async |site, clock| {
        let (one, other) = (site.socket().await, site.socket().await);
        let start = clock.now();
        assert_eq!(read_to_end(&one).await, "ERROR no request came in time\n");
        sleep(&site.io_loop, MINUTE).await.unwrap();
        // Both were idle, and both were given up by now.
        let late = site.socket().await;
        write(&late, b"ECHO x\n").await;
        assert_eq!(read(&late).await, "DATA x\n");
        let stopped = clock.now();
        assert_eq!(site.stop().await, Served { failed: 3, ..Served::default() });
        assert_eq!((stopped - start, clock.now() - stopped), (2 * MINUTE, MINUTE / 6));
        drop((one, other, late));
    });
}

#[test]
fn a_client_that_takes_no_replies_does_not_hold_up_a_server_that_is_stopped() {
    on_a_clock_that_jumps(async |site, clock| {
        let (mut requests, replies) = site.client().await.split();
        queue_many(&mut requests);
        let mut flush = Box::pin(requests.flush());
        assert!(poll_once(flush.as_mut()).await.is_pending(), "there is no end of room");
        sleep(&site.io_loop, MINUTE / 100).await.unwrap();
        let stopped = clock.now();
        assert_eq!(site.stop().await, Served { dropped: 1, ..Served::default() });
        assert_eq!(clock.now() - stopped, MINUTE / 6);
        drop((flush, replies));
    });
}

#[test]
fn a_loop_that_is_closed_ends_its_server() {
    for kind in BackendKind::ALL {
        let io_loop = IOLoop::builder().backend(kind).build().unwrap();
        let site = Site::<Unix>::new(&io_loop, Limits::default());
        let (client, serving) = io_loop
            .run_sync(async {
                let mut client = Client::new(site.socket().await, LINE);
                assert_eq!(client.call(&echo("x")).await.unwrap(), data("x"));
                (client, site.serving)
            })
            .unwrap();
        io_loop.close().unwrap();
        let other = IOLoop::new().unwrap();
        assert!(other.run_sync(serving).unwrap().unwrap_err().is_closed());
        // And whoever still holds a side of it is told.
        let mut client = client;
        let Err(Error::Io(error)) = other.run_sync(client.call(&echo("y"))).unwrap() else {
            panic!("a closed loop answers, on {kind}")
        };
        assert!(
            [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()),
            "{error} on {kind}"
        );
        let metrics = io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0), "on {kind}");
    }
}

#[test]
fn a_server_that_serves_on_a_closed_loop_is_an_error() {
    let io_loop = IOLoop::new().unwrap();
    let (_transport, listener) = Unix::listen(&io_loop);
    let (server, _stop) =
        ioloop_with_line_protocol::Server::new(io_loop.clone(), listener, Limits::default());
    io_loop.close().unwrap();
    let served: io::Result<Served> = IOLoop::new().unwrap().run_sync(server.serve()).unwrap();
    assert_eq!(served.unwrap_err().kind(), ErrorKind::BrokenPipe);
}
