//! Random programs in every mode.
//!
//! `IOLOOP_MODEL_PROGRAMS` says how many in each; a failing one is shrunk, printed, and its seed
//! kept in `regressions`, which are run first.

use std::env;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use ioloop_model::check;
use ioloop_model::generate::programs;
use ioloop_model::outlet::Outlet;
use ioloop_model::program::Op;
use ioloop_model::rig::{Mode, Rig};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

const PROGRAMS: u32 = 150;

/// Of those where telling fails there are fewer in each mode, by this factor.
const FEWER: u32 = 10;

fn programs_of_each_mode() -> u32 {
    env::var("IOLOOP_MODEL_PROGRAMS")
        .map_or(PROGRAMS, |number| number.parse().expect("IOLOOP_MODEL_PROGRAMS is a number"))
}

fn random_programs(mode: Mode) {
    run(|| Rig::new(mode), programs_of_each_mode());
}

/// In every mode, with what the loop tells told to something that fails.
fn telling(outlet: Outlet) {
    for mode in Mode::ALL {
        run(|| Rig::new(mode).telling(outlet), programs_of_each_mode().div_ceil(FEWER));
    }
}

fn run(rig: impl FnOnce() -> Rig, number: u32) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Made and dropped under the lock: a rig has a runtime, and programs count open descriptors.
    let rig = &Rc::new(rig());
    let config = Config {
        cases: number,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions"))),
        ..Config::default()
    };
    // What a runtime makes once in a process is not to be counted.
    let _ = check(rig, &vec![Op::Run]);
    let mut runner = TestRunner::new(config);
    let result =
        runner.run(&programs(), |program| check(rig, &program).map_err(TestCaseError::fail));
    if let Err(failure) = result {
        panic!("{:?}: {failure}", rig.mode());
    }
}

macro_rules! modes {
    ($($name:ident: $mode:ident,)*) => {$(
        #[test]
        fn $name() {
            random_programs(Mode::$mode);
        }
    )*};
}

modes! {
    own_bare: OwnBare,
    own_async_io: OwnAsyncIo,
    own_smol: OwnSmol,
    own_tokio: OwnTokio,
    attached_async_io: AsyncIo,
    attached_async_io_plain_block_on: Plain,
    attached_smol: Smol,
    attached_tokio_current_thread: TokioCurrentThread,
    attached_tokio_multi_thread: TokioMultiThread,
    embedded_bare: EmbeddedBare,
    embedded_async_io: EmbeddedAsyncIo,
    embedded_smol: EmbeddedSmol,
    embedded_waiting_turns: WaitingTurns,
}

macro_rules! outlets {
    ($($(#[$meta:meta])* $name:ident: $outlet:ident,)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            telling(Outlet::$outlet);
        }
    )*};
}

// B267
#[cfg(not(feature = "tracing"))]
outlets! {
    standard_error_closed: Closed,
    standard_error_broken: Broken,
    #[cfg(target_os = "linux")]
    standard_error_full: Full,
    standard_error_not_ready: NotReady,
}

// B267
#[cfg(feature = "tracing")]
outlets! {
    a_subscriber_that_panics: PanickingSubscriber,
}
