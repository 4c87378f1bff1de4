//! Whole programs, in every mode, against the model.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use arbitrary::Arbitrary;
use ioloop_model::check;
use ioloop_model::program::Op;
use ioloop_model::rig::{Mode, Rig};
use libfuzzer_sys::fuzz_target;

/// More than this finds nothing that less does not, and takes longer.
const MOST: usize = 40;

#[derive(Arbitrary, Debug)]
struct Input {
    mode: u8,
    program: Vec<Op>,
}

thread_local! {
    static RIGS: RefCell<HashMap<usize, Rc<Rig>>> = RefCell::default();
}

/// The rig of a mode, whose runtime has made all that it makes once.
fn rig(mode: usize) -> Rc<Rig> {
    let made = RIGS.with_borrow(|rigs| rigs.get(&mode).cloned());
    made.unwrap_or_else(|| {
        let rig = Rc::new(Rig::new(Mode::ALL[mode]));
        let _ = check(&rig, &vec![Op::Run]);
        RIGS.with_borrow_mut(|rigs| rigs.insert(mode, Rc::clone(&rig)));
        rig
    })
}

fuzz_target!(|input: Input| {
    let Input { mode, mut program } = input;
    program.truncate(MOST);
    let mode = usize::from(mode) % Mode::ALL.len();
    if let Err(mismatch) = check(&rig(mode), &program) {
        panic!("{:?}: {mismatch}", Mode::ALL[mode]);
    }
});
