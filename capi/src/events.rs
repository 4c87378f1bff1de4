//! The bits of `ioloop.h`.

use std::ffi::c_uint;

use ioloop::embed::Turn;
use ioloop::{Events, Interest};

use crate::status::{Refusal, Status};

/// What C asks for.
pub(crate) fn interest(events: c_uint) -> Result<Interest, Refusal> {
    let known = u16::try_from(events).map(Interest::from_bits_truncate);
    match known {
        Ok(interest) if c_uint::from(interest.bits()) == events => Ok(interest),
        _ => Err(Refusal::new(
            Status::Invalid,
            format!("{events:#x} has events that cannot be watched for"),
        )),
    }
}

/// What has come, for C. Whoever reads or writes learns of an error and of a hang-up by that: both
/// arrive as what is watched for, too.
pub(crate) fn came(events: Events, interest: Interest) -> c_uint {
    let mut bits = events.bits();
    if events.intersects(Events::ERROR | Events::HANGUP) {
        bits |= (interest & (Interest::READ | Interest::WRITE)).bits();
    }
    bits.into()
}

pub(crate) fn turned(turn: Turn) -> c_uint {
    let flags = [(turn.work_left, 1), (turn.stopped, 2), (turn.renewed, 4)];
    flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).sum()
}
