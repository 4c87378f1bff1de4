//~ errors: 2
//~ says: borrowed value does not live long enough
//~ says: argument requires that `name` is borrowed for `'static`
use ioloop::{IOLoop, sleep};
use std::time::Duration;
async fn work(io_loop: &IOLoop, name: &str) {
    sleep(io_loop, Duration::from_millis(1)).await.unwrap();
    println!("{name}");
}
fn main() {
    let io_loop = IOLoop::new().unwrap();
    let name = String::from("Ada");
    let task = io_loop.spawn(work(&io_loop, &name));
    io_loop.run_sync(task).unwrap().unwrap();
}
