//! Either server on a port, on any kind of loop, and the clients that check every line.
//!
//!     cargo run --release -p ioloop-with-chat --example chat -- callbacks 127.0.0.1:7777
//!     cargo run --release -p ioloop-with-chat --example chat -- futures 127.0.0.1:7777 smol
//!     cargo run --release -p ioloop-with-chat --example chat -- load 127.0.0.1:7777 500
//!
//! The last word of a server is its loop: one of those that the tests go through, such as `bare` or
//! `tokio-multi-thread`. That of the load is how many rooms there are, of ten clients each.

use std::env;
use std::error::Error;
use std::future::pending;
use std::net::TcpListener;
use std::time::Instant;

use ioloop::IOLoop;
use ioloop_with_chat::load::{self, Load};
use ioloop_with_chat::{callbacks, futures};
use testkit::hosts::{HOSTS, Host};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["load", address] => load(address, 10),
        ["load", address, rooms] => load(address, rooms.parse()?),
        [style @ ("callbacks" | "futures"), address] => serve(style, address, HOSTS[0]),
        [style @ ("callbacks" | "futures"), address, name] => {
            let known = HOSTS.into_iter().find(|host| host.to_string() == name);
            let hosts = HOSTS.map(|host| host.to_string()).join(", ");
            serve(style, address, known.ok_or(format!("{name} is none of {hosts}"))?)
        }
        _ => {
            Err("callbacks ADDRESS [LOOP], futures ADDRESS [LOOP], or load ADDRESS [ROOMS]".into())
        }
    }
}

/// Serves until the process is ended.
fn serve(style: &str, address: &str, host: Host) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    println!("{style} on {host}, {}; whoever connects says: room name", listener.local_addr()?);
    host.run(IOLoop::builder(), async |io_loop| {
        let listener = listener.try_clone().expect("a second descriptor");
        if style == "futures" {
            return futures::serve(io_loop.downgrade(), listener).await.expect("serving");
        }
        let _serving = callbacks::Server::new(io_loop.clone(), listener).expect("a server");
        pending::<()>().await;
    });
    Ok(())
}

fn load(address: &str, rooms: usize) -> Result<(), Box<dyn Error>> {
    let load = Load { rooms, members: 10, lines: 5 };
    let io_loop = IOLoop::new()?;
    let began = Instant::now();
    let heard = io_loop.run_sync(load::run(&io_loop, address.parse()?, load))??;
    println!("{heard} lines were heard, each right and in order, after {:.2?}", began.elapsed());
    Ok(())
}
