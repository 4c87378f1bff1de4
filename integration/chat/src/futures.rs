//! The server with futures: a future for each client, all of them polled in one.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_util::future::select;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ioloop::{Async, Reactor};

use crate::MOST_WAITING;
use crate::lines::Lines;
use crate::rooms::{Ear, Rooms};

/// Serves whoever connects, until the future is dropped.
///
/// # Errors
///
/// Those of watching the listener, and of accepting: that the reactor was closed, above all.
///
/// # Cancel safety
///
/// Dropping it closes the listener and all connections.
pub async fn serve<R: Reactor>(reactor: R, listener: TcpListener) -> io::Result<()> {
    let listener = Async::new(&reactor, listener)?;
    let rooms = Rooms::default();
    let mut clients = FuturesUnordered::new();
    loop {
        let mut accept = pin!(listener.accept(&reactor));
        let accepted = poll_fn(|cx| {
            while let Poll::Ready(Some(())) = clients.poll_next_unpin(cx) {}
            accept.as_mut().poll(cx)
        });
        let (stream, _) = accepted.await?;
        clients.push(converse(stream, &rooms));
    }
}

/// One client, from its coming to its going.
async fn converse(stream: Async<TcpStream>, rooms: &Rooms<Outbox>) {
    let outbox = Rc::new(Outbox::default());
    let mut seat = None;
    let reading = async {
        stream.get_ref().set_nodelay(true)?;
        let (mut lines, mut chunk) = (Lines::default(), [0; 4096]);
        loop {
            let n = stream.read_with(|mut stream| stream.read(&mut chunk)).await?;
            let heard = lines.take(&chunk[..n], |line| {
                rooms.hear(&mut seat, &outbox, line);
                Ok(())
            });
            if n == 0 || heard.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let writing = async {
        loop {
            let chunk = outbox.next().await;
            let mut left = &chunk[..];
            while !left.is_empty() {
                match stream.write_with(|mut stream| stream.write(left)).await {
                    Ok(n) => left = &left[n..],
                    Err(error) => return error,
                }
            }
        }
    };
    // Whichever ends first ends the others, and why is nobody's business.
    {
        let (reading, writing) = (pin!(reading), pin!(writing));
        select(select(reading, writing), pin!(outbox.overflow())).await;
    }
    if let Some(seat) = seat {
        rooms.leave(&seat);
    }
}

/// What a client has still to be told.
#[derive(Default)]
struct Outbox {
    waiting: RefCell<Vec<u8>>,
    /// Of the writer, where it waits for more.
    writer: Cell<Option<Waker>>,
    /// Of whoever ends the conversation, if too much waits.
    warden: Cell<Option<Waker>>,
}

impl Outbox {
    /// What waits, once something does.
    fn next(&self) -> impl Future<Output = Vec<u8>> {
        poll_fn(|cx| {
            let waiting = self.waiting.take();
            if waiting.is_empty() {
                self.writer.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(waiting)
        })
    }

    /// Done when too much waits: the writer does not get on.
    fn overflow(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            if self.waiting.borrow().len() > MOST_WAITING {
                return Poll::Ready(());
            }
            self.warden.set(Some(cx.waker().clone()));
            Poll::Pending
        })
    }
}

impl Ear for Outbox {
    fn tell(&self, line: &str) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.extend_from_slice(line.as_bytes());
        let woken = if waiting.len() > MOST_WAITING { &self.warden } else { &self.writer };
        drop(waiting);
        if let Some(waker) = woken.take() {
            waker.wake();
        }
    }
}
