//! The model: what was promised, in the plainest form, following what was seen.
//!
//! Every event is either the only one that may come now, or one of those that may. The state is
//! what a user of the loop could know; nothing is fast.

mod cursor;
mod drops;
mod hooks;
mod ops;
mod periodic;
mod tasks;
mod turn;
mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ioloop::observe::Origin;

use self::cursor::Cursor;
use self::hooks::Hook;
use self::periodic::Periodic;
use self::tasks::{Promise, Task};
use self::turn::Turn;
use self::watches::{Watch, Wires};
use crate::program::{Body, Op, Script};
use crate::rig::Mode;
use crate::trace::{Answer, Event, Id, Stand};

/// What went wrong.
pub(crate) type Mismatch = String;
/// Whether a script ran to its end; false if it panicked.
type Finished = Result<bool, Mismatch>;

/// A place in the callback queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Callback(Id),
    /// The poll of a future.
    Poll(Id),
    Stop,
    /// Cancelled: its place is kept, or not.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    id: Id,
    /// None if it is too far away ever to come.
    deadline: Option<i64>,
    /// When it was set, or reset.
    order: u64,
}

/// What a callback does that is still to be dropped.
#[derive(Clone, Debug)]
struct Alive {
    /// What it does when it is called for the first time, the second, and so on.
    calls: Vec<Script>,
    end: Script,
    watch: bool,
}

impl From<&Body> for Alive {
    fn from(body: &Body) -> Self {
        Alive { calls: vec![body.call.clone()], end: body.end.clone(), watch: false }
    }
}

/// What the loop handed out.
#[derive(Clone, Copy, Debug)]
enum Held {
    Callback { id: Id, guard: bool, cancelled: bool },
    Timer { id: Id, guard: bool, cancelled: bool },
    Periodic { id: Id },
    Watch { id: Id, guard: bool },
    Hook { id: Id, guard: bool },
    Task { id: Id, guard: bool, taken: bool },
    Resolver { number: usize, taken: bool },
    Deferred { number: usize, taken: bool },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// Within `close`.
    Closing,
    Closed,
}

struct Model<'a> {
    mode: Mode,
    trace: Cursor<'a>,
    life: Life,
    /// Somebody drives the loop.
    running: bool,
    /// A stop was asked for.
    stop: bool,
    clock: i64,
    jumps: bool,
    queue: VecDeque<Entry>,
    timers: Vec<Timer>,
    periodic: Vec<Periodic>,
    orders: u64,
    /// What every callback does that is still to be dropped.
    alive: BTreeMap<Id, Alive>,
    watches: Vec<Watch>,
    wires: Wires,
    hooks: Vec<Hook>,
    tasks: Vec<Task>,
    promises: Vec<Promise>,
    /// The future that the present run is for.
    main: Option<Id>,
    /// What `close` has still to drop.
    doomed: BTreeSet<Id>,
    held: Vec<Held>,
    ids: Id,
    turn: Turn,
}

/// Follows a program and what was seen of it.
pub(crate) fn follow(mode: Mode, program: &Script, events: &[Event]) -> Result<(), Mismatch> {
    let mut model = Model {
        mode,
        trace: Cursor::new(events),
        life: Life::Open,
        running: false,
        stop: false,
        clock: 0,
        jumps: true,
        queue: VecDeque::new(),
        timers: Vec::new(),
        periodic: Vec::new(),
        orders: 0,
        alive: BTreeMap::new(),
        watches: Vec::new(),
        wires: Wires::default(),
        hooks: Vec::new(),
        tasks: Vec::new(),
        promises: Vec::new(),
        main: None,
        doomed: BTreeSet::new(),
        held: Vec::new(),
        ids: 0,
        turn: Turn::default(),
    };
    let followed = model.program(program);
    followed.map_err(|mismatch| model.trace.explain(&mismatch))
}

impl Model<'_> {
    fn program(&mut self, program: &Script) -> Result<(), Mismatch> {
        for op in program {
            self.op(Id::MAX, op, true)?;
        }
        self.close()?;
        for index in 0..self.held.len() {
            self.forget(index)?;
        }
        self.trace.end()?;
        match self.alive.keys().next() {
            Some(id) => Err(format!("{id} was never dropped")),
            None => Ok(()),
        }
    }

    /// Operations one after the other, until one panics.
    fn script(&mut self, id: Id, script: &[Op], may_panic: bool) -> Finished {
        for op in script {
            if !self.op(id, op, may_panic)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn born(&mut self, alive: impl Into<Alive>) -> Id {
        let id = self.ids;
        self.ids += 1;
        self.alive.insert(id, alive.into());
        id
    }

    /// One callback that is called once, from its beginning until what it captured is gone.
    fn call_once(&mut self, id: Id, origin: Origin) -> Result<(), Mismatch> {
        let alive = self.alive.get(&id).cloned().ok_or("called again after it was dropped")?;
        if !self.script(id, &alive.calls[0], true)? {
            self.dropped(id)?;
            return self.reported(&[origin], id);
        }
        self.trace.expect(Event::End(id))?;
        if !self.dropped(id)? {
            self.reported(&[origin, Origin::Destructor], id)?;
        }
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> Finished {
        self.trace.expect(Event::Answer(answer))?;
        Ok(true)
    }

    fn answer_either(&mut self) -> Finished {
        match self.trace.take()? {
            Event::Answer(Answer::Is(_)) => Ok(true),
            _ => Err("expected true or false".into()),
        }
    }

    /// Where the loop stands, if nothing has happened since.
    fn stands_still(&self, at: Stand) -> Result<(), Mismatch> {
        if at.clock != self.clock {
            return Err(format!("the clock says {}, not {}", at.clock, self.clock));
        }
        Ok(())
    }
}
