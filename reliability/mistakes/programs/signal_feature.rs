//~ errors: 2
//~ says: the item is gated behind the `signal` feature
use ioloop::{IOLoop, signal};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.add_signal_handler(signal::SIGTERM, || println!("term")).unwrap();
}
