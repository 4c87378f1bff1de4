//~ says: consider changing this to be mutable
//~ says: io_loop.add_reader(a, |mut stream| {
use ioloop::{IOLoop, Reactor};
use std::{io::Read, os::unix::net::UnixStream};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let (a, _b) = UnixStream::pair().unwrap();
    io_loop.add_reader(a, |stream| {
        let mut b = [0; 10];
        let n = stream.read(&mut b).unwrap();
        println!("{n}");
    }).unwrap();
}
