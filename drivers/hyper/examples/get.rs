//! An HTTP client on one loop: `cargo run --example get localhost:8080 /path`.

use std::env;
use std::io::{Write, stdout};
use std::net::{TcpStream, ToSocketAddrs};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use ioloop::{Async, IOLoop};
use ioloop_hyper::LoopIo;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "localhost:8080".to_owned());
    let path = arguments.next().unwrap_or_else(|| "/".to_owned());
    let address = host.to_socket_addrs()?.next().ok_or("the host has no address")?;
    let io_loop = IOLoop::new()?;
    io_loop.run_sync(async {
        let stream = Async::<TcpStream>::connect(&io_loop, address).await?;
        let (mut sender, connection) = handshake(LoopIo::new(stream)).await?;
        io_loop.spawn(connection);
        let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
        let mut response = sender.send_request(request).await?;
        eprintln!("{}", response.status());
        while let Some(frame) = response.frame().await {
            if let Ok(data) = frame?.into_data() {
                stdout().write_all(&data)?;
            }
        }
        Ok(())
    })?
}
