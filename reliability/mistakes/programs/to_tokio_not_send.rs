//~ says: has type `Rc<i32>` which is not `Send`
use ioloop::bridge;
use std::rc::Rc;
fn main() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    let x = Rc::new(1);
    smol::block_on(bridge::to_tokio(rt.handle(), async move { tokio::task::yield_now().await; *x })).unwrap();
}
