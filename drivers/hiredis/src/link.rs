//! A connection that is made again when it is lost.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ioloop::{Guard, Reactor, TimerHandle};

use crate::driver::{Driver, Events, closed_loop};
use crate::error::Error;
use crate::options::Options;

/// Who uses a link. Nothing is borrowed while it is called.
pub(crate) trait User<R: Reactor + 'static> {
    /// There is a connection.
    fn is_up(&self, driver: &Driver<R>);

    /// There is none, for a while; or for good, where the link [has ended](Link::over).
    fn is_down(&self, why: &Error);
}

/// Keeps a connection up, until it is dropped or its loop is closed.
pub(crate) struct Link<R: Reactor + 'static> {
    reactor: R,
    options: Options,
    user: Weak<dyn User<R>>,
    driver: RefCell<Option<Rc<Driver<R>>>>,
    is_open: Cell<bool>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    /// Attempts that failed since the last that did not.
    failures: Cell<u32>,
    /// Why there is no attempt any more.
    end: RefCell<Option<Error>>,
    this: Weak<Self>,
}

impl<R: Reactor + Clone + 'static> Link<R> {
    /// Makes its first attempt in the next turn of the loop.
    pub(crate) fn new(reactor: R, options: Options, user: Weak<dyn User<R>>) -> Rc<Self> {
        let link = Rc::new_cyclic(|this| Link {
            reactor,
            options,
            user,
            driver: RefCell::default(),
            is_open: Cell::new(false),
            timer: Cell::default(),
            failures: Cell::new(0),
            end: RefCell::default(),
            this: this.clone(),
        });
        link.attempt_after(Duration::ZERO);
        link
    }

    /// The connection, while it can be used.
    pub(crate) fn driver(&self) -> Option<Rc<Driver<R>>> {
        let driver = self.driver.borrow();
        driver.as_ref().filter(|driver| self.is_open.get() && driver.over().is_none()).cloned()
    }

    /// Why there is no connection any more.
    pub(crate) fn over(&self) -> Option<Error> {
        self.end.borrow().clone()
    }

    fn attempt_after(&self, wait: Duration) {
        let attempt = Attempt { link: self.this.clone(), has_begun: false };
        let timer = self.reactor.call_later(wait, move || attempt.begin());
        if !timer.is_cancelled() {
            self.timer.set(Some(timer.cancel_on_drop()));
        }
    }

    fn attempt(&self) {
        drop(self.timer.take());
        let (opened, ended) = (self.this.clone(), self.this.clone());
        let ended = move |why: &Error| {
            if let Some(link) = ended.upgrade() {
                link.is_lost(why);
            }
        };
        let events = Events {
            opened: Cell::new(Some(Box::new(move || {
                if let Some(link) = opened.upgrade() {
                    link.is_made();
                }
            }))),
            ended: RefCell::new(vec![Box::new(ended)]),
            is_followed: true,
        };
        match Driver::open(self.reactor.clone(), &self.options, events) {
            Ok(driver) => drop(self.driver.replace(Some(driver))),
            Err(why) => self.is_lost(&why),
        }
    }

    fn is_made(&self) {
        self.failures.set(0);
        self.is_open.set(true);
        if let (Some(driver), Some(user)) = (self.driver(), self.user.upgrade()) {
            user.is_up(&driver);
        }
    }

    fn is_lost(&self, why: &Error) {
        self.is_open.set(false);
        drop(self.driver.take());
        // Before anybody is told, who may ask again.
        match why {
            // This will not change.
            Error::Refused(_) => drop(self.end.replace(Some(why.clone()))),
            // Nor does a loop that is closed, which drops the attempt. One that is not may have no
            // room for a watch now, or has dropped the watch since who was woken has panicked.
            _ => {
                let failures = self.failures.replace(self.failures.get().saturating_add(1));
                self.attempt_after(self.wait(failures));
            }
        }
        // Told so already, if the loop has closed meanwhile.
        if let Some(user) = self.user.upgrade() {
            user.is_down(why);
        }
    }

    /// How long to wait after so many failures.
    fn wait(&self, failures: u32) -> Duration {
        let (first, longest) = self.options.backoff;
        let wait = first.saturating_mul(2_u32.saturating_pow(failures)).min(longest);
        // A hasher's keys are random.
        let random = RandomState::new().build_hasher().finish() as u32;
        wait - (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    fn end(&self, why: Error) {
        self.end.borrow_mut().get_or_insert_with(|| why.clone());
        if let Some(user) = self.user.upgrade() {
            user.is_down(&why);
        }
    }
}

impl<R: Reactor + 'static> Drop for Link<R> {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.end(Error::Closed);
        }
    }
}

/// In the closure of the timer. The loop drops that when it is closed: then there is no attempt any
/// more.
struct Attempt<R: Reactor + Clone + 'static> {
    link: Weak<Link<R>>,
    has_begun: bool,
}

impl<R: Reactor + Clone + 'static> Attempt<R> {
    fn begin(mut self) {
        self.has_begun = true;
        if let Some(link) = self.link.upgrade() {
            link.attempt();
        }
    }
}

impl<R: Reactor + Clone + 'static> Drop for Attempt<R> {
    fn drop(&mut self) {
        if self.has_begun {
            return;
        }
        if let Some(link) = self.link.upgrade() {
            link.end(closed_loop());
        }
    }
}
