//~ says: `Rc<ioloop::io_loop::BoundToItsThread>` cannot be sent between threads safely
//~ says: required because it appears within the type `IOLoop`
use ioloop::{IOLoop, Reactor};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let handle = io_loop.handle();
    let other = io_loop.clone();
    std::thread::spawn(move || handle.add_callback(move || { other.call_soon(|| println!("hi")); }));
    io_loop.start().unwrap();
}
