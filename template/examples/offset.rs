//! How far the clock is off: `cargo run --example offset -- pool.ntp.org:123`. Without a server it
//! asks one of its own.

use std::error::Error;
use std::net::ToSocketAddrs;
use std::time::SystemTime;

use ioloop::{IOLoop, spawn};
use neutral_sntp::{Query, bind, serve};

fn main() -> Result<(), Box<dyn Error>> {
    // On the runtime that the features bring, or on none.
    let io_loop = IOLoop::new()?;
    let server = match std::env::args().nth(1) {
        Some(server) => server.to_socket_addrs()?.next().ok_or("no such server")?,
        None => {
            let socket = bind(&io_loop, "127.0.0.1:0".parse()?)?;
            let address = socket.get_ref().local_addr()?;
            spawn(&io_loop, async move { serve(&socket, SystemTime::now).await });
            address
        }
    };
    let answer = io_loop.run_sync(Query::new(server).send(&io_loop))??;
    let (offset, round_trip, on) = (answer.offset, answer.round_trip, io_loop.backend_name());
    println!(
        "{offset:+.6} s, {round_trip:.6} s there and back, stratum {}, on {on}",
        answer.stratum
    );
    Ok(())
}
