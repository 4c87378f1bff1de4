//! Random programs, run on the real loop and on a slow, obvious model of it.
//!
//! A [program](program::Op) is a sequence of operations, and the callbacks in it carry programs of
//! their own. [`check`] runs one on a loop in some [mode](rig::Mode), notes what was seen, and has
//! the model follow that: where an order is promised it must be that one, where none is, any will
//! do. The model knows the promises (the head of `IOLoop`'s documentation, that of its methods, and
//! the conformance suite's list), not the code.

mod callbacks;
mod futures;
#[cfg(feature = "generate")]
pub mod generate;
mod helper;
mod model;
mod ops;
pub mod outlet;
pub mod program;
pub mod rig;
pub mod spawned;
pub mod trace;
mod wires;
mod world;

use std::fs;
use std::panic;
use std::rc::Rc;
use std::sync::Once;

use program::Script;
use rig::Rig;

/// Runs a program, and compares what was seen with the model.
///
/// One at a time in a process, since descriptors are counted.
///
/// # Errors
///
/// What was seen that must not be, or was not and should have been; and descriptors that were
/// leaked.
pub fn check(rig: &Rc<Rig>, program: &Script) -> Result<(), String> {
    silence();
    let _spoilt = rig.outlet().map(outlet::Spoilt::new);
    let before = descriptors();
    let events = world::run(rig, program);
    model::follow(rig.mode(), program, &events)?;
    let after = descriptors();
    if before != after {
        return Err(format!("{before} descriptors were open before, {after} are after"));
    }
    Ok(())
}

/// Has panics on purpose not printed.
fn silence() {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<world::Thrown>() {
                before(info);
            }
        }));
    });
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use program::{Body, Op, Role, Step, Wait};
    use rig::Mode;
    use trace::Event;

    fn callback(call: Script) -> Body {
        Body { call, end: Vec::new() }
    }

    /// A bit of everything whose order is promised.
    fn program() -> Script {
        let later = |delay| Op::CallLater { body: callback(vec![]), delay, guard: false };
        let nothing = || Op::CallSoon { body: callback(vec![Op::Count]), guard: false };
        vec![
            Op::Open { sockets: true },
            Op::Write(0),
            Op::Watch {
                place: 1,
                role: Role::Reader,
                share: true,
                calls: vec![vec![nothing()], vec![Op::Drain(1)]],
                end: vec![],
                guard: false,
            },
            Op::CallSoon { body: callback(vec![nothing(), later(0), Op::Panic]), guard: false },
            nothing(),
            Op::End(0),
            later(2),
            later(1),
            later(1),
            Op::Spawn {
                steps: vec![Step { call: vec![nothing()], wait: Wait::Sleep(1) }],
                end: vec![],
                guard: false,
            },
            Op::Run,
        ]
    }

    /// A model that would take anything proves nothing.
    #[test]
    fn the_model_refuses_what_is_left_out_or_comes_twice_or_too_early() {
        silence();
        let rig = Rc::new(Rig::new(Mode::OwnBare));
        let program = program();
        let seen = world::run(&rig, &program);
        let follows = |seen: &[Event]| model::follow(rig.mode(), &program, seen).is_ok();
        assert!(follows(&seen), "{seen:#?}");
        for (index, event) in seen.iter().enumerate() {
            let mut twice = seen.clone();
            twice.insert(index, *event);
            assert!(!follows(&twice), "twice: {event:?}");
        }
        // Sleeps are left out: when a loop has nothing to do is for the clock to say.
        let told: Vec<usize> =
            (0..seen.len()).filter(|&index| !matches!(seen[index], Event::Sleep { .. })).collect();
        for (place, &index) in told.iter().enumerate() {
            let event = seen[index];
            let mut without = seen.clone();
            without.remove(index);
            assert!(!follows(&without), "left out: {event:?}");
            let mut swapped = seen.clone();
            swapped.swap(index, told[(place + 1) % told.len()]);
            assert!(swapped == seen || !follows(&swapped), "too early: {event:?}");
        }
    }
}
