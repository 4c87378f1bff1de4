//! Random programs on the executor that a loop drives, by two threads.
//!
//! `IOLOOP_MODEL_PROGRAMS` says how many on each; a failing one is shrunk, as far as two threads
//! allow.

use std::env;

use ioloop_model::spawned::{Act, Host, Op, Step, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const PROGRAMS: u32 = 300;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Wait),
        3 => Just(Act::Yield),
        1 => Just(Act::Spawn),
        1 => Just(Act::Panic),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let back = || 0..6_u8;
    let op = prop_oneof![
        6 => vec(act(), 0..4).prop_map(Op::Spawn),
        8 => back().prop_map(Op::Wake),
        2 => back().prop_map(Op::Cancel),
        1 => back().prop_map(Op::Drop),
        2 => back().prop_map(Op::Detach),
    ];
    vec(op, 0..8)
}

fn programs() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => ops().prop_map(Step::Still),
        5 => (ops(), ops()).prop_map(|(here, there)| Step::Run { here, there }),
        1 => Just(Step::Turn),
    ];
    vec(step, 1..8)
}

// B287, B288, B289, B292, B293, B296
#[test]
fn random_programs_of_two_threads_on_the_executor_of_a_loop() {
    let number = env::var("IOLOOP_MODEL_PROGRAMS");
    let cases = number
        .map_or(PROGRAMS, |number| number.parse().expect("IOLOOP_MODEL_PROGRAMS is a number"));
    for host in Host::ALL {
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 2000,
            ..Config::default()
        });
        let checked =
            runner.run(&programs(), |program| check(host, &program).map_err(TestCaseError::fail));
        if let Err(failure) = checked {
            panic!("{host:?}: {failure}");
        }
    }
}
