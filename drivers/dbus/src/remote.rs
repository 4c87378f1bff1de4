//! Calls from other threads.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dbus::arg::{AppendAll, ReadAll};
use ioloop::{Trigger, deferred};

use crate::connection::method_call;
use crate::driver::{Driver, read_contained};
use crate::error::Error;
use crate::reply::answer_of;

/// A connection as other threads have it: `Send` and `Sync`, and a clone is a share.
///
/// libdbus itself is called on the loop's thread alone. This wakes the loop, many calls at once by
/// one wake.
#[derive(Clone)]
pub struct Remote {
    asked: Arc<Mutex<Asked>>,
    trigger: Trigger,
}

/// What other threads ask for.
struct Asked {
    calls: VecDeque<Call>,
    /// Nobody takes them any more.
    has_ended: bool,
}

struct Call {
    message: dbus::Message,
    answer: Box<dyn FnOnce(Result<dbus::Message, Error>) + Send>,
}

impl Remote {
    pub(crate) fn new(driver: &Rc<Driver>) -> Result<Self, Error> {
        let asked = Arc::new(Mutex::new(Asked { calls: VecDeque::new(), has_ended: false }));
        let taker = Taker { asked: Arc::clone(&asked), driver: Rc::downgrade(driver) };
        let trigger = Trigger::new(driver.reactor(), move || taker.take())
            .map_err(|error| Error::Loop(error.to_string()))?;
        Ok(Remote { asked, trigger })
    }

    /// Calls a method, as [`Connection::call`](crate::Connection::call) does, with the time-out of
    /// the connection. The call goes to the loop at once; any executor may await its reply.
    ///
    /// # Errors
    ///
    /// As for [`Connection::call`](crate::Connection::call), as the future's answer.
    ///
    /// # Panics
    ///
    /// A string among the arguments has a NUL in it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes nothing back.
    pub fn call<A: AppendAll, T: ReadAll + Send + 'static>(
        &self,
        destination: &str,
        path: &str,
        interface: &str,
        method: &str,
        args: A,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<A, T> {
        let (resolver, task) = deferred();
        let answer = move |reply: Result<dbus::Message, Error>| {
            let _ = resolver.resolve(read_contained(reply));
        };
        match method_call(destination, path, interface, method, args) {
            Ok(message) => self.ask(Call { message, answer: Box::new(answer) }),
            Err(error) => answer(Err(error)),
        }
        async move { answer_of(task.await) }
    }

    fn ask(&self, call: Call) {
        {
            let mut asked = lock(&self.asked);
            if !asked.has_ended {
                asked.calls.push_back(call);
            }
            // Dropped otherwise, and so answered with the end.
        }
        // An error is the end of the taker, which has dropped the call.
        let _ = self.trigger.fire();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("waiting", &lock(&self.asked).calls.len()).finish()
    }
}

/// What the loop calls, and drops when it is closed.
struct Taker {
    asked: Arc<Mutex<Asked>>,
    driver: Weak<Driver>,
}

impl Taker {
    fn take(&self) {
        let calls = std::mem::take(&mut lock(&self.asked).calls);
        let Some(driver) = self.driver.upgrade() else { return };
        for call in calls {
            driver.ask(call.message, driver.timeout.get(), call.answer);
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let calls = {
            let mut asked = lock(&self.asked);
            asked.has_ended = true;
            std::mem::take(&mut asked.calls)
        };
        // Answered with the end, outside of the lock: who waits may be polled here.
        drop(calls);
    }
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
