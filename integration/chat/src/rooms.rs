//! Who is in which room, and who hears what: the same for both servers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Somebody who can be told something.
pub(crate) trait Ear {
    /// May part with whoever does not listen, but not at once: a room may be telling everybody.
    fn tell(&self, line: &str);
}

/// Where somebody is, and by what name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    room: String,
    name: String,
}

type Room<E> = Vec<(String, Rc<E>)>;

pub(crate) struct Rooms<E>(RefCell<HashMap<String, Room<E>>>);

impl<E> Default for Rooms<E> {
    fn default() -> Self {
        Rooms(RefCell::default())
    }
}

impl<E: Ear> Rooms<E> {
    /// A client's line: the first says who it is and where it wants to be, "room name"; what
    /// follows is for everybody there.
    pub(crate) fn hear(&self, seat: &mut Option<Seat>, ear: &Rc<E>, line: &str) {
        match seat {
            Some(seat) => self.tell(&seat.room, &format!("{}: {line}\n", seat.name)),
            None => *seat = self.join(ear, line),
        }
    }

    fn join(&self, ear: &Rc<E>, line: &str) -> Option<Seat> {
        let Some((room, name)) = line.split_once(' ') else {
            ear.tell("! say where you want to be, and who you are: room name\n");
            return None;
        };
        let present = self.members(room);
        if present.iter().any(|(other, _)| other == name) {
            ear.tell("! that name is taken\n");
            return None;
        }
        for (other, _) in &present {
            ear.tell(&format!("* {other} is here\n"));
        }
        let member = (name.to_owned(), Rc::clone(ear));
        self.0.borrow_mut().entry(room.to_owned()).or_default().push(member);
        self.tell(room, &format!("* {name} came\n"));
        Some(Seat { room: room.to_owned(), name: name.to_owned() })
    }

    /// Somebody has gone.
    pub(crate) fn leave(&self, seat: &Seat) {
        let mut rooms = self.0.borrow_mut();
        let Some(room) = rooms.get_mut(&seat.room) else { return };
        room.retain(|(name, _)| *name != seat.name);
        if room.is_empty() {
            rooms.remove(&seat.room);
        }
        drop(rooms);
        self.tell(&seat.room, &format!("* {} left\n", seat.name));
    }

    fn tell(&self, room: &str, line: &str) {
        // A copy: whoever is told may turn out to have gone.
        for (_, ear) in self.members(room) {
            ear.tell(line);
        }
    }

    fn members(&self, room: &str) -> Room<E> {
        self.0.borrow().get(room).cloned().unwrap_or_default()
    }
}
