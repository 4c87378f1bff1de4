//~ says: the trait `AsFd` is not implemented for `{integer}`
use ioloop::{IOLoop, Reactor};
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.add_reader(0, |_| println!("stdin")).unwrap();
}
