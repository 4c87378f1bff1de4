//~ says: trait `Reactor` which provides `call_later` is implemented but not in scope
//~ says: + use ioloop::Reactor;
use ioloop::IOLoop;
use std::time::Duration;
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.call_later(Duration::from_millis(5), || println!("hi"));
    io_loop.start().unwrap();
}
