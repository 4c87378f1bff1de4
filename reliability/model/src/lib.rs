//! Random programs, run on the real loop and on a slow, obvious model of it.
//!
//! A [program](program::Op) is a sequence of operations, and the callbacks in it carry programs of their own. [`check`]
//! runs one on a loop in some [mode](rig::Mode), notes what was seen, and has the [model] follow that: where an order
//! is promised it must be that one, where none is, any will do. The model knows the promises (the head of `IOLoop`'s
//! documentation, that of its methods, and the conformance suite's list), not the code.

mod futures;
#[cfg(feature = "generate")]
pub mod generate;
mod helper;
mod model;
pub mod program;
pub mod rig;
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
/// What was seen that must not be, or was not and should have been; and descriptors that were leaked.
pub fn check(rig: &Rc<Rig>, program: &Script) -> Result<(), String> {
    silence();
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
