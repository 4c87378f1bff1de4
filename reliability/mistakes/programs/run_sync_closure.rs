//~ says: is not a future
//~ says: use parentheses to call this closure
use ioloop::IOLoop;
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let n = io_loop.run_sync(|| async { 42 }).unwrap();
    println!("{n}");
}
