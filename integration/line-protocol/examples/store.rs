//! The store on a port, to be talked to by hand.
//!
//!     cargo run -p ioloop-with-line-protocol --example store -- 127.0.0.1:7878
//!     nc 127.0.0.1 7878          and there: SET name Ada, GET name, DELETE name, ECHO text

use std::env;
use std::error::Error;
use std::net::TcpListener;

use ioloop::{Async, IOLoop};
use ioloop_with_line_protocol::{Limits, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7878".to_owned());
    let io_loop = IOLoop::new()?;
    let listener = Async::<TcpListener>::bind(&io_loop, address)?;
    println!("on {}, {}", io_loop.backend_name(), listener.get_ref().local_addr()?);
    // Dropping the second would stop it.
    let (server, _stop) = Server::new(&io_loop, listener, Limits::default());
    io_loop.run_sync(server.serve())??;
    Ok(())
}
