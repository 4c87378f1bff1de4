//~ says: argument requires that `stream` is borrowed for `'static`
use ioloop::{IOLoop, Reactor};
use std::{io::Read, net::TcpStream};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let stream = TcpStream::connect("127.0.0.1:80").unwrap();
    io_loop.add_reader(&stream, |stream| {
        let mut b = [0; 10];
        let _ = (&**stream).read(&mut b);
    }).unwrap();
    io_loop.start().unwrap();
}
