//! A tokio application that is given a loop: for a library with callbacks on a descriptor, and for
//! futures of the loop that are awaited beside tokio's.
//!
//! The library is in the manner of C's: it owns a descriptor, has to be called while that is
//! readable, and must stay on its thread. First the loop runs while one future is awaited; then it
//! runs beside all else, as a task of a `LocalSet`.
//!
//!     cargo run -p try --features tokio --bin attach_tokio

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ioloop::{IOLoop, Lent, Reactor, Watch};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};

use self::sensor::Sensor;

/// What the sensor is fed with: how many values, and how far apart.
const VALUES: u8 = 10;
const PERIOD: Duration = Duration::from_millis(10);

// The multi-thread runtime serves as well: what `main` awaits stays on its thread.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("on tokio, attached:");
    while_one_future_is_awaited().await?;
    LocalSet::new().run_until(beside_all_else()).await
}

/// `run_until` drives the loop, and whatever it is given: here tokio's channel, and tasks of both.
async fn while_one_future_is_awaited() -> Result<(), Box<dyn Error>> {
    let io_loop = IOLoop::attach()?;
    let (values, mut received) = mpsc::unbounded_channel();
    let fed = watch(&io_loop, values)?;
    let sum = async {
        let mut sum = 0;
        while let Some(value) = received.recv().await {
            sum += u32::from(value);
        }
        sum
    };
    // A time-out of the loop's, around a future of tokio's.
    let sum = io_loop.run_until(ioloop::timeout(&io_loop, Duration::from_secs(10), sum)).await??;
    fed.await??;
    println!("  run_until: the values' sum is {sum}");
    expect(sum == (1..=VALUES).map(u32::from).sum())
}

/// The loop is a task beside others of the thread, any of which may await what needs the loop.
async fn beside_all_else() -> Result<(), Box<dyn Error>> {
    let io_loop = IOLoop::attach()?;
    // Begun at once, and awaited at the end.
    let running = tokio::task::spawn_local(io_loop.run());
    let (values, mut received) = mpsc::unbounded_channel();
    let fed = watch(&io_loop, values)?;
    // It is not `Send`, and need not be.
    let ticking = tokio::task::spawn_local({
        let io_loop = io_loop.clone();
        async move {
            let mut ticks = 0;
            loop {
                // A sleep of each, at the same time.
                let both =
                    tokio::join!(ioloop::sleep(&io_loop, PERIOD), tokio::time::sleep(PERIOD));
                match both {
                    (Ok(()), ()) => ticks += 1,
                    (Err(_closed), ()) => return ticks,
                }
            }
        }
    });
    let mut last = 0;
    while let Some(value) = received.recv().await {
        last = value;
    }
    fed.await??;
    io_loop.stop();
    running.await??;
    io_loop.close()?;
    println!("  LocalSet: the last value is {last}, after {} ticks of both", ticking.await?);
    expect(last == VALUES)
}

fn expect(is_right: bool) -> Result<(), Box<dyn Error>> {
    if is_right { Ok(()) } else { Err("it is another one".into()) }
}

/// Has the sensor called while it has something to say, until it ends. A task of tokio's feeds it.
#[expect(unsafe_code, reason = "the sensor's descriptor is the sensor's")]
fn watch(
    io_loop: &IOLoop,
    values: mpsc::UnboundedSender<u8>,
) -> Result<JoinHandle<io::Result<()>>, Box<dyn Error>> {
    let (sensor, theirs) = Sensor::open()?;
    // SAFETY: the callback owns the sensor, which closes its descriptor no earlier than it is
    // dropped; and the loop drops a callback after it has ended its watch.
    let lent = unsafe { Lent::new(sensor.descriptor()) };
    let watch = Rc::new(Cell::new(None::<Watch>));
    // Not a cycle: a `Watch` holds neither its loop nor its callback.
    let own = Rc::clone(&watch);
    let reader = io_loop.add_reader(lent, move |_| {
        while let Some(value) = sensor.next() {
            // The callback is in tokio's context, so `tokio::spawn` would do as well.
            let _ = values.send(value);
        }
        if sensor.is_at_end() {
            // And with it the channel.
            own.take().map(|watch| watch.remove());
        }
    })?;
    watch.set(Some(reader));
    let mut theirs = UnixStream::from_std(theirs)?;
    Ok(tokio::spawn(async move {
        for value in 1..=VALUES {
            theirs.write_all(&[value]).await?;
            tokio::time::sleep(PERIOD).await;
        }
        theirs.shutdown().await
    }))
}

/// The library.
mod sensor {
    use std::cell::Cell;
    use std::io::{self, Read};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;

    pub(crate) struct Sensor {
        socket: UnixStream,
        at_end: Cell<bool>,
    }

    impl Sensor {
        /// A sensor, and what its values are written to.
        pub(crate) fn open() -> io::Result<(Sensor, UnixStream)> {
            let (socket, theirs) = UnixStream::pair()?;
            socket.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            Ok((Sensor { socket, at_end: Cell::new(false) }, theirs))
        }

        pub(crate) fn descriptor(&self) -> RawFd {
            self.socket.as_raw_fd()
        }

        /// The next value, if there is one now.
        pub(crate) fn next(&self) -> Option<u8> {
            let mut value = [0];
            let length = (&self.socket).read(&mut value);
            self.at_end.set(matches!(length, Ok(0)));
            (length.ok()? == 1).then_some(value[0])
        }

        pub(crate) fn is_at_end(&self) -> bool {
            self.at_end.get()
        }
    }
}
