//~ errors: 3
//~ says: to force the closure to take ownership of `count` (and any other referenced variables), use the `move` keyword
use ioloop::{IOLoop, Reactor};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let mut count = 0;
    io_loop.call_soon(|| count += 1);
    io_loop.call_soon(|| io_loop.stop());
    io_loop.start().unwrap();
    println!("{count}");
}
