//! An echo server, with a task a connection, an idle time-out and an end in order.
//!
//!     cargo run -p try --bin echo -- 127.0.0.1:7777      and, elsewhere: nc 127.0.0.1 7777
//!     cargo run -p try --bin echo -- check               with clients of its own

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::{Async, IOLoop, Reactor, WeakIOLoop, signal, timeout};
use try_it::on_a_loop;

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    on_a_loop(async |io_loop, words| {
        let word = words.first().map_or("127.0.0.1:0", String::as_str);
        let is_check = word == "check";
        let listener =
            Async::<TcpListener>::bind(io_loop, if is_check { "127.0.0.1:0" } else { word })?;
        let address = listener.get_ref().local_addr()?;
        println!("on {}, {address}; ends with Ctrl-C", io_loop.backend_name());
        let serving = io_loop.spawn_logged(serve(io_loop.downgrade(), listener)).cancel_on_drop();
        if is_check {
            clients(io_loop, address).await?;
        } else {
            signal::ctrl_c(io_loop)?.await?;
        }
        drop(serving);
        // Connections that are in the middle of something have a second to end it.
        let left = io_loop.shutdown(Duration::from_secs(1)).await;
        println!("{} connections were cut", left.tasks);
        Ok(())
    })
}

async fn serve(reactor: WeakIOLoop, listener: Async<TcpListener>) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept(&reactor).await?;
        let Some(io_loop) = reactor.upgrade() else { return Ok(()) };
        let connection = echo(reactor.clone(), stream);
        io_loop.spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn echo<R: Reactor>(reactor: R, mut stream: Async<TcpStream>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        // A time-out is an `io::Error` of the kind `TimedOut`.
        let length = timeout(&reactor, IDLE, stream.read(&mut chunk)).await??;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&chunk[..length]).await?;
    }
}

/// A hundred clients at once, each of which checks every byte.
async fn clients(io_loop: &IOLoop, server: SocketAddr) -> try_it::Result {
    let clients: Vec<_> = (0..100u8)
        .map(|number| io_loop.spawn(client(io_loop.downgrade(), server, number)))
        .collect();
    for client in clients {
        client.await??;
    }
    println!("100 clients, every byte right");
    Ok(())
}

async fn client<R: Reactor>(reactor: R, server: SocketAddr, number: u8) -> io::Result<()> {
    let mut stream = Async::<TcpStream>::connect(&reactor, server).await?;
    let (sent, mut came) = (vec![number; 10_000], vec![0; 10_000]);
    for _ in 0..10 {
        stream.write_all(&sent).await?;
        stream.read_exact(&mut came).await?;
        if came != sent {
            return Err(io::Error::other("another byte came back"));
        }
    }
    stream.close().await
}
