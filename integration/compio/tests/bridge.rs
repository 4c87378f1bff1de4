//! Futures on a compio runtime, which the library does not know.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use compio_runtime::Runtime;
use ioloop::backends::BackendKind;
use ioloop::{Guard, IOLoop, Task, bridge, deferred};

fn to_compio<F: Future + 'static>(future: F) -> Guard<Task<F::Output>> {
    bridge::to(|future| compio_runtime::spawn(future).detach(), future)
}

fn bare() -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).build().unwrap()
}

#[test]
fn a_future_of_compio_is_awaited_by_a_loop_and_cancelled_from_there() {
    let (resolver, result) = deferred();
    let far = thread::spawn(move || {
        Runtime::new().unwrap().block_on(async move {
            // Its timer is compio's, and it is not `Send`.
            let local = Rc::new(7);
            let value = to_compio(async move {
                compio_runtime::time::sleep(Duration::from_millis(1)).await;
                *local
            });
            let held = Rc::new(());
            let captured = Rc::clone(&held);
            let cancelled = to_compio(async move {
                pending::<()>().await;
                drop(captured);
            });
            cancelled.cancel();
            assert!(cancelled.await.unwrap_err().is_cancelled());
            assert_eq!(Rc::strong_count(&held), 1);
            resolver.resolve(value.await.unwrap()).unwrap();
        });
    });
    assert_eq!(bare().run_sync(result).unwrap().unwrap(), 7);
    far.join().unwrap();
}

#[test]
fn a_panic_on_compio_is_the_awaiters_and_its_end_answers_closed() {
    let runtime = Runtime::new().unwrap();
    let panics = runtime.enter(|| to_compio(async { panic!("on compio") }));
    let waits = runtime.enter(|| to_compio(pending::<()>()));
    let error: ioloop::JoinError = Result::<(), _>::unwrap_err(runtime.block_on(panics));
    let payload = catch_unwind(AssertUnwindSafe(|| error.resume_panic())).unwrap_err();
    assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "on compio");
    drop(runtime);
    assert!(bare().run_sync(waits).unwrap().unwrap_err().is_closed());
}
