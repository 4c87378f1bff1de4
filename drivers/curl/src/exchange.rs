//! One request and what comes of it: where libcurl's callbacks, the driver and whoever waits for
//! the response meet.
//!
//! libcurl's callbacks note here what has happened, and wake nobody; the driver does that afterwards,
//! for each exchange that was [touched](Exchange::touch). The one exception is a callback that takes
//! the body: it is called inside libcurl, which lends it the bytes only until then.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ioloop::{Guard, Task};

use crate::driver::Panic;
use crate::error::Error;
use crate::head::{Arriving, Head, Line, Timings};
use crate::request::{OnChunk, OnDone, OnProgress, Prepared, Progress};
use crate::upload::Source;

/// How many bytes the reader of a body gets at once, unless libcurl hands out more.
const CHUNK: usize = 64 * 1024;

/// The exchanges that the driver has yet to see to.
pub(crate) type Touched = RefCell<Vec<Rc<Exchange>>>;

/// One request and what comes of it.
pub(crate) struct Exchange {
    pub(crate) url: String,
    /// Its number in the driver, while libcurl has it.
    pub(crate) token: Cell<Option<usize>>,
    /// It is in the client's queue.
    pub(crate) is_waiting: Cell<bool>,
    touched: Rc<Touched>,
    is_touched: Cell<bool>,
    pub(crate) state: RefCell<State>,
}

/// What is known of it.
pub(crate) struct State {
    /// What is sent, until it is.
    pub(crate) prepared: Option<Box<Prepared>>,
    pub(crate) source: Source,
    /// Fills the source from a stream.
    pub(crate) feeding: Option<Guard<Task<()>>>,
    /// Whether libcurl goes where a redirect leads.
    pub(crate) follows: bool,
    arriving: Arriving,
    head: Option<Head>,
    /// The head is complete, and what follows is body.
    has_head: bool,
    chunks: VecDeque<Vec<u8>>,
    buffered: usize,
    /// How many bytes wait for their reader before libcurl has to,
    pub(crate) buffer: usize,
    /// which it does now.
    held_back: bool,
    /// They go to a callback, not to whoever reads the body.
    has_callback: bool,
    received: u64,
    pub(crate) max_body: u64,
    /// Why a callback had libcurl end the transfer,
    failure: Option<Error>,
    /// and what it panicked with, until that is told.
    panic: Option<Panic>,
    end: Option<Result<(), Error>>,
    pub(crate) has_ended: bool,
    waker: Option<Waker>,
    progress: Progress,
    told: Progress,
    pub(crate) timings: Timings,
    pub(crate) calls: Calls,
}

/// Whom the driver calls, if that was asked for.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) on_progress: Option<OnProgress>,
    pub(crate) on_chunk: Option<OnChunk>,
    pub(crate) on_done: Option<OnDone>,
}

/// What the reader of a body gets next.
pub(crate) enum Next {
    /// Bytes; and whether libcurl held some back, for which there is room now.
    Chunk(Vec<u8>, bool),
    /// There is nothing more, because of an error if so.
    End(Result<(), Error>),
    /// Nothing yet.
    Wait,
}

impl Exchange {
    pub(crate) fn new(prepared: Box<Prepared>, calls: Calls, touched: Rc<Touched>) -> Rc<Self> {
        Rc::new(Exchange {
            url: prepared.url.clone(),
            token: Cell::new(None),
            is_waiting: Cell::new(false),
            touched,
            is_touched: Cell::new(false),
            state: RefCell::new(State {
                follows: prepared.redirects != 0,
                // One who is given all of it at once cannot be slower than libcurl.
                buffer: match calls.on_done.is_some() && calls.on_chunk.is_none() {
                    true => usize::MAX,
                    false => prepared.buffer,
                },
                max_body: prepared.max_body,
                prepared: Some(prepared),
                source: Source::default(),
                feeding: None,
                arriving: Arriving::default(),
                head: None,
                has_head: false,
                chunks: VecDeque::new(),
                buffered: 0,
                held_back: false,
                has_callback: calls.on_chunk.is_some(),
                received: 0,
                failure: None,
                panic: None,
                end: None,
                has_ended: false,
                waker: None,
                progress: Progress::default(),
                told: Progress::default(),
                timings: Timings::default(),
                calls,
            }),
        })
    }

    /// Has the driver see to it.
    pub(crate) fn touch(self: &Rc<Self>) {
        if !self.is_touched.replace(true) {
            self.touched.borrow_mut().push(Rc::clone(self));
        }
    }

    /// The driver sees to it now.
    pub(crate) fn is_seen_to(&self) {
        self.is_touched.set(false);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.borrow().has_ended
    }

    /// Notes its end, unless it has one; gives back what of the user's is not needed any more, to be
    /// dropped outside of everything.
    pub(crate) fn finish(self: &Rc<Self>, result: Result<(), Error>) -> impl Sized + use<> {
        let mut state = self.state.borrow_mut();
        if mem::replace(&mut state.has_ended, true) {
            return None;
        }
        if result.is_ok() {
            state.arrived();
        }
        let failure = state.failure.take();
        state.end = Some(failure.map_or(result, Err));
        self.touch();
        let source = mem::take(&mut state.source);
        Some((state.feeding.take(), state.prepared.take(), source))
    }

    /// Ends it without telling anybody.
    pub(crate) fn give_up(self: &Rc<Self>) -> impl Sized + use<> {
        let unneeded = self.finish(Err(Error::Closed));
        let mut state = self.state.borrow_mut();
        let calls = mem::take(&mut state.calls);
        let body = mem::take(&mut state.chunks);
        state.buffered = 0;
        (unneeded, calls, body, state.waker.take())
    }

    /// Whether the head is complete, and the driver has not looked at it yet.
    pub(crate) fn wants_info(&self) -> bool {
        let state = self.state.borrow();
        state.head.as_ref().is_some_and(|head| head.effective_url.is_empty())
    }

    /// Notes what libcurl knows beside the lines that it hands out.
    pub(crate) fn inform(&self, effective_url: Option<&str>, timings: Timings) {
        let mut state = self.state.borrow_mut();
        state.timings = timings;
        if let Some(head) = &mut state.head {
            head.timings = timings;
            if head.effective_url.is_empty() {
                head.effective_url = effective_url.unwrap_or(&self.url).to_owned();
            }
        }
    }

    /// The head, or why there is none.
    pub(crate) fn poll_head(&self, cx: &Context<'_>) -> Poll<Result<Head, Error>> {
        let mut state = self.state.borrow_mut();
        if state.head.as_ref().is_some_and(|head| !head.effective_url.is_empty()) {
            if let Some(head) = state.head.take() {
                return Poll::Ready(Ok(head));
            }
        }
        if state.has_ended {
            let end = state.end.take();
            return Poll::Ready(Err(end.and_then(Result::err).unwrap_or(Error::Closed)));
        }
        let old = state.wait(cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// The next bytes of the body, for whoever reads it.
    pub(crate) fn next_chunk(&self) -> Next {
        let mut state = self.state.borrow_mut();
        if let Some((chunk, has_room)) = state.next_chunk() {
            return Next::Chunk(chunk, has_room);
        }
        match state.has_ended {
            true => Next::End(state.end.take().unwrap_or(Ok(()))),
            false => Next::Wait,
        }
    }

    /// What the callback of the body panicked with, once.
    pub(crate) fn take_panic(&self) -> Option<Panic> {
        self.state.borrow_mut().panic.take()
    }

    /// Changes an end that was not told yet: what has arrived is not what the user wanted.
    pub(crate) fn spoil(self: &Rc<Self>, error: Error) {
        self.touch();
        let mut state = self.state.borrow_mut();
        state.chunks.clear();
        state.buffered = 0;
        if state.end.is_some() {
            state.end = Some(Err(error));
        }
    }

    /// The callbacks, which are not needed any more.
    pub(crate) fn take_calls(&self) -> Calls {
        mem::take(&mut self.state.borrow_mut().calls)
    }

    /// Has the reader of the body woken when there is more.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let old = self.state.borrow_mut().wait(cx);
        drop(old);
    }

    /// Wakes who waits for it.
    pub(crate) fn wake(&self) {
        self.take_feeder().into_iter().for_each(Waker::wake);
        let waker = self.state.borrow_mut().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// What `on_done` is told: the head with all of the body, or why there is none.
    pub(crate) fn take_whole(&self) -> Result<(Head, Vec<u8>), Error> {
        let mut state = self.state.borrow_mut();
        state.end.take().unwrap_or(Ok(()))?;
        let head = state.head.take().ok_or(Error::Closed)?;
        let mut chunks = mem::take(&mut state.chunks).into_iter();
        state.buffered = 0;
        drop(state);
        let mut body = chunks.next().unwrap_or_default();
        chunks.for_each(|chunk| body.extend_from_slice(&chunk));
        Ok((head, body))
    }

    /// The progress that was not told yet.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        let mut state = self.state.borrow_mut();
        let progress = state.progress;
        let is_new = mem::replace(&mut state.told, progress) != progress;
        is_new.then_some(progress)
    }
}

// What libcurl's callbacks tell.
impl Exchange {
    pub(crate) fn header(self: &Rc<Self>, line: &[u8]) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        // What follows a body is a trailer.
        if !state.has_head && state.arriving.line(line, state.follows) == Line::End {
            state.arrived();
            self.touch();
        }
    }

    /// Takes bytes of the body; how many, or to wait.
    pub(crate) fn write(self: &Rc<Self>, data: &[u8]) -> Written {
        let mut state = self.state.borrow_mut();
        if state.has_ended {
            // It was cancelled inside libcurl, which is yet to be told.
            return Written::Refused;
        }
        if state.arrived() {
            self.touch();
        }
        if state.buffered >= state.buffer && !state.chunks.is_empty() {
            state.held_back = true;
            return Written::HeldBack;
        }
        state.received += data.len() as u64;
        if state.received > state.max_body {
            let (url, limit) = (self.url.clone(), state.max_body);
            state.failure = Some(Error::BodyTooLarge { url, limit });
            return Written::Refused;
        }
        if state.has_callback {
            drop(state);
            return self.hand_over(data);
        }
        self.touch();
        state.buffered += data.len();
        match state.chunks.back_mut() {
            // Its reader is not there yet, and gets both at once.
            Some(chunk) if chunk.len() + data.len() <= CHUNK => {
                chunk.reserve_exact(CHUNK - chunk.len());
                chunk.extend_from_slice(data);
            }
            _ => state.chunks.push_back(data.to_vec()),
        }
        Written::Taken
    }

    /// Calls back with bytes of the body, which are libcurl's own.
    fn hand_over(self: &Rc<Self>, data: &[u8]) -> Written {
        let taken = self.state.borrow_mut().calls.on_chunk.take();
        let Some(mut on_chunk) = taken else { return Written::Refused };
        // Nothing may unwind through libcurl. The loop reports it.
        let called = catch_unwind(AssertUnwindSafe(|| on_chunk(data)));
        let mut state = self.state.borrow_mut();
        // What it has captured is not dropped in here either.
        state.calls.on_chunk = Some(on_chunk);
        match called {
            Ok(Ok(())) if !state.has_ended => return Written::Taken,
            Ok(Ok(())) => {}
            Ok(Err(error)) => state.failure = Some(Error::Body(error)),
            Err(payload) => {
                state.failure = Some(Error::Panicked);
                state.panic = Some(payload);
                self.touch();
            }
        }
        Written::Refused
    }

    pub(crate) fn progress(self: &Rc<Self>, progress: Progress) {
        let mut state = self.state.borrow_mut();
        if state.progress != progress {
            state.progress = progress;
            self.touch();
        }
    }
}

/// What became of bytes of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Taken,
    /// Their reader is slow: libcurl keeps them until it is told to go on.
    HeldBack,
    /// The transfer ends.
    Refused,
}

impl State {
    /// The head is complete, if there is one; says whether that is news.
    fn arrived(&mut self) -> bool {
        if self.has_head {
            return false;
        }
        self.head = self.arriving.take();
        self.has_head = self.head.is_some();
        self.has_head
    }

    fn next_chunk(&mut self) -> Option<(Vec<u8>, bool)> {
        let chunk = self.chunks.pop_front()?;
        self.buffered -= chunk.len();
        // Not for each chunk: libcurl is called for it.
        let has_room = self.held_back && self.buffered <= self.buffer / 2;
        self.held_back &= !has_room;
        Some((chunk, has_room))
    }

    /// Whose waker was there, to be dropped without a borrow.
    fn wait(&mut self, cx: &Context<'_>) -> Option<Waker> {
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => self.waker.replace(cx.waker().clone()),
        }
    }
}
