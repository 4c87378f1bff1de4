//! Where the model is in what was seen.

use ioloop::observe::Origin;

use super::Mismatch;
use crate::trace::Event;

pub(super) struct Cursor<'a> {
    events: &'a [Event],
    next: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(events: &'a [Event]) -> Self {
        Cursor { events, next: 0 }
    }

    pub(super) fn peek(&self) -> Option<Event> {
        self.events.get(self.next).copied()
    }

    /// The next event; where a panic that no task takes is reported as a future is dropped, the drop.
    ///
    /// What a future awaits is dropped before what it captured.
    pub(super) fn peek_cause(&self) -> Option<Event> {
        match self.events.get(self.next..)? {
            [Event::Report(Origin::Task, _), drop @ Event::Drop { .. }, ..] => Some(*drop),
            events => events.first().copied(),
        }
    }

    pub(super) fn take(&mut self) -> Result<Event, Mismatch> {
        let event = self.peek().ok_or("nothing more was seen")?;
        self.next += 1;
        Ok(event)
    }

    pub(super) fn expect(&mut self, expected: Event) -> Result<(), Mismatch> {
        let seen = self.take()?;
        if seen == expected {
            return Ok(());
        }
        self.next -= 1;
        Err(format!("expected {expected:?}"))
    }

    pub(super) fn end(&self) -> Result<(), Mismatch> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err("expected nothing more".into()),
        }
    }

    /// A mismatch, and what was seen up to it.
    pub(super) fn explain(&self, mismatch: &str) -> String {
        let mut text = format!("{mismatch}\nseen:\n");
        let first = self.next.saturating_sub(60);
        for (index, event) in self.events.iter().enumerate().skip(first).take(80) {
            let mark = if index == self.next { "-->" } else { "   " };
            text.push_str(&format!("{mark} {event:?}\n"));
        }
        text
    }
}
