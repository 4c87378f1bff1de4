//! tokio's clock, sockets and synchronisation, used from callbacks and from tasks of a loop.

use std::future::pending;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use ioloop::{IOLoop, Reactor, deferred};
use ioloop_with_http::{Polled, Site, on_every_host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, interval, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs `code` in a callback of the loop, in tokio's context.
async fn in_a_callback<T: 'static>(site: &Site, code: impl FnOnce() -> T + 'static) -> T {
    let (resolver, value) = deferred();
    let again = site.clone();
    site.io_loop.call_soon(move || assert!(resolver.resolve(again.enter(code)).is_ok()));
    value.await.unwrap()
}

#[test]
fn time() {
    on_every_host(async |site| {
        // In a task.
        let task = site.io_loop.spawn(site.here(async {
            assert!(timeout(HOUR, sleep(MS)).await.is_ok());
            assert!(timeout(MS, pending::<()>()).await.is_err());
            let mut ticks = interval(MS);
            for _ in 0..3 {
                ticks.tick().await;
            }
            sleep(MS).await;
        }));
        task.await.unwrap();

        // Made in a callback, moved in another, awaited in a task.
        let mut late = Box::pin(in_a_callback(site, || sleep(HOUR)).await);
        let late = in_a_callback(site, move || {
            late.as_mut().reset(Instant::now() + MS);
            late
        });
        site.io_loop.spawn(site.here(late.await)).await.unwrap();

        // Given up once it waits: nobody is left to be woken.
        let never = site.io_loop.spawn(site.here(async { sleep(HOUR).await }));
        site.io_loop.spawn(async {}).await.unwrap();
        never.cancel();
        assert!(never.await.unwrap_err().is_cancelled(), "on {:?}", site.host);
    });
}

#[test]
fn sockets() {
    on_every_host(async |site| {
        for far in Polled::ALL {
            // A listener that a callback takes over from the standard library.
            let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let listener = in_a_callback(site, || TcpListener::from_std(listener).unwrap()).await;
            let echo = site.start(far, async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.unwrap()
            });
            let task = site.io_loop.spawn(site.here(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let mut answer = Vec::new();
                stream.write_all(b"there and back").await.unwrap();
                stream.shutdown().await.unwrap();
                stream.read_to_end(&mut answer).await.unwrap();
                answer
            }));
            assert_eq!(task.await.unwrap(), b"there and back", "on {:?}", site.host);
            assert_eq!(echo.await.unwrap(), 14, "on {:?}", site.host);
        }

        // Waited for in a task, read and written in callbacks.
        let (ours, theirs) = in_a_callback(site, || UnixStream::pair().unwrap()).await;
        site.here(ours.writable()).await.unwrap();
        in_a_callback(site, move || assert_eq!(ours.try_write(b"x").unwrap(), 1)).await;
        site.here(theirs.readable()).await.unwrap();
        let mut theirs = in_a_callback(site, move || {
            assert_eq!(theirs.try_read(&mut [0; 8]).unwrap(), 1);
            theirs
        })
        .await;
        // Its peer has gone with the callback that wrote.
        let end = site.here(async move { theirs.read(&mut [0; 8]).await });
        assert_eq!(end.await.unwrap(), 0, "on {:?}", site.host);
    });
}

#[test]
fn channels() {
    const NUMBERS: u32 = 1000;
    on_every_host(async |site| {
        for far in Polled::ALL {
            // From callbacks, which cannot wait, through a task at either place, back into a task
            // of the loop.
            let (first, mut inside) = mpsc::unbounded_channel();
            let (sender, mut last) = mpsc::channel(7);
            let through = site.start(far, async move {
                while let Some(n) = inside.recv().await {
                    sender.send(n).await.unwrap();
                }
            });
            let taken = site.io_loop.spawn(site.here(async move {
                let mut taken = Vec::new();
                while let Some(n) = last.recv().await {
                    taken.push(n);
                }
                taken
            }));
            for n in 0..NUMBERS {
                let first = first.clone();
                site.io_loop.call_soon(move || first.send(n).unwrap());
            }
            drop(first);
            assert_eq!(taken.await.unwrap(), Vec::from_iter(0..NUMBERS), "on {:?}", site.host);
            through.await.unwrap();
        }
    });
}

#[test]
fn notifications() {
    on_every_host(async |site| {
        for far in Polled::ALL {
            let (there, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (noted, noting) = (Arc::clone(&there), Arc::clone(&back));
            let answers = site.start(far, async move {
                for _ in 0..100 {
                    noted.notified().await;
                    noting.notify_one();
                }
            });
            for _ in 0..100 {
                let there = Arc::clone(&there);
                in_a_callback(site, move || there.notify_one()).await;
                site.here(back.notified()).await;
            }
            answers.await.unwrap();
        }

        // One that is given up after it was notified hands the notification on.
        let notify = Arc::new(Notify::new());
        let waiter = || {
            let notify = Arc::clone(&notify);
            site.io_loop.spawn(site.here(async move { notify.notified().await }))
        };
        let (first, second) = (waiter(), waiter());
        site.io_loop.spawn(async {}).await.unwrap();
        notify.notify_one();
        first.cancel();
        assert!(first.await.unwrap_err().is_cancelled(), "on {:?}", site.host);
        second.await.unwrap();
    });
}

#[test]
fn mutexes() {
    const EACH: u32 = 200;
    on_every_host(async |site| {
        let count = Arc::new(Mutex::new(0));
        let counting = || {
            let count = Arc::clone(&count);
            async move {
                for _ in 0..EACH {
                    let mut count = count.lock().await;
                    let before = *count;
                    // Held while others run.
                    tokio::task::yield_now().await;
                    *count = before + 1;
                }
            }
        };
        let places = [Polled::ByTheLoop, Polled::ByTheLoop, Polled::ByTokio, Polled::ByTokio];
        let tasks = places.map(|place| site.start(place, counting()));
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*count.lock().await, 4 * EACH, "on {:?}", site.host);

        // A callback cannot wait for it; a task that waits and is given up stands in nobody's way.
        let held = Arc::clone(&count).lock_owned().await;
        let tried = Arc::clone(&count);
        assert!(in_a_callback(site, move || tried.try_lock().is_err()).await);
        let (given_up, patient) = (site.start(Polled::ByTheLoop, counting()), counting());
        let patient = site.start(Polled::ByTheLoop, patient);
        site.io_loop.spawn(async {}).await.unwrap();
        drop(given_up);
        in_a_callback(site, || drop(held)).await;
        patient.await.unwrap();
        assert_eq!(*count.lock().await, 5 * EACH, "on {:?}", site.host);
    });
}

#[test]
fn a_callback_on_tokio_is_in_its_context() {
    on_every_host(async |site| {
        let (resolver, entered) = deferred();
        let id = site.tokio.id();
        site.io_loop.call_soon(move || {
            let here = tokio::runtime::Handle::try_current().ok().map(|handle| handle.id());
            assert!(IOLoop::current().is_some());
            assert!(resolver.resolve(here).is_ok());
        });
        let expected = site.host.is_tokio().then_some(id);
        assert_eq!(entered.await.unwrap(), expected, "on {:?}", site.host);
    });
}
