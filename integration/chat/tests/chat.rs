//! Both servers on every kind of loop, with clients on another thread that check every line.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ioloop::{Async, Handle, IOLoop, Reactor, bridge, sleep, timeout};
use ioloop_with_chat::load::{self, Load};
use ioloop_with_chat::{LONGEST_LINE, callbacks, futures};
use testkit::hosts::HOSTS;

/// Members of a room.
const MEMBERS: usize = 10;

/// What hangs fails after this long, instead of holding up whoever waits for the tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rooms: of ten clients each, so 500 are the 5,000 connections.
fn rooms() -> usize {
    env::var("CHAT_ROOMS").map_or(10, |rooms| rooms.parse().expect("CHAT_ROOMS is a number"))
}

#[derive(Clone, Copy, Debug)]
enum Style {
    Callbacks,
    Futures,
}

/// Runs a case with a server in each style on every kind of loop; nothing may be left registered
/// afterwards.
fn on_every_loop(case: impl AsyncFn(&IOLoop, SocketAddr)) {
    for style in [Style::Callbacks, Style::Futures] {
        for host in HOSTS {
            // Seen where the test fails.
            eprintln!("{style:?}, {host:?}");
            host.run(IOLoop::builder(), async |io_loop| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let server = listener.local_addr().unwrap();
                let case = timeout(io_loop, PATIENCE, case(io_loop, server));
                match style {
                    Style::Callbacks => {
                        let serving = callbacks::Server::new(io_loop.clone(), listener).unwrap();
                        case.await.expect("it hangs");
                        wait_until(io_loop, || serving.clients() == 0).await;
                    }
                    Style::Futures => {
                        let serving = futures::serve(io_loop.downgrade(), listener);
                        let serving = io_loop.spawn(serving).cancel_on_drop();
                        case.await.expect("it hangs");
                        drop(serving);
                        wait_until(io_loop, || io_loop.metrics().tasks == 0).await;
                    }
                }
                let metrics = io_loop.metrics();
                assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0));
            });
        }
    }
}

async fn wait_until(io_loop: &IOLoop, reached: impl Fn() -> bool) {
    while !reached() {
        sleep(io_loop, Duration::from_millis(1)).await.unwrap();
    }
}

/// All clients, on the loop of another thread.
async fn talk(clients: &Handle, server: SocketAddr, load: Load) -> io::Result<usize> {
    let talking = bridge::to_loop(clients, move || async move {
        load::run(&IOLoop::current().unwrap(), server, load).await
    });
    talking.await.unwrap()
}

#[test]
fn everybody_hears_every_line_in_order() {
    let clients = IOLoop::spawn_thread("clients", IOLoop::new).unwrap();
    let load = Load { rooms: rooms(), members: MEMBERS, lines: 5 };
    on_every_loop(async |_, server| {
        let heard = talk(&clients.handle(), server, load).await.unwrap();
        assert_eq!(heard, load.rooms * MEMBERS * MEMBERS * load.lines);
    });
    clients.shutdown(PATIENCE).unwrap();
}

/// A client that reads nothing but what it is asked for.
async fn join(io_loop: &IOLoop, server: SocketAddr, name: &str) -> Async<TcpStream> {
    let stream = Async::<TcpStream>::connect(io_loop, server).await.unwrap();
    say(&stream, &format!("lobby {name}\n")).await;
    assert!(hear(&stream).await.ends_with(&format!("* {name} came\n")));
    stream
}

async fn say(stream: &Async<TcpStream>, text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let n = stream.write_with(|mut stream| stream.write(left)).await.unwrap();
        left = &left[n..];
    }
}

/// What comes next; empty at the end, whoever made it.
async fn hear(stream: &Async<TcpStream>) -> String {
    let mut chunk = [0; 4096];
    match stream.read_with(|mut stream| stream.read(&mut chunk)).await {
        Ok(n) => String::from_utf8(chunk[..n].to_vec()).unwrap(),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => String::new(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn who_goes_is_missed_and_a_name_is_free_again() {
    on_every_loop(async |io_loop, server| {
        let ada = join(io_loop, server, "ada").await;
        let bob = join(io_loop, server, "bob").await;
        assert_eq!(hear(&ada).await, "* bob came\n");
        let other = Async::<TcpStream>::connect(io_loop, server).await.unwrap();
        say(&other, "lobby bob\n").await;
        assert_eq!(hear(&other).await, "! that name is taken\n");
        say(&other, "nonsense\n").await;
        assert!(hear(&other).await.starts_with("! say where"));
        // In order, and by a reset.
        bob.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(hear(&ada).await, "* bob left\n");
        let bob = join(io_loop, server, "bob").await;
        assert_eq!(hear(&ada).await, "* bob came\n");
        // What was not read when a socket is closed makes it a reset.
        say(&ada, "hello\n").await;
        assert_eq!(hear(&ada).await, "ada: hello\n");
        drop(bob);
        assert_eq!(hear(&ada).await, "* bob left\n");
        drop((ada, other));
    });
}

#[test]
fn a_line_without_end_ends_the_connection_and_no_other() {
    on_every_loop(async |io_loop, server| {
        let ada = join(io_loop, server, "ada").await;
        let bob = join(io_loop, server, "bob").await;
        assert_eq!(hear(&ada).await, "* bob came\n");
        say(&bob, &"x".repeat(LONGEST_LINE + 1)).await;
        assert_eq!(hear(&bob).await, "");
        assert_eq!(hear(&ada).await, "* bob left\n");
        drop((ada, bob));
    });
}

#[test]
fn who_does_not_listen_is_parted_with_and_nobody_waits_for_them() {
    on_every_loop(async |io_loop, server| {
        let ada = join(io_loop, server, "ada").await;
        let deaf = join(io_loop, server, "deaf").await;
        assert_eq!(hear(&ada).await, "* deaf came\n");
        // What the kernel keeps for it would go on for megabytes.
        rustix::net::sockopt::set_socket_recv_buffer_size(deaf.get_ref(), 4096).unwrap();
        let lines = format!("{}\n", "x".repeat(LONGEST_LINE - 1)).repeat(64);
        let mut has_left = false;
        // Ada hears herself until the other one has gone.
        while !has_left {
            say(&ada, &lines).await;
            let mut heard = String::new();
            while heard.matches("\n").count() < 64 {
                heard += &hear(&ada).await;
            }
            has_left = heard.contains("* deaf left\n");
        }
        drop((ada, deaf));
    });
}

#[test]
fn a_server_that_ends_in_the_middle_parts_with_everybody() {
    let io_loop = IOLoop::new().unwrap();
    for style in [Style::Callbacks, Style::Futures] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let reactor = io_loop.clone();
        io_loop
            .run_sync(async {
                let mut serving = (None, None);
                match style {
                    Style::Callbacks => {
                        serving.0 = Some(callbacks::Server::new(reactor, listener).unwrap());
                    }
                    Style::Futures => {
                        let task = io_loop.spawn(futures::serve(reactor, listener));
                        serving.1 = Some(task.cancel_on_drop());
                    }
                }
                let ada = join(&io_loop, server, "ada").await;
                drop(serving);
                assert_eq!(hear(&ada).await, "");
            })
            .unwrap();
        let metrics = io_loop.metrics();
        assert_eq!((metrics.watches, metrics.timers, metrics.tasks), (0, 0, 0), "{style:?}");
    }
    // A loop that is closed ends its servers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = callbacks::Server::new(io_loop.clone(), listener).unwrap();
    io_loop.close().unwrap();
    assert_eq!(server.clients(), 0);
    assert!(io_loop.call_soon(|| ()).is_cancelled());
}
