//! Values that go from tokio to the loop, on to smol, and back to tokio, a million times.
//!
//! `LAPS` sets another number than the million, which takes some ten seconds; `--release` has it
//! done in two.

use std::sync::Arc;
use std::thread;

use ioloop::{JoinError, bridge};
use ioloop_with_three_runtimes::{Runtimes, from_environment};
use smol::channel;
use tokio::sync::{Semaphore, mpsc};

const MILLION: u64 = 1_000_000;

/// How many values are on their way at a time.
const AT_ONCE: u64 = 1000;

/// Takes a value once round, from tokio to tokio, and adds one on each thread.
async fn lap(runtimes: &Runtimes, value: u64) -> Result<u64, JoinError> {
    let (threads, tokio) = (runtimes.threads(), runtimes.tokio());
    let on_loop = bridge::to_loop(&runtimes.io_loop(), move || async move {
        assert_eq!(thread::current().id(), threads.io_loop);
        let value = value + 1;
        let on_smol = bridge::to_smol(async move {
            assert_eq!(thread::current().id(), threads.smol);
            let value = value + 1;
            let on_tokio = bridge::to_tokio(&tokio, async move {
                assert_eq!(thread::current().id(), threads.tokio);
                value + 1
            });
            on_tokio.await
        });
        on_smol.await?
    });
    on_loop.await?
}

/// Sends so many values round, for so many laps together.
fn walk(laps: u64, values: u64) {
    let runtimes = Arc::new(Runtimes::start().unwrap());
    let walkers = (0..values).map(|walker| {
        let own = laps / values + u64::from(walker < laps % values);
        let again = Arc::clone(&runtimes);
        bridge::to_tokio(&runtimes.tokio(), async move {
            let mut value = 0;
            for n in 1..=own {
                value = lap(&again, value).await.unwrap();
                assert_eq!(value, 3 * n);
            }
            own
        })
    });
    let walkers: Vec<_> = walkers.collect();
    let walked: u64 = walkers.into_iter().map(|walker| smol::block_on(walker).unwrap()).sum();
    assert_eq!(walked, laps);
    assert_eq!(runtimes.loop_metrics().tasks, 0);
}

#[test]
fn a_thousand_values_make_a_million_laps_together() {
    walk(from_environment("LAPS", MILLION), AT_ONCE);
}

/// Here each runtime sleeps until the value comes, so every wake counts.
#[test]
fn one_value_makes_a_hundredth_of_them_alone() {
    walk(from_environment("LAPS", MILLION) / 100, 1);
}

#[test]
fn a_million_values_keep_their_order() {
    let values = from_environment("LAPS", MILLION);
    let runtimes = Runtimes::start().unwrap();
    let (to_smol, on_smol) = channel::unbounded();
    let (to_tokio, mut on_tokio) = mpsc::unbounded_channel();
    let on_their_way = Arc::new(Semaphore::new(AT_ONCE as usize));

    // tokio to the loop, which keeps the order of what one thread posts; from its callbacks to
    // smol.
    let (io_loop, permits) = (runtimes.io_loop(), Arc::clone(&on_their_way));
    let sending = bridge::to_tokio(&runtimes.tokio(), async move {
        for n in 0..values {
            permits.acquire().await.unwrap().forget();
            let to_smol = to_smol.clone();
            io_loop.add_callback(move || to_smol.try_send(n).unwrap()).unwrap();
        }
    });
    // smol to tokio.
    let handing_on = bridge::to_smol(async move {
        while let Ok(n) = on_smol.recv().await {
            to_tokio.send(n).unwrap();
        }
    });
    let receiving = bridge::to_tokio(&runtimes.tokio(), async move {
        let mut next = 0;
        while let Some(n) = on_tokio.recv().await {
            assert_eq!(n, next);
            next += 1;
            on_their_way.add_permits(1);
        }
        next
    });
    assert_eq!(smol::block_on(receiving).unwrap(), values);
    smol::block_on(sending).unwrap();
    smol::block_on(handing_on).unwrap();
}
