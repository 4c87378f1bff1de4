//! What is asked and what is answered, on every kind of loop, over TCP and Unix sockets.

mod ways;

use std::net::Shutdown;
use std::rc::Rc;

use futures_util::future::join_all;
use ioloop::backends::BackendKind;
use ioloop::{Async, IOLoop, Reactor};
use ioloop_with_line_protocol::{
    BadRequest, Client, Error, Limits, Reply, Request, Served, Server, Socket,
};
use ways::{LINE, Site, Tcp, Transport, Unix, on_every_loop, read_to_end, write};

fn get(key: &str) -> Request {
    Request::Get(key.to_owned())
}

fn set(key: &str, value: &str) -> Request {
    Request::Set(key.to_owned(), value.to_owned())
}

fn delete(key: &str) -> Request {
    Request::Delete(key.to_owned())
}

fn echo(text: impl ToString) -> Request {
    Request::Echo(text.to_string())
}

fn data(text: impl ToString) -> Reply {
    Reply::Data(text.to_string())
}

/// All connections of a server ended in order.
fn closed(closed: usize) -> Served {
    Served { closed, ..Served::default() }
}

#[test]
fn requests_are_answered() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let site = Site::<T>::new(io_loop, Limits::default());
        let (mut one, mut other) = (site.client().await, site.client().await);
        assert_eq!(one.call(&get("key")).await.unwrap(), Reply::Missing);
        assert_eq!(one.call(&set("key", "a value")).await.unwrap(), Reply::Done);
        assert_eq!(other.call(&get("key")).await.unwrap(), data("a value"));
        assert_eq!(other.call(&delete("key")).await.unwrap(), Reply::Done);
        assert_eq!(one.call(&delete("key")).await.unwrap(), Reply::Missing);
        assert_eq!(one.call(&echo("")).await.unwrap(), data(""));
        // What would be read as something else does not leave the client.
        let error = one.call(&get("two words")).await.unwrap_err();
        assert!(matches!(error, Error::BadRequest(BadRequest::NoKey)), "{error}");
        assert_eq!(one.call(&echo("still there")).await.unwrap(), data("still there"));
        drop((one, other));
        assert_eq!(site.stop().await, closed(2));
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_line_that_is_no_request_is_told_so_and_the_next_is_answered() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let limits = Limits { line: 16, ..Limits::default() };
        let site = Site::<T>::new(io_loop, limits);
        let socket = site.socket().await;
        let long = "x".repeat(1 << 20);
        let sent =
            format!("ECHO {long}\nPUT a\nGET\nECHO \u{e9}\nECHO 12345678901\nECHO 123456789012\n");
        let sending = async {
            write(&socket, sent.as_bytes()).await;
            write(&socket, b"\xff\nECHO cut off").await;
            socket.get_ref().shutdown(Shutdown::Write).unwrap();
        };
        let (received, ()) = futures_util::future::join(read_to_end(&socket), sending).await;
        let expected = [
            "ERROR the line is longer than 16 bytes",
            "ERROR there is no such command; there are GET, SET, DELETE, ECHO",
            "ERROR it needs a key, which has no space",
            "DATA \u{e9}",
            "DATA 12345678901",
            "ERROR the line is longer than 16 bytes",
            "ERROR the line is not UTF-8",
            "ERROR the connection ended in the middle of a line",
        ];
        assert_eq!(received.lines().collect::<Vec<_>>(), expected);
        drop(socket);
        assert_eq!(site.stop().await, closed(1));
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_client_keeps_to_its_own_limit_and_knows_what_is_no_reply() {
    on_every_loop(async |io_loop| {
        let site = Site::<Unix>::new(io_loop, Limits::default());
        let mut client = Client::new(site.socket().await, 16);
        let error = client.call(&echo("123456789012")).await.unwrap_err();
        assert!(matches!(error, Error::TooLong(16)), "{error}");
        assert_eq!(client.call(&echo("12345678901")).await.unwrap(), data("12345678901"));
        drop(client);
        assert_eq!(site.stop().await, closed(1));

        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (ours, theirs) =
            (Async::new(io_loop, ours).unwrap(), Async::new(io_loop, theirs).unwrap());
        let (_requests, mut replies) = Client::new(ours, 16).split();
        write(&theirs, b"WHAT\nDATA 123456789012\nOK\nNON").await;
        drop(theirs);
        let error = replies.next().await.unwrap_err();
        assert!(matches!(&error, Error::NotAReply(line) if line == "WHAT"), "{error}");
        assert!(matches!(replies.next().await, Err(Error::TooLong(16))));
        assert_eq!(replies.next().await.unwrap(), Some(Reply::Done));
        assert!(matches!(replies.next().await, Err(Error::CutOff)));
        assert_eq!(replies.next().await.unwrap(), None);
    });
}

/// More than the buffers between the two sides hold, in both directions.
const MANY: usize = 4_000;

#[test]
fn a_pipeline_is_sent_by_one_task_and_its_replies_are_taken_by_another() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let site = Site::<T>::new(io_loop, Limits::default());
        let (mut requests, mut replies) = site.client().await.split();
        let padding = "x".repeat(1000);
        let text = move |n| format!("{padding} {n}");
        let expected = text.clone();
        let asking = io_loop.spawn(async move {
            for n in 0..MANY {
                requests.queue(&echo(text(n))).unwrap();
                if n % 100 == 0 {
                    requests.flush().await.unwrap();
                }
            }
            requests.finish().await.unwrap();
        });
        let listening = io_loop.spawn(async move {
            for n in 0..MANY {
                assert_eq!(replies.next().await.unwrap(), Some(data(expected(n))));
            }
            assert_eq!(replies.next().await.unwrap(), None);
        });
        asking.await.unwrap();
        listening.await.unwrap();
        assert_eq!(site.stop().await, closed(1));
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn two_hundred_clients_at_once_get_their_own_answers() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        const CLIENTS: usize = 200;
        let site = Site::<T>::new(io_loop, Limits::default());
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(site.client().await);
        }
        // None leaves before all have been answered.
        for round in 0..3 {
            let calls = clients.iter_mut().enumerate().map(async |(n, client)| {
                let (key, value) = (n.to_string(), format!("{round} of {n}"));
                assert_eq!(client.call(&set(&key, &value)).await.unwrap(), Reply::Done);
                assert_eq!(client.call(&get(&key)).await.unwrap(), data(value));
            });
            join_all(calls).await;
        }
        drop(clients);
        assert_eq!(site.stop().await, closed(CLIENTS));
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn a_client_that_closes_its_side_gets_the_answers_to_what_it_sent() {
    async fn case<T: Transport>(io_loop: &IOLoop) {
        let site = Site::<T>::new(io_loop, Limits::default());
        let (mut requests, mut replies) = site.client().await.split();
        for n in 0..3 {
            requests.queue(&echo(n)).unwrap();
        }
        requests.finish().await.unwrap();
        for n in 0..3 {
            assert_eq!(replies.next().await.unwrap(), Some(data(n)));
        }
        assert_eq!(replies.next().await.unwrap(), None);
        assert_eq!(site.stop().await, closed(1));
    }
    on_every_loop(async |io_loop| {
        case::<Tcp>(io_loop).await;
        case::<Unix>(io_loop).await;
    });
}

#[test]
fn it_runs_on_a_reactor_whose_type_is_not_known() {
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).build().unwrap();
    let reactor: Rc<dyn Reactor> = Rc::new(io_loop.clone());
    let (transport, listener) = Tcp::listen(&io_loop);
    let (server, stop) = Server::new(reactor, listener, Limits::default());
    let talking = async {
        let mut client = Client::new(transport.connect(&io_loop).await.unwrap(), LINE);
        assert_eq!(client.call(&echo("any")).await.unwrap(), data("any"));
        drop(client);
        stop.stop();
    };
    let both = futures_util::future::join(server.serve(), talking);
    let (served, ()) = io_loop.run_sync(both).unwrap();
    assert_eq!(served.unwrap(), closed(1));
}
