//~ says: expected an `FnOnce()` closure, found
//~ says: in a closure with no arguments: `|| { /* code */ }`
use ioloop::IOLoop;
fn main() {
    let worker = IOLoop::spawn_thread("w", IOLoop::new).unwrap();
    let task = worker.handle().spawn(async { 42 });
    println!("{:?}", smol::block_on(task));
}
