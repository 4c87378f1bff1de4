//! Watches, and the files at the places they watch.
//!
//! A place whose file was closed, or another one's since, while it was watched is *stale*: the loop
//! may find that out at any time, and drops what watched it then. Until it does, those may be
//! called for what comes on the old file, if that lives on elsewhere, and never for what comes on
//! the new one.

use std::collections::{BTreeMap, BTreeSet};

use ioloop::Events;
use ioloop::observe::Origin;

use super::{Alive, Finished, Held, Life, Mismatch, Model};
use crate::program::{Role, Script, Wanted};
use crate::trace::{Answer, Event, Id, OPEN, PLACES};

type File = u32;

#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) id: Id,
    place: usize,
    role: Role,
    paused: bool,
    /// The loop has a share in the descriptor.
    share: bool,
    /// Added, resumed or changed since the present turn has looked.
    fresh: bool,
    /// Its callback is running.
    running: bool,
    /// It has ended; it is dropped when its callback returns.
    pub(super) ended: bool,
    calls: usize,
}

impl Watch {
    fn wanted(&self) -> Events {
        match self.role {
            _ if self.paused || self.ended => Events::empty(),
            Role::Reader => Events::READ,
            Role::Writer => Events::WRITE,
            Role::Handler(wanted) => {
                let mut events = Events::empty();
                events.set(Events::READ, wanted.read);
                events.set(Events::WRITE, wanted.write);
                events
            }
        }
    }

    /// What of the events concerns it: an error or a hang-up does in any case, unless it waits for
    /// nothing.
    fn concerned(&self, events: Events) -> Events {
        match self.wanted() {
            wanted if wanted.is_empty() => wanted,
            wanted => events & (wanted | Events::ERROR | Events::HANGUP),
        }
    }

    fn is(&self, place: usize, role: Role) -> bool {
        !self.ended
            && self.place == place
            && std::mem::discriminant(&self.role) == std::mem::discriminant(&role)
    }

    fn is_handler(&self) -> bool {
        matches!(self.role, Role::Handler(_))
    }

    pub(super) fn origin(&self) -> Origin {
        match self.role {
            Role::Reader => Origin::Reader,
            Role::Writer => Origin::Writer,
            Role::Handler(_) => Origin::Handler,
        }
    }
}

/// What a look has found for one watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    id: Id,
    file: File,
    events: Events,
    /// Its place was stale.
    doubtful: bool,
}

/// What is at the places, and what the loop has of it.
#[derive(Default)]
pub(super) struct Wires {
    files: File,
    /// The file at each place.
    at: [Option<File>; PLACES],
    /// Those that the program holds.
    held: [bool; PLACES],
    /// The file that each place had when the loop began to wait for it.
    bound: [Option<File>; PLACES],
    /// Some place was stale once.
    haunted: bool,
    /// What poll(2) said last about each file.
    ready: BTreeMap<File, Events>,
}

impl Model<'_> {
    fn is_stale(&self, place: usize) -> bool {
        let bound = self.wires.bound[place];
        bound.is_some() && bound != self.wires.at[place]
    }

    pub(super) fn watch_of(&self, id: Id) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.id == id)
    }

    fn watch_mut(&mut self, id: Id) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|watch| watch.id == id && !watch.ended)
    }

    /// The live watch of this id.
    fn live(&self, id: Id) -> Option<Watch> {
        self.watch_of(id).filter(|watch| !watch.ended && self.life == Life::Open).cloned()
    }

    fn find(&self, place: usize, role: Role) -> Option<Id> {
        let found = self.watches.iter().find(|watch| watch.is(place, role))?;
        (self.life == Life::Open).then_some(found.id)
    }

    /// Whether something at a place is waited for.
    fn is_awaited(&self, place: usize) -> bool {
        self.watches.iter().any(|watch| watch.place == place && !watch.wanted().is_empty())
    }

    /// After a change: what the loop has begun to wait for is the file that is there now.
    fn rebind(&mut self, place: usize) {
        if !self.is_awaited(place) {
            self.wires.bound[place] = None;
        } else if self.wires.bound[place].is_none() {
            self.wires.bound[place] = self.wires.at[place];
        }
    }

    /// Takes note of which places are open still.
    fn settle(&mut self) {
        for place in 0..PLACES {
            let shared = self.watches.iter().any(|watch| watch.share && watch.place == place);
            if !self.wires.held[place] && !shared {
                self.wires.at[place] = None;
            }
        }
    }

    /// What the program saw of the places.
    pub(super) fn look_at_wires(&mut self) -> Result<(), Mismatch> {
        let Event::Wires(snapshot) = self.trace.take()? else {
            return Err("the places are to be looked at now".into());
        };
        self.settle();
        self.wires.ready.clear();
        for (place, bits) in snapshot.into_iter().enumerate() {
            let open = bits & OPEN != 0;
            match self.wires.at[place] {
                Some(file) if open => {
                    self.wires.ready.insert(file, Events::from_bits_truncate(bits & !OPEN));
                }
                None if !open => {}
                _ => return Err(format!("place {place} is open, or not, and must not be")),
            }
        }
        self.wires.haunted |= (0..PLACES).any(|place| self.is_stale(place));
        Ok(())
    }

    fn wired(&mut self, done: bool) -> Finished {
        self.look_at_wires()?;
        self.answer(Answer::Is(done))
    }

    fn is_free(&self, place: usize) -> bool {
        self.wires.at[place].is_none()
    }

    fn put(&mut self, place: usize, file: File) {
        self.wires.at[place] = Some(file);
        self.wires.held[place] = true;
    }

    pub(super) fn open(&mut self) -> Finished {
        let free: Vec<_> = (0..PLACES).filter(|place| self.is_free(*place)).collect();
        let [one, other, ..] = free[..] else { return self.wired(false) };
        for place in [one, other] {
            self.wires.files += 1;
            self.put(place, self.wires.files);
        }
        self.wired(true)
    }

    pub(super) fn shut(&mut self, place: usize) -> Finished {
        let held = std::mem::take(&mut self.wires.held[place]);
        self.settle();
        self.wired(held)
    }

    pub(super) fn dup(&mut self, from: usize, to: usize) -> Finished {
        let Some(file) = self.wires.at[from].filter(|_| self.is_free(to)) else {
            return self.wired(false);
        };
        self.put(to, file);
        self.wired(true)
    }

    /// Reading and writing is the kernel's business, but for what is not open.
    pub(super) fn transfer(&mut self, place: usize) -> Finished {
        self.look_at_wires()?;
        match self.trace.take()? {
            Event::Answer(Answer::Is(done)) if !done || !self.is_free(place) => Ok(true),
            _ => Err("expected whether something was read or written".into()),
        }
    }

    pub(super) fn add_watch(
        &mut self,
        place: usize,
        role: Role,
        share: bool,
        alive: (&[Script], &Script),
        guard: bool,
    ) -> Finished {
        let (calls, end) = alive;
        let id = self.born(Alive { calls: calls.to_vec(), end: end.clone(), watch: true });
        let stale = self.is_stale(place);
        let others = self.watches.iter().filter(|watch| watch.place == place && !watch.ended);
        let taken =
            others.clone().any(|watch| watch.is_handler() || matches!(role, Role::Handler(_)));
        let displaced: BTreeSet<Id> =
            others.filter(|watch| stale || watch.is(place, role)).map(|watch| watch.id).collect();
        let refused = match self.life {
            Life::Closing | Life::Closed => Some(Answer::Closed),
            Life::Open if self.is_free(place) || (taken && !stale) => Some(Answer::Refused),
            Life::Open => None,
        };
        if let Some(answer) = refused {
            self.discarded(id)?;
            return self.answer(answer);
        }
        if stale {
            self.wires.bound[place] = None;
        }
        let share = share && !self.is_free(place);
        self.watches.push(Watch {
            id,
            place,
            role,
            paused: false,
            share,
            fresh: true,
            running: false,
            ended: false,
            calls: 0,
        });
        self.end_watches(&displaced, place)?;
        self.held.push(Held::Watch { id, guard });
        self.answer(Answer::Done)
    }

    /// Watches of a place end: each is dropped now, or when its callback returns.
    fn end_watches(&mut self, ended: &BTreeSet<Id>, place: usize) -> Result<(), Mismatch> {
        let mut dropped = BTreeSet::new();
        for id in ended {
            if let Some(watch) = self.watch_mut(*id) {
                watch.ended = true;
                if !watch.running {
                    dropped.insert(*id);
                }
            }
        }
        self.rebind(place);
        self.drop_all(dropped)
    }

    /// What else watched a stale place may have been dropped by now.
    fn drop_stale(&mut self) -> Result<(), Mismatch> {
        while let Some(Event::Drop { id, .. }) = self.trace.peek() {
            let Some(watch) = self.live(id).filter(|watch| self.is_stale(watch.place)) else {
                break;
            };
            if let Some(watch) = self.watch_mut(id) {
                watch.ended = true;
            }
            self.discarded(id)?;
            self.rebind(watch.place);
        }
        Ok(())
    }

    /// A watch that is gone is dropped at the turn's end, if its place was stale.
    pub(super) fn vanished(&mut self) -> Finished {
        let before = self.watches.len();
        self.drop_stale()?;
        Ok(self.watches.len() < before)
    }

    /// Ends a watch; says whether it had not ended before.
    pub(super) fn remove_watch(&mut self, id: Id) -> Finished {
        let Some(watch) = self.live(id) else { return Ok(false) };
        let stale = self.is_stale(watch.place);
        if stale {
            // The others of its place may go with it, and before it.
            self.end_stale(&watch)?;
        } else {
            self.end_watches(&BTreeSet::from([id]), watch.place)?;
        }
        Ok(true)
    }

    /// Ends a watch of a stale place, and what else of it is dropped meanwhile.
    fn end_stale(&mut self, watch: &Watch) -> Result<(), Mismatch> {
        if let Some(watch) = self.watch_mut(watch.id) {
            watch.ended = true;
        }
        let mut due = !watch.running;
        while let Some(Event::Drop { id, .. }) = self.trace.peek() {
            if id == watch.id && due {
                due = false;
            } else if self.live(id).is_none_or(|other| other.place != watch.place) {
                break;
            } else if let Some(other) = self.watch_mut(id) {
                other.ended = true;
            }
            self.discarded(id)?;
        }
        self.rebind(watch.place);
        match due {
            true => Err(format!("what {} captured is to be dropped now", watch.id)),
            false => Ok(()),
        }
    }

    pub(super) fn unwatch(&mut self, place: usize, role: Role) -> Finished {
        if self.life == Life::Closing {
            return self.answer_in_close();
        }
        let ended = match self.find(place, role) {
            Some(id) => self.remove_watch(id)?,
            None => false,
        };
        self.answer(Answer::Is(ended))
    }

    pub(super) fn pause(&mut self, id: Id) -> Finished {
        if self.life == Life::Closing {
            return self.answer_in_close();
        }
        let Some(watch) = self.live(id) else { return self.answer(Answer::Is(false)) };
        if self.is_stale(watch.place) {
            // It is noticed now, or not.
            let noticed = match self.trace.peek() {
                Some(Event::Drop { .. }) => true,
                Some(Event::Answer(Answer::Is(paused))) => !paused,
                _ => false,
            };
            if noticed {
                self.end_stale(&watch)?;
                return self.answer(Answer::Is(false));
            }
        }
        if let Some(watch) = self.watch_mut(id) {
            watch.paused = true;
        }
        self.rebind(watch.place);
        self.answer(Answer::Is(true))
    }

    pub(super) fn resume(&mut self, id: Id) -> Finished {
        if self.life == Life::Closing {
            return self.answer_in_close();
        }
        let Some(watch) = self.live(id) else { return self.answer(Answer::Is(false)) };
        if self.is_stale(watch.place) {
            // It is noticed now, in one way or the other, or not.
            match self.trace.peek() {
                Some(Event::Answer(Answer::Refused)) => return self.answer(Answer::Refused),
                Some(Event::Drop { .. } | Event::Answer(Answer::Is(false))) => {
                    self.end_stale(&watch)?;
                    return self.answer(Answer::Is(false));
                }
                _ => {}
            }
        } else if watch.paused && !self.could_wait(watch.place, watch.role) {
            return self.answer(Answer::Refused);
        }
        if !watch.paused {
            return self.answer(Answer::Is(true));
        }
        if let Some(watch) = self.watch_mut(id) {
            watch.paused = false;
            watch.fresh = true;
        }
        self.rebind(watch.place);
        self.answer(Answer::Is(true))
    }

    /// Whether a place that is not stale can be waited for.
    fn could_wait(&self, place: usize, role: Role) -> bool {
        let nothing = role == Role::Handler(Wanted { read: false, write: false });
        nothing || self.is_awaited(place) || !self.is_free(place)
    }

    pub(super) fn update(&mut self, place: usize, wanted: Wanted) -> Finished {
        if self.life == Life::Closing {
            return self.answer_in_close();
        }
        let role = Role::Handler(wanted);
        let Some(id) = self.find(place, role) else { return self.answer(Answer::Refused) };
        let paused = self.watch_of(id).is_some_and(|watch| watch.paused);
        let stale = self.is_stale(place);
        let refused = match self.trace.peek() {
            Some(Event::Answer(Answer::Refused)) if stale => true,
            _ => !stale && !paused && !self.could_wait(place, role),
        };
        if refused {
            return self.answer(Answer::Refused);
        }
        if let Some(watch) = self.watch_mut(id) {
            watch.role = role;
            watch.fresh = true;
        }
        self.rebind(place);
        self.answer(Answer::Done)
    }

    /// What a look finds.
    pub(super) fn found(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        for watch in &mut self.watches {
            watch.fresh = false;
        }
        for watch in self.watches.iter().filter(|watch| !watch.ended) {
            let Some(file) = self.wires.bound[watch.place] else { continue };
            let Some(events) = self.wires.ready.get(&file) else { continue };
            let doubtful = self.is_stale(watch.place);
            if !watch.concerned(*events).is_empty() {
                found.push(Found { id: watch.id, file, events: *events, doubtful });
            }
        }
        found
    }

    /// Whether something is ready for sure.
    pub(super) fn has_ready(&self) -> bool {
        self.watches.iter().any(|watch| {
            let file = self.wires.bound[watch.place];
            let events = file.and_then(|file| self.wires.ready.get(&file));
            !self.is_stale(watch.place)
                && events.is_some_and(|events| !watch.concerned(*events).is_empty())
        })
    }

    /// Whether some place is stale, or was: then the loop may wake for nothing.
    pub(super) fn is_haunted(&self) -> bool {
        self.wires.haunted
    }

    /// Whether what was found has still to be called.
    pub(super) fn must_serve(&self, found: &Found) -> bool {
        self.watch_of(found.id).is_some_and(|watch| {
            !found.doubtful
                && !watch.fresh
                && !watch.concerned(found.events).is_empty()
                && self.wires.bound[watch.place] == Some(found.file)
                && !self.is_stale(watch.place)
        })
    }

    /// Calls a watch that was found ready.
    pub(super) fn serve(
        &mut self,
        id: Id,
        came: u16,
        found: &[Found],
    ) -> Result<Vec<Found>, Mismatch> {
        let Some(this) = found.iter().find(|found| found.id == id) else {
            return Err(format!("the watch {id} is called, and was not found ready by this look"));
        };
        let watch = self.live(id).ok_or_else(|| format!("the watch {id} has ended"))?;
        let concerned = watch.concerned(this.events);
        if watch.fresh && !watch.is_handler() || concerned.is_empty() {
            return Err(format!("the watch {id} is paused, or has to wait for the next look"));
        }
        let doubtful = this.doubtful || self.is_stale(watch.place);
        // The portable poller has an error and a hang-up come with what they make possible: to
        // read, and to write.
        let ends = concerned.intersects(Events::ERROR | Events::HANGUP);
        let told = Events::from_bits_truncate(came);
        let possible = (Events::READ | Events::WRITE).contains(told - concerned);
        let more = cfg!(ioloop_portable) && ends && told.contains(concerned) && possible;
        if watch.is_handler() && !doubtful && came != concerned.bits() && !more {
            return Err(format!("the handler {id} is to be told {concerned:?}"));
        }
        let left: Vec<Found> = found.iter().filter(|found| found.id != id).copied().collect();
        let reader_first = watch.role == Role::Writer
            && left.iter().any(|other| {
                let reader = self.watch_of(other.id);
                self.must_serve(other)
                    && reader.is_some_and(|reader| reader.is(watch.place, Role::Reader))
            });
        if reader_first {
            return Err("the reader of its place comes before the writer".into());
        }
        Ok(left)
    }

    /// Runs the callback of a watch.
    pub(super) fn call_watch(&mut self, id: Id) -> Result<(), Mismatch> {
        let Some(watch) = self.watch_mut(id) else { return Err(format!("{id} has ended")) };
        watch.running = true;
        let calls = watch.calls;
        watch.calls += 1;
        let (place, role, origin) = (watch.place, watch.role, watch.origin());
        let call = self.alive.get(&id).and_then(|alive| alive.calls.get(calls).cloned());
        let finished = match call {
            Some(call) => self.script(id, &call, true)?,
            None => self.unwatch(place, role)?,
        };
        if finished {
            self.trace.expect(Event::End(id))?;
        } else {
            self.reported(&[origin], id)?;
            self.remove_watch(id)?;
        }
        match self.watches.iter_mut().find(|watch| watch.id == id) {
            Some(watch) if watch.ended => self.discarded(id),
            Some(watch) => {
                watch.running = false;
                Ok(())
            }
            None => Err(format!("{id} was dropped while it ran")),
        }
    }

    /// A watch is dropped: what it had a share in may be closed with it.
    pub(super) fn watch_dropped(&mut self, id: Id) -> Result<(), Mismatch> {
        if let Some(index) = self.watches.iter().position(|watch| watch.id == id) {
            let watch = self.watches.remove(index);
            self.settle();
            self.rebind(watch.place);
        }
        self.look_at_wires()
    }
}
