//~ says: `Rc<ioloop::io_loop::BoundToItsThread>` cannot be sent between threads safely
//~ says: required because it appears within the type `IOLoop`
use ioloop::IOLoop;
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let worker = IOLoop::spawn_thread("w", move || Ok(io_loop)).unwrap();
    worker.join().unwrap();
}
