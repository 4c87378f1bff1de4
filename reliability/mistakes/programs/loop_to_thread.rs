//~ says: `Rc<ioloop::io_loop::BoundToItsThread>` cannot be sent between threads safely
//~ says: required because it appears within the type `IOLoop`
use ioloop::{IOLoop, Reactor};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.call_soon(|| println!("hi"));
    std::thread::spawn(move || io_loop.start().unwrap());
}
