//~ says: `tokio::runtime::Handle` is not a `Reactor`
//~ says: note: an `ioloop::IOLoop` is one, on every runtime: `IOLoop::attach()` inside of tokio, smol or async-io, `IOLoop::new()` elsewhere
use ioloop::{IOLoop, Reactor};
use std::time::Duration;
fn later(reactor: impl Reactor) { reactor.call_later(Duration::ZERO, || println!("hi")); }
fn main() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    later(rt.handle().clone());
    let _ = IOLoop::new();
}
