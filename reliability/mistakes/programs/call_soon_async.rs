//~ errors: 2
//~ says: expected an `FnOnce()` closure, found
//~ says: in a closure with no arguments: `|| { /* code */ }`
//~ says: expected `()`, found `async` block
use ioloop::{IOLoop, Reactor};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.call_soon(async { println!("hi") });
    io_loop.call_soon(|| async { println!("hi") });
}
