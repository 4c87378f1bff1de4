//~ errors: 2
//~ says: argument #1 of type `&_` is missing
//~ says: sleep(/* reactor */, Duration::from_millis(1))
use ioloop::{IOLoop, sleep, timeout};
use std::time::Duration;
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.run_sync(async {
        sleep(Duration::from_millis(1)).await;
        timeout(Duration::from_millis(1), std::future::pending::<()>()).await
    }).unwrap();
}
