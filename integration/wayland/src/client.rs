//! The recipe: read in the reader, dispatch and flush in the hook, and prepare no read across a
//! sleep.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::{Guard, Reactor, Watch};

use crate::ffi::{Display, Sync, Watched};

type Callback = Box<dyn FnOnce()>;

/// A connection to a compositor, on any reactor that has hooks. Dropped, it is closed.
///
/// It holds the reactor: pass a [`WeakIOLoop`](ioloop::WeakIOLoop) where callbacks of the loop hold
/// the client.
pub struct Client<R: Reactor + 'static> {
    reactor: R,
    display: Watched<Guard<Watch>>,
    waiting: RefCell<BTreeMap<Sync, Callback>>,
    hook: RefCell<Option<Guard<Hook>>>,
}

impl<R: Reactor + 'static> Client<R> {
    /// A client on one end of a connection.
    ///
    /// # Errors
    ///
    /// Those of libwayland, and of watching its descriptor;
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the reactor has no hooks.
    pub fn connect(reactor: R, stream: UnixStream) -> io::Result<Rc<Self>> {
        let client = Rc::new(Client {
            reactor,
            display: Watched::new(Display::connect(stream)?),
            waiting: RefCell::default(),
            hook: RefCell::default(),
        });
        // A `Weak`: the loop holds the closures, and they must not hold the client.
        let this = Rc::downgrade(&client);
        client.display.watch(|lent| {
            let reader = client.reactor.add_reader(lent, move |_| {
                if let Some(client) = this.upgrade() {
                    client.read();
                }
            });
            reader.map(Watch::remove_on_drop)
        })?;
        let this = Rc::downgrade(&client);
        let hook = client.reactor.before_sleep(move || {
            if let Some(client) = this.upgrade() {
                client.flush();
            }
            BeforeSleep::Sleep
        })?;
        client.hook.replace(Some(hook.remove_on_drop()));
        Ok(client)
    }

    /// In the reader: what was prepared is read at once, and nothing is prepared while the loop
    /// sleeps or others run.
    fn read(&self) {
        let display = &self.display.display;
        let read = display.dispatch_pending().and_then(|_| display.read());
        self.dispatch(read);
    }

    /// In the hook: others may have read what is dispatched here, and all may have left something
    /// to be written.
    fn flush(&self) {
        self.dispatch(Ok(()));
        match self.display.display.flush() {
            Ok(true) => self.display.end_others(),
            Ok(false) if !self.display.has_others() => self.flush_when_writable(),
            Ok(false) => {}
            Err(error) => self.lost(&error),
        }
    }

    /// The writer needs do no more than end the sleep: the hook comes before the next.
    fn flush_when_writable(&self) {
        let watched = self
            .display
            .watch(|lent| self.reactor.add_writer(lent, |_| ()).map(Watch::remove_on_drop));
        if let Err(error) = watched {
            self.lost(&error);
        }
    }

    fn dispatch(&self, read: io::Result<()>) {
        let dispatched = read.and_then(|()| self.display.display.dispatch_pending());
        self.call_back();
        if let Err(error) = dispatched {
            self.lost(&error);
        }
    }

    /// Queues the callbacks of what was answered: their panics are not libwayland's, nor the
    /// reader's.
    fn call_back(&self) {
        for sync in self.display.display.take_done() {
            let callback = self.waiting.borrow_mut().remove(&sync);
            if let Some(callback) = callback {
                self.reactor.call_soon(callback);
            }
        }
    }

    fn lost(&self, error: &io::Error) {
        eprintln!("the compositor is lost: {error}");
        drop(self.hook.take());
        let waiting = self.waiting.take();
        drop(waiting);
    }

    /// Calls back on the loop once the compositor has handled everything before.
    pub fn sync(&self, callback: impl FnOnce() + 'static) {
        let sync = self.display.display.sync();
        self.waiting.borrow_mut().insert(sync, Box::new(callback));
    }

    /// Blocks until the compositor has handled everything, as other code of the thread may at any
    /// time.
    ///
    /// # Errors
    ///
    /// Those of libwayland.
    pub fn round_trip(&self) -> io::Result<()> {
        let done = self.display.display.round_trip();
        self.call_back();
        done
    }

    /// Blocks until something has come, and leaves it in libwayland's queue, as other code of the
    /// thread may.
    ///
    /// # Errors
    ///
    /// Those of libwayland.
    pub fn read_ahead(&self) -> io::Result<()> {
        let display = &self.display.display;
        display.flush()?;
        display.wait()?;
        display.read()
    }
}
