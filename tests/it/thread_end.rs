//! A loop that lives in a thread-local is closed when its thread ends, whatever has ended before
//! it.

use std::cell::RefCell;
use std::sync::mpsc;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};

thread_local! {
    static LOOP: RefCell<Option<IOLoop>> = const { RefCell::new(None) };
}

struct Told(mpsc::Sender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send("dropped").unwrap();
    }
}

#[test]
fn a_loop_in_a_thread_local_is_closed_with_its_thread() {
    for kind in BackendKind::ALL.into_iter().filter(|kind| kind.is_compiled()) {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // The thread-locals of the library and of its backend are made after this one, and end
            // before it.
            LOOP.with_borrow(|none| assert!(none.is_none()));
            let io_loop = IOLoop::builder().backend(kind).build().unwrap();
            io_loop.call_soon(|| IOLoop::current().unwrap().stop());
            io_loop.start().unwrap();
            let told = Told(sender);
            io_loop.call_later(Duration::from_secs(60), move || drop(told));
            let pending = std::future::pending::<()>();
            drop(io_loop.spawn(pending));
            LOOP.set(Some(io_loop));
        });
        thread.join().unwrap();
        assert_eq!(receiver.recv().unwrap(), "dropped");
    }
}
