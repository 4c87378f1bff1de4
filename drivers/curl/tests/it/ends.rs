//! Ways to end that nobody asked for: dropped futures, closed loops, panics.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::FutureExt;
use futures_util::stream;
use ioloop::IOLoop;
use ioloop_curl::{Client, Error};

use crate::bench::{LARGE, SMALL, assert_came, direct, on_every_bench, turn};
use crate::scripted::Scripted;

#[test]
fn a_dropped_future_left_its_request() {
    on_every_bench(|bench| {
        let client = bench.client();
        // Before the connection, before the head, and within the body.
        for turns in [0, 1, 3] {
            bench.block_on(async {
                let mut response = pin!(bench.get("stall/2.bin").into_future());
                assert!(response.as_mut().now_or_never().is_none());
                for _ in 0..turns {
                    turn(&bench.io_loop).await;
                }
                assert_eq!(client.unfinished(), 1);
            });
            assert_eq!(client.unfinished(), 0);
            assert_eq!(bench.tap.live(), 0, "a socket is still watched");
        }
        let response = bench.block_on(bench.get("stall/2.bin").into_future()).unwrap();
        let mut body = response.into_body();
        assert!(bench.block_on(stream::StreamExt::next(&mut body)).unwrap().is_ok());
        assert_eq!(client.unfinished(), 1);
        drop(body);
        assert_eq!(client.unfinished(), 0);
        assert_eq!(bench.tap.live(), 0, "a socket is still watched");
        bench.drive_until(|| bench.io_loop.metrics().timers == 0);
        drop(client);
        bench.assert_clean();
    });
}

#[test]
fn a_dropped_upload_left_its_task() {
    on_every_bench(|bench| {
        let held = Rc::new(());
        let kept = Rc::clone(&held);
        let never = stream::poll_fn(move |_| {
            let _kept = &kept;
            Poll::<Option<io::Result<&str>>>::Pending
        });
        let server = Scripted::start(|asked| asked.body().map(drop));
        let request = direct(bench.client().post(&server.url(""))).body_stream(never, None);
        bench.block_on(async {
            let mut response = pin!(request.into_future());
            assert!(response.as_mut().now_or_never().is_none());
            turn(&bench.io_loop).await;
            assert_eq!(Rc::strong_count(&held), 2);
        });
        bench.drive_until(|| bench.io_loop.metrics().tasks == 0);
        assert_eq!(Rc::strong_count(&held), 1);
        bench.assert_clean();
    });
}

#[test]
fn a_client_that_its_own_callback_drops_went_wrong() {
    on_every_bench(|bench| {
        for which in ["progress", "chunk", "done"] {
            let client = Client::new(bench.tap.clone());
            // The closure has the only one.
            let slot = Rc::new(RefCell::new(None));
            let (kept, dropped) = (Rc::clone(&slot), Rc::new(Cell::new(false)));
            let seen = Rc::clone(&dropped);
            let drop_client = move || {
                seen.set(true);
                drop(kept.take());
            };
            let request = direct(client.get(&bench.server.url("2.bin")));
            let transfer = match which {
                "progress" => request.on_progress(move |_| drop_client()).send(|_| ()),
                "chunk" => {
                    let request = request.on_chunk(move |_| {
                        drop_client();
                        Ok(())
                    });
                    request.send(|_| ())
                }
                _ => request.send(move |_| drop_client()),
            };
            slot.replace(Some(client));
            bench.drive_until(|| dropped.get() && transfer.has_ended());
            assert_eq!(bench.tap.live(), 0, "after {which}");
        }
        bench.assert_clean();
    });
}

#[test]
fn a_callback_could_not_cancel_its_own_request() {
    on_every_bench(|bench| {
        let other = bench.start(bench.get("stall/2.bin"), LARGE);
        let (itself, cancelled) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
        let (own, count) = (Rc::clone(&itself), Rc::clone(&cancelled));
        let request = bench.get("stall/2.bin").on_chunk(move |_| {
            for transfer in [Some(other.clone()), own.take()].into_iter().flatten() {
                count.set(count.get() + usize::from(transfer.cancel()));
            }
            Ok(())
        });
        itself.replace(Some(bench.start(request, LARGE)));
        bench.drive_until(|| cancelled.get() == 2);
        assert_eq!(bench.client().unfinished(), 0);
        assert_eq!(bench.tap.live(), 0);
        bench.block_on(turn(&bench.io_loop));
        assert!(bench.ended().is_empty());
        bench.assert_clean();
    });
}

#[test]
fn a_closed_loop_left_requests_hanging() {
    on_every_bench(|bench| {
        bench.limit(Client::builder().max_requests(2));
        let client = bench.client();
        let is_dropped = Rc::new(());
        // One is answered by callback, one has its head, one waits in the queue.
        let callback = Rc::clone(&is_dropped);
        bench.get("stall/2.bin").send(move |_| drop(callback));
        let mut response = bench.block_on(bench.get("stall/2.bin").into_future()).unwrap();
        let mut queued = bench.get("1.bin").into_future();
        assert!((&mut queued).now_or_never().is_none());
        assert_eq!(client.unfinished(), 3);
        // Those who wait are woken by the close, whoever polls them.
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut whole = Box::pin(async move { response.bytes().await.unwrap_err() });
        assert!(whole.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        bench.io_loop.close().unwrap();
        let (queued, whole) = at_once(async { (queued.await, whole.await) });
        assert!(matches!(queued, Err(Error::Closed)));
        assert!(matches!(whole, Error::Closed), "{whole}");
        assert_eq!((wakes.0.load(Ordering::SeqCst), client.unfinished()), (1, 0));
        assert_eq!(Rc::strong_count(&is_dropped), 1, "the callback is still held");
        // And it takes no further request.
        let refused = at_once(bench.get("1.bin").into_future());
        assert!(matches!(refused, Err(Error::Closed)));
        assert_eq!((client.unfinished(), bench.tap.live()), (0, 0));
    });
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The loop is closed, so nothing can be waited for.
fn at_once<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("it is ready")
}

#[test]
fn a_panic_hurt_more_than_its_own_request() {
    on_every_bench(|bench| {
        let panics = Rc::new(Cell::new(0));
        let seen = Rc::clone(&panics);
        bench.io_loop.set_exception_handler(move |_| seen.set(seen.get() + 1));
        let failed = Rc::new(RefCell::new(Vec::new()));
        let log = |name| {
            let failed = Rc::clone(&failed);
            move |result: Result<_, Error>| {
                let error = result.map(drop).unwrap_err();
                assert!(matches!(error, Error::Panicked), "{name}: {error}");
                failed.borrow_mut().push(name);
            }
        };
        let panicking = |_: &[u8]| -> io::Result<()> { panic!("on purpose") };
        bench.get("2.bin").on_chunk(panicking).send(log("chunk"));
        bench.get("1.bin").on_chunk(panicking).send(log("last chunk"));
        bench.get("2.bin").on_progress(|_| panic!("on purpose")).send(log("progress"));
        let stream =
            stream::poll_fn(|_| -> Poll<Option<io::Result<&str>>> { panic!("on purpose") });
        let post = direct(bench.client().post(&bench.server.url("1.bin")));
        post.body_stream(stream, None).send(log("stream"));
        bench.get("2.bin").send(|_| panic!("on purpose"));
        bench.start(bench.get("1.bin"), SMALL);
        bench.start(bench.get("2.bin"), LARGE);
        bench.run();
        bench.drive_until(|| bench.client().unfinished() == 0 && failed.borrow().len() == 4);
        bench.drive_until(|| panics.get() == 5);
        assert_came(bench.ended());
        bench.assert_clean();
    });
}

/// Panics when it is dropped.
struct Thorn;

impl Drop for Thorn {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_callback_whose_destructor_panics_left_who_awaits_its_request_asleep() {
    on_every_bench(|bench| {
        bench.io_loop.set_exception_handler(|_| ());
        let thorn = Thorn;
        let request = bench.get("1.bin").on_chunk(move |_| {
            let _thorn = &thorn;
            Ok(())
        });
        bench.block_on(async {
            let mut response = request.await.unwrap();
            assert_eq!(response.chunk().await.unwrap(), None);
        });
        bench.assert_clean();
    });
}

#[test]
fn a_panic_while_a_queued_request_is_configured_stopped_the_queue() {
    on_every_bench(|bench| {
        bench.limit(Client::builder().max_requests(1));
        let panics = Rc::new(Cell::new(0));
        let seen = Rc::clone(&panics);
        bench.io_loop.set_exception_handler(move |_| seen.set(seen.get() + 1));
        bench.start(bench.get("1.bin"), SMALL);
        let panicked = bench.get("1.bin").configure(|_| panic!("on purpose"));
        let panicked = bench.io_loop.spawn(async move { panicked.await.map(drop) });
        bench.block_on(turn(&bench.io_loop));
        bench.start(bench.get("2.bin"), LARGE);
        bench.run();
        assert!(matches!(bench.block_on(panicked).unwrap(), Err(Error::Panicked)));
        assert_eq!(panics.get(), 1);
        assert_came(bench.ended());
        bench.assert_clean();
    });
}

#[test]
fn a_waker_that_calls_back_met_a_borrow() {
    // Whoever is woken polls, starts and cancels on the spot, as some executors do.
    on_every_bench(|bench| {
        let client = bench.client();
        let url = bench.server.url("2.bin");
        bench.block_on(async {
            let mut first = pin!(direct(client.get(&url)).into_future());
            let mut second = Some(direct(client.get(&url)).into_future());
            poll_fn(|cx| {
                let answer = first.as_mut().poll(cx);
                let has_ended = second.as_mut().map(|it| Pin::new(it).poll(cx).is_ready());
                if answer.is_ready() || has_ended == Some(true) {
                    // Within the wake of the one or of the other.
                    second = None;
                }
                answer
            })
            .await
            .unwrap();
        });
        assert!(IOLoop::current().is_none());
        drop(client);
        bench.assert_clean();
    });
}
