//~ says: expected `Duration`, found floating-point number
use ioloop::{IOLoop, Reactor};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.call_later(0.5, || println!("hi"));
}
