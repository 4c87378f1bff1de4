//! Programs made by proptest.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::program::{Body, Moment, Op, Role, Script, Step, Wait, Wanted};
use crate::trace::PLACES;

/// Programs of the top level.
pub fn programs() -> impl Strategy<Value = Script> {
    // Some have descriptors from the start, where most operations on them find one.
    let opened = vec(any::<bool>().prop_map(|sockets| Op::Open { sockets }), 0..3);
    (opened, vec(op(3, true), 1..24)).prop_map(|(mut program, rest)| {
        program.extend(rest);
        program
    })
}

/// What a callback does, with callbacks in it down to some depth.
fn script(depth: u32) -> BoxedStrategy<Script> {
    if depth == 0 {
        return Just(Script::new()).boxed();
    }
    prop_oneof![2 => Just(Script::new()), 5 => vec(op(depth - 1, false), 0..4)].boxed()
}

fn body(depth: u32) -> impl Strategy<Value = Body> {
    (script(depth), end(depth)).prop_map(|(call, end)| Body { call, end })
}

/// Few different ones, so many are equal.
fn delay() -> impl Strategy<Value = u8> {
    prop_oneof![8 => 0..6_u8, 1 => Just(u8::MAX), 1 => any::<u8>()]
}

fn deadline() -> impl Strategy<Value = i8> {
    prop_oneof![8 => -2..8_i8, 1 => any::<i8>()]
}

fn back() -> impl Strategy<Value = u8> {
    0..8_u8
}

fn wanted() -> impl Strategy<Value = Wanted> {
    any::<(bool, bool)>().prop_map(|(read, write)| Wanted { read, write })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        4 => Just(Role::Reader),
        3 => Just(Role::Writer),
        3 => wanted().prop_map(Role::Handler),
    ]
}

fn place() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 0..4_u8, 1 => 0..PLACES as u8]
}

/// Operations on descriptors.
fn wire(depth: u32) -> BoxedStrategy<Op> {
    let calls = vec(script(depth), 0..3);
    let watch = (place(), role(), any::<bool>(), calls, end(depth), prop::bool::weighted(0.2));
    prop_oneof![
        2 => any::<bool>().prop_map(|sockets| Op::Open { sockets }),
        2 => place().prop_map(Op::Shut),
        2 => (place(), place()).prop_map(|(from, to)| Op::Dup(from, to)),
        4 => place().prop_map(Op::Write),
        1 => place().prop_map(Op::Fill),
        2 => place().prop_map(Op::Read),
        2 => place().prop_map(Op::Drain),
        1 => place().prop_map(Op::HalfClose),
        12 => watch.prop_map(|(place, role, share, calls, end, guard)| Op::Watch {
            place, role, share, calls, end, guard,
        }),
        2 => back().prop_map(Op::Pause),
        2 => back().prop_map(Op::Resume),
        2 => (place(), role()).prop_map(|(place, role)| Op::Unwatch(place, role)),
        2 => (place(), wanted()).prop_map(|(place, wanted)| Op::Update(place, wanted)),
    ]
    .boxed()
}

fn end(depth: u32) -> impl Strategy<Value = Script> {
    prop_oneof![6 => Just(Script::new()).boxed(), 1 => script(depth.min(2))]
}

fn steps(depth: u32) -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![
        2 => Just(Wait::Yield),
        2 => delay().prop_map(Wait::Sleep),
        4 => back().prop_map(Wait::For),
        2 => (delay(), back()).prop_map(|(limit, back)| Wait::Limited(limit, back)),
    ];
    vec((script(depth), wait).prop_map(|(call, wait)| Step { call, wait }), 0..4)
}

/// Operations on futures and hooks.
fn future(depth: u32) -> BoxedStrategy<Op> {
    let guard = || prop::bool::weighted(0.2);
    let moment = prop_oneof![Just(Moment::Before), Just(Moment::After), Just(Moment::Idle)];
    let hook = (moment, vec(script(depth), 0..3), any::<bool>(), end(depth), guard());
    prop_oneof![
        6 => (steps(depth), end(depth), guard())
            .prop_map(|(steps, end, guard)| Op::Spawn { steps, end, guard }),
        3 => Just(Op::Defer),
        4 => (back(), prop::bool::weighted(0.3))
            .prop_map(|(back, elsewhere)| Op::Resolve { back, elsewhere }),
        4 => hook.prop_map(|(moment, calls, stays, end, guard)| {
            Op::Hook { moment, calls, stays, end, guard }
        }),
        2 => (steps(depth), end(depth)).prop_map(|(steps, end)| Op::RunFor { steps, end }),
    ]
    .boxed()
}

fn op(depth: u32, top: bool) -> BoxedStrategy<Op> {
    let guard = || prop::bool::weighted(0.2);
    let elsewhere = || prop::bool::weighted(0.3);
    prop_oneof![
        6 => (body(depth), guard()).prop_map(|(body, guard)| Op::CallSoon { body, guard }),
        3 => (body(depth), elsewhere()).prop_map(|(body, elsewhere)| Op::Post { body, elsewhere }),
        5 => (body(depth), delay(), guard())
            .prop_map(|(body, delay, guard)| Op::CallLater { body, delay, guard }),
        3 => (body(depth), deadline(), guard())
            .prop_map(|(body, at, guard)| Op::CallAt { body, at, guard }),
        2 => (0..6_u8, vec(script(depth), 0..4))
            .prop_map(|(period, calls)| Op::Periodic { period, calls }),
        24 => wire(depth),
        18 => future(depth),
        3 => back().prop_map(Op::End),
        1 => back().prop_map(Op::Ask),
        1 => back().prop_map(Op::Forget),
        2 => (back(), deadline()).prop_map(|(back, ms)| Op::Reset(back, ms)),
        1 => Just(Op::Stop),
        1 => elsewhere().prop_map(|elsewhere| Op::PostStop { elsewhere }),
        1 => delay().prop_map(Op::Advance),
        1 => any::<bool>().prop_map(Op::Jumps),
        2 => Just(Op::Panic),
        if top { 14 } else { 1 } => Just(Op::Run),
        1 => Just(Op::RunPart),
        1 => Just(Op::Count),
        1 => Just(Op::Close),
    ]
    .boxed()
}
