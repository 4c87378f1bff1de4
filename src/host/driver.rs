//! How a loop is driven: turn after turn, parked in its own descriptor or as a future of its host.

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
use crate::engine::turn::{Goal, Turned, Wait};
use crate::engine::{Engine, local};
use crate::host::backend::Driving;
use crate::host::hosting::Hosting;
use crate::reactor::callback::Caller;

/// After how many calls of watches without a rest the loop takes its descriptor out of the host's reactor, until there is
/// nothing to do.
///
/// While it is there, every event wakes the host's reactor as well, for nothing: that is 15 to 60 % of a small event.
/// But to put it back the kernel goes through all watches, at about a tenth of such an event each, under a lock of the
/// whole system. So a spell has to be long enough for this to be a small part of it: a twentieth at most.
fn worth_leaving(engine: &Engine) -> u64 {
    1024 + 2 * engine.watches() as u64
}

/// How a drive ended.
pub(crate) enum Ended {
    /// What it was for is done.
    Done,
    /// `stop` was called.
    Stopped,
    /// The poller or the host failed.
    Failed(io::Error),
}

/// To run until `stop`.
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

/// To run until a future is done.
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
        if self.result.is_some() {
            return;
        }
        self.task.begin_poll();
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

/// A loop that is about to be driven, to the end of a run.
#[must_use = "a loop runs only while it is driven"]
pub(crate) struct Turns<'a> {
    engine: &'a Rc<Engine>,
    hosting: &'a Hosting,
    goal: &'a mut dyn Goal,
    /// How it ended, once it has.
    pub(crate) ended: Option<Ended>,
    begun: bool,
    /// The last poll ended with nothing to do, and with the host watching the descriptor.
    asleep: bool,
    /// How many calls of watches there had been when there was last nothing to do.
    events: u64,
    /// The host has had its turn since there was something to do.
    rested: bool,
}

impl<'a> Turns<'a> {
    pub(crate) fn new(
        engine: &'a Rc<Engine>,
        hosting: &'a Hosting,
        goal: &'a mut dyn Goal,
    ) -> Self {
        let events = engine.counters.events.get();
        Turns {
            engine,
            hosting,
            goal,
            ended: None,
            begun: false,
            asleep: false,
            events,
            rested: false,
        }
    }

    /// Runs turns until there is nothing to do, or it is the host's turn.
    fn turns(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ended>> {
        let Turns { engine, hosting, goal, asleep, events, rested, .. } = self;
        let _current = local::enter(engine);
        engine.rouse();
        engine.after_wake();
        let slept = mem::replace(asleep, false);
        // Out of the host's reactor it stays there until there is nothing to do.
        let unready =
            slept && hosting.is_registered() && hosting.poll_ready(engine, cx)?.is_pending();
        let quiet = unready && hosting.is_exact();
        // What woke the loop was no descriptor, and its deadline is one.
        let mut wait = if quiet {
            engine.budget.renew(engine.has_queued());
            Wait::Quiet
        } else {
            // So the first turn polls, and renews it; no other one does until the loop has yielded.
            engine.budget.spend();
            Wait::Never
        };
        loop {
            let turn = turn(engine, hosting, *goal, wait)?;
            if let Some(end) = turn.end {
                return Poll::Ready(Ok(end));
            }
            let has_rested = mem::replace(rested, false);
            // After a quiet turn there is no need for another one to find nothing.
            let idle = turn.idle || (matches!(wait, Wait::Quiet) && engine.rests());
            if idle && engine.timers.can_jump() {
                if !has_rested {
                    *rested = true;
                    hosting.yield_now(cx);
                    return Poll::Pending;
                }
                engine.jump();
            } else if idle {
                if engine.before_sleep() {
                    // Asked before each sleep, whatever it said before: what told this loop of its descriptor
                    // may have been lost meanwhile, as in a nested `block_on` of a callback.
                    if hosting.poll_ready(engine, cx)?.is_ready() {
                        // The host will not say so again.
                        wait = Wait::Never;
                    } else if engine.sleep(cx.waker())? {
                        *asleep = true;
                        *events = engine.counters.events.get();
                        return Poll::Pending;
                    }
                }
                engine.after_wake();
            }
            if engine.budget.is_spent() {
                if engine.counters.events.get() - *events >= worth_leaving(engine) {
                    hosting.deregister(engine);
                }
                // Still driven: what is queued until the next poll need not be rung for.
                hosting.yield_now(cx);
                return Poll::Pending;
            }
        }
    }
}

impl Driving for Turns<'_> {
    fn park(&mut self) {
        let Turns { engine, hosting, goal, ended, .. } = self;
        goal.begin(engine);
        let end = hosting.enter(|| {
            let _current = local::enter(engine);
            engine.rouse();
            engine.after_wake();
            engine.budget.spend();
            let end = loop {
                match turn(engine, hosting, *goal, Wait::Forever) {
                    Ok(Turn { end: Some(end), .. }) => break end,
                    Ok(turn) if turn.idle => engine.jump(),
                    Ok(_) => {}
                    Err(error) => break Ended::Failed(error),
                }
            };
            engine.leave();
            end
        });
        *ended = Some(end.unwrap_or_else(Ended::Failed));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun {
            self.begun = true;
            self.goal.begin(self.engine);
        }
        let hosting = self.hosting;
        match hosting.enter(|| self.turns(cx)).unwrap_or_else(|error| Poll::Ready(Err(error))) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(end) => {
                self.engine.leave();
                self.ended = Some(end.unwrap_or_else(Ended::Failed));
            }
        }
        Poll::Ready(())
    }
}

struct Turn {
    idle: bool,
    end: Option<Ended>,
}

/// One turn, or several, up to the next that has to poll; and what follows from them.
#[inline(always)]
fn turn(engine: &Engine, hosting: &Hosting, goal: &mut dyn Goal, wait: Wait) -> io::Result<Turn> {
    let Turned { busy, idle } = engine.turn(wait, goal)?;
    if busy && engine.has_queued() {
        engine.turn_on(goal);
    }
    if engine.is_astray() {
        hosting.renew(engine)?;
    }
    // Both are asked: a stop that comes with the end must not be left for the next run.
    let (stopped, done) = (engine.take_stop(), goal.is_done());
    let end = match (done, stopped) {
        (true, _) => Some(Ended::Done),
        (false, true) => Some(Ended::Stopped),
        (false, false) => None,
    };
    Ok(Turn { idle, end })
}
