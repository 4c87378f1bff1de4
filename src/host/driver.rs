//! Driving a loop: turn after turn, parked in its own descriptor or as a future of its host.

use std::future::Future;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::engine::queue::Other;
use crate::engine::tasks::TaskWaker;
use crate::engine::tuning::{LEAVE_HOST_AFTER, LEAVE_HOST_PER_WATCH};
use crate::engine::turn::{Goal, Turned, Wait};
use crate::engine::{Engine, local};
use crate::host::backend::Driving;
use crate::host::hosting::Hosting;
use crate::host::jobs::Jobs;
use crate::reactor::callback::Caller;

/// How a run ended.
pub(crate) enum RunEnd {
    /// The future of the run is done.
    Done,
    /// `stop` was called.
    Stopped,
    /// The poller or the host failed.
    Failed(io::Error),
}

/// A run until `stop`.
pub(crate) struct Endless<'a>(pub(crate) &'a Hosting);

impl Goal for Endless<'_> {
    fn begin(&mut self, _: &Engine) {}

    fn poll(&mut self) {}

    fn location(&self) -> Option<Caller> {
        None
    }

    fn poll_runtime(&mut self, engine: &Engine) {
        self.0.poll_tasks(engine);
    }

    fn is_done(&self) -> bool {
        false
    }
}

/// A run until nothing is left that the loop waits for.
pub(crate) struct UntilEmpty<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) hosting: &'a Hosting,
    pub(crate) jobs: &'a Jobs,
}

impl Goal for UntilEmpty<'_> {
    fn begin(&mut self, engine: &Engine) {
        engine.set_ends_when_empty(true);
    }

    fn poll(&mut self) {}

    fn location(&self) -> Option<Caller> {
        None
    }

    fn poll_runtime(&mut self, engine: &Engine) {
        self.hosting.poll_tasks(engine);
    }

    fn is_done(&self) -> bool {
        // A job leaves its value in the inbox before it is not counted any more, so it is asked
        // first.
        self.jobs.count() == 0 && self.engine.is_empty()
    }
}

/// A run until a future is done.
pub(crate) struct Completion<'a, F: Future> {
    hosting: &'a Hosting,
    future: Pin<&'a mut Option<F>>,
    task: Arc<TaskWaker>,
    waker: Waker,
    location: Caller,
    pub(crate) result: Option<thread::Result<F::Output>>,
}

impl<'a, F: Future> Completion<'a, F> {
    pub(crate) fn new(
        engine: &Engine,
        hosting: &'a Hosting,
        location: Caller,
        future: Pin<&'a mut Option<F>>,
    ) -> Self {
        let task = TaskWaker::scheduled(Arc::clone(engine.inbox()), None);
        let waker = Waker::from(Arc::clone(&task));
        Completion { hosting, future, waker, task, location, result: None }
    }
}

impl<F: Future> Goal for Completion<'_, F> {
    fn begin(&mut self, engine: &Engine) {
        engine.push_other(Other::Main);
    }

    fn poll(&mut self) {
        if self.result.is_some() || !self.task.begin_poll() {
            return;
        }
        let mut cx = Context::from_waker(&self.waker);
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(value)) => self.result = Some(Ok(value)),
            Err(payload) => self.result = Some(Err(payload)),
        }
    }

    fn location(&self) -> Option<Caller> {
        Some(self.location)
    }

    fn poll_runtime(&mut self, engine: &Engine) {
        self.hosting.poll_tasks(engine);
    }

    fn is_done(&self) -> bool {
        self.result.is_some()
    }
}

/// Drives a loop to the end of one run.
#[must_use = "a loop runs only while it is driven"]
pub(crate) struct Driver<'a> {
    engine: &'a Rc<Engine>,
    hosting: &'a Hosting,
    goal: &'a mut dyn Goal,
    /// How the run has ended.
    pub(crate) end: Option<RunEnd>,
    begun: bool,
    /// The last poll found nothing to do, and the host watches the descriptor. Cleared by the next
    /// poll.
    asleep: bool,
    /// The number of calls of watches at the last sleep.
    events_at_sleep: u64,
    /// The clock of a test is about to jump, and the host had its turn before. Cleared by the next
    /// turn.
    yielded: bool,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        engine: &'a Rc<Engine>,
        hosting: &'a Hosting,
        goal: &'a mut dyn Goal,
    ) -> Self {
        Driver {
            engine,
            hosting,
            goal,
            end: None,
            begun: false,
            asleep: false,
            events_at_sleep: engine.counters.events.get(),
            yielded: false,
        }
    }

    /// Makes one turn, or several up to the next that has to poll, and notes whether the run ends
    /// with it. Returns whether there was nothing to do.
    #[inline(always)]
    fn turn(&mut self, wait: Wait) -> io::Result<bool> {
        let Driver { engine, hosting, goal, .. } = self;
        let Turned { busy, idle } = engine.turn(wait, *goal)?;
        if busy && engine.has_queued() {
            engine.turn_on(*goal);
        }
        if engine.is_astray() {
            hosting.renew(engine)?;
        }
        // Both are asked: a stop that arrives with the end must not be left for the next run.
        let (stopped, done) = (engine.take_stop(), goal.is_done());
        if done || stopped {
            self.end = Some(if done { RunEnd::Done } else { RunEnd::Stopped });
        }
        Ok(idle)
    }

    /// Makes turns until the run ends, there is nothing to do, or it is the host's turn.
    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (engine, hosting) = (self.engine, self.hosting);
        let _current = local::enter(engine);
        engine.rouse();
        engine.after_wake();
        let slept = mem::replace(&mut self.asleep, false);
        // While the loop is not registered it asks no host until there is nothing to do. Nor does
        // it where messages have come: it runs them, and asks before its next sleep, where an exact
        // host says what has become ready.
        let exact = slept && hosting.is_exact();
        let posted = exact && engine.inbox().is_filled();
        let unready = slept
            && !posted
            && hosting.is_registered()
            && hosting.poll_ready(engine, cx)?.is_pending();
        let mut wait = if posted || (unready && exact) {
            // The loop was woken, but by no descriptor; its deadline is one.
            engine.budget.renew(engine.has_queued());
            Wait::Quiet
        } else {
            // So the first turn polls and renews the budget. No other turn polls before the loop
            // has yielded.
            engine.budget.spend();
            Wait::Never
        };
        loop {
            let idle = self.turn(wait)?;
            if self.end.is_some() {
                return Poll::Ready(Ok(()));
            }
            let has_yielded = mem::replace(&mut self.yielded, false);
            // After a quiet turn, no other turn is needed to find nothing.
            let idle = idle || (matches!(wait, Wait::Quiet) && engine.rests());
            if idle && engine.timers.can_jump() {
                if !has_yielded {
                    self.yielded = true;
                    hosting.yield_now(cx);
                    return Poll::Pending;
                }
                engine.jump();
            } else if idle {
                if engine.before_sleep() {
                    // The host is asked before each sleep, whatever it said before: this loop's
                    // wake may have been lost meanwhile, as in a nested `block_on` of a callback.
                    if hosting.poll_ready(engine, cx)?.is_ready() {
                        // The host has said so once, and does not say it again.
                        wait = Wait::Never;
                    } else if engine.sleep(cx.waker())? {
                        self.asleep = true;
                        self.events_at_sleep = engine.counters.events.get();
                        return Poll::Pending;
                    }
                }
                engine.after_wake();
                // A loop that its hooks keep awake gives way to its host as well.
                engine.budget.charge(1);
            }
            if engine.budget.is_spent() {
                let events = engine.counters.events.get() - self.events_at_sleep;
                let spell = LEAVE_HOST_AFTER + LEAVE_HOST_PER_WATCH * engine.watches() as u64;
                if events >= spell {
                    hosting.deregister(engine);
                }
                // The loop is still driven, so what is queued until the next poll needs no wake.
                hosting.yield_now(cx);
                return Poll::Pending;
            }
        }
    }
}

impl Driving for Driver<'_> {
    fn park(&mut self) {
        let (engine, hosting) = (self.engine, self.hosting);
        self.goal.begin(engine);
        let entered = hosting.enter(|| {
            let _current = local::enter(engine);
            engine.rouse();
            engine.after_wake();
            engine.budget.spend();
            // A run for something that is there already makes one turn, and does not wait in it.
            let mut wait = if self.goal.is_done() { Wait::Never } else { Wait::Forever };
            while self.end.is_none() {
                match self.turn(mem::replace(&mut wait, Wait::Forever)) {
                    Ok(idle) if idle && self.end.is_none() => engine.jump(),
                    Ok(_) => {}
                    Err(error) => self.end = Some(RunEnd::Failed(error)),
                }
            }
            engine.leave();
        });
        if let Err(error) = entered {
            self.end = Some(RunEnd::Failed(error));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !mem::replace(&mut self.begun, true) {
            self.goal.begin(self.engine);
        }
        let hosting = self.hosting;
        match hosting.enter(|| self.poll_turns(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(()))) => {}
            Ok(Poll::Ready(Err(error))) | Err(error) => self.end = Some(RunEnd::Failed(error)),
        }
        self.engine.leave();
        Poll::Ready(())
    }
}
