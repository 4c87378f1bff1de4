//~ says: `Rc<RefCell<Vec<i32>>>` cannot be sent between threads safely
use ioloop::IOLoop;
use std::{cell::RefCell, rc::Rc};
fn main() {
    let worker = IOLoop::spawn_thread("w", IOLoop::new).unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let task = worker.handle().spawn(move || async move { seen.borrow_mut().push(1) });
    smol::block_on(task).unwrap();
}
