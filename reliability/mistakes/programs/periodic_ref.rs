//~ compiles
use ioloop::{IOLoop, PeriodicCallback};
use std::time::Duration;
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let p = PeriodicCallback::new(&io_loop, Duration::from_secs(1), || println!("tick")).unwrap();
    p.start();
    io_loop.start().unwrap();
}
