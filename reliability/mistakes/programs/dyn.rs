//~ says: the `call_soon` method cannot be invoked on a trait object
use ioloop::Reactor;
fn twice(reactor: &dyn Reactor) {
    reactor.call_soon(|| println!("hi"));
}
fn main() { let io_loop = ioloop::IOLoop::new().unwrap(); twice(&io_loop); }
