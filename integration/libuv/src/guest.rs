//! A libuv loop as a guest of an [`IOLoop`]: copy this file, and bring your own bindings.
//!
//! libuv's descriptor is not all that it waits for. It tells the kernel of a new handle only when
//! it is run, and its timers are a time-out of its wait. So it is run before each sleep as well,
//! and its time-out is a timer of the loop.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::hooks::{BeforeSleep, Hook};
use ioloop::{Guard, IOLoop, Reactor, TimerHandle, Watch, WeakIOLoop};

use crate::ffi::Uv;

/// Runs a libuv loop in the turns of an [`IOLoop`], until it is dropped.
pub struct Guest {
    _watch: Guard<Watch>,
    _hook: Guard<Hook>,
    inside: Rc<Inside>,
}

struct Inside {
    uv: Uv,
    io_loop: WeakIOLoop,
    /// libuv's time-out.
    timer: RefCell<Option<Guard<TimerHandle>>>,
}

impl Guest {
    /// Takes in a libuv loop.
    ///
    /// # Errors
    ///
    /// Those of duplicating its descriptor and of watching it.
    pub fn new(io_loop: &IOLoop, uv: Uv) -> io::Result<Guest> {
        let descriptor = uv.descriptor()?;
        let timer = RefCell::default();
        let inside = Rc::new(Inside { uv, io_loop: io_loop.downgrade(), timer });
        let guest = Rc::downgrade(&inside);
        let watch = io_loop.add_reader(descriptor, {
            let guest = Weak::clone(&guest);
            move |_| {
                if let Some(inside) = guest.upgrade() {
                    inside.uv.run_nowait();
                }
            }
        })?;
        let hook = io_loop.before_sleep(move || {
            guest.upgrade().map_or(BeforeSleep::Sleep, |inside| inside.before_sleep())
        });
        Ok(Guest { _watch: watch.remove_on_drop(), _hook: hook.remove_on_drop(), inside })
    }

    /// The libuv loop.
    pub fn uv(&self) -> &Uv {
        &self.inside.uv
    }
}

impl Inside {
    fn before_sleep(&self) -> BeforeSleep {
        self.uv.run_nowait();
        let timer = match self.uv.timeout() {
            Some(Duration::ZERO) => return BeforeSleep::StayAwake,
            // It need do no more than end the sleep: this hook comes before the next.
            Some(timeout) => Some(self.io_loop.call_later(timeout, || ()).cancel_on_drop()),
            None => None,
        };
        self.timer.replace(timer);
        BeforeSleep::Sleep
    }
}
