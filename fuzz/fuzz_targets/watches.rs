//! The watch table: descriptors that come, go, and get another's number, on a bare loop, against
//! the model.
#![no_main]

use std::rc::Rc;

use arbitrary::Arbitrary;
use ioloop_model::check;
use ioloop_model::program::{Op, Role, Wanted};
use ioloop_model::rig::{Mode, Rig};
use libfuzzer_sys::fuzz_target;

const MOST: usize = 60;

/// The operations that concern descriptors, each a few bytes long, so the fuzzer moves whole
/// ones about.
#[derive(Arbitrary, Debug)]
enum Step {
    Open(bool),
    Shut(u8),
    Dup(u8, u8),
    Write(u8),
    Fill(u8),
    Drain(u8),
    HalfClose(u8),
    Watch(u8, Role, bool, Within),
    End(u8),
    Pause(u8),
    Resume(u8),
    Unwatch(u8, Role),
    Update(u8, Wanted),
    Run,
}

/// What a watch does when it is called.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Within {
    Nothing,
    Drain,
    Panic,
    Shut(u8),
    End(u8),
    Pause(u8),
    Resume(u8),
    Replace(u8, u8),
}

fn within(place: u8, within: Within) -> Vec<Op> {
    match within {
        Within::Nothing => vec![],
        Within::Drain => vec![Op::Drain(place)],
        Within::Panic => vec![Op::Panic],
        Within::Shut(place) => vec![Op::Shut(place)],
        Within::End(back) => vec![Op::End(back)],
        Within::Pause(back) => vec![Op::Pause(back)],
        Within::Resume(back) => vec![Op::Resume(back)],
        Within::Replace(from, to) => vec![Op::Shut(to), Op::Dup(from, to)],
    }
}

fn op(step: Step) -> Op {
    match step {
        Step::Open(sockets) => Op::Open { sockets },
        Step::Shut(place) => Op::Shut(place),
        Step::Dup(from, to) => Op::Dup(from, to),
        Step::Write(place) => Op::Write(place),
        Step::Fill(place) => Op::Fill(place),
        Step::Drain(place) => Op::Drain(place),
        Step::HalfClose(place) => Op::HalfClose(place),
        Step::Watch(place, role, share, does) => {
            let calls = vec![within(place, does)];
            Op::Watch { place, role, share, calls, end: vec![], guard: false }
        }
        Step::End(back) => Op::End(back),
        Step::Pause(back) => Op::Pause(back),
        Step::Resume(back) => Op::Resume(back),
        Step::Unwatch(place, role) => Op::Unwatch(place, role),
        Step::Update(place, wanted) => Op::Update(place, wanted),
        Step::Run => Op::Run,
    }
}

thread_local! {
    static RIG: Rc<Rig> = Rc::new(Rig::new(Mode::OwnBare));
}

fuzz_target!(|steps: Vec<Step>| {
    let mut program: Vec<Op> = steps.into_iter().take(MOST).map(op).collect();
    program.push(Op::Run);
    if let Err(mismatch) = RIG.with(|rig| check(rig, &program)) {
        panic!("{mismatch}\n{program:#?}");
    }
});
