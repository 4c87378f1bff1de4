//~ says: StaysOnTheThreadOfItsLoop
//~ says: required because it appears within the type `ioloop::run::Run`
use ioloop::IOLoop;
#[tokio::main]
async fn main() {
    let io_loop = IOLoop::attach().unwrap();
    tokio::spawn(io_loop.run()).await.unwrap().unwrap();
}
