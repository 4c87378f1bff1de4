//! The suite fails on what breaks: a reactor, a backend or a registration that breaks one promise,
//! and the cases that have to find it out.
//!
//! Each pair of a fault and a case runs in a process of its own, since some of them hang. The
//! honest loop and backend that the faults are put around pass the same cases in the same way.
//!
//! The faults have nothing to do with features: once, with all of them, is enough.
#![cfg(all(feature = "async-io", feature = "tokio", feature = "smol"))]

mod backends;
mod executors;
mod reactors;

#[allow(dead_code)]
#[path = "../third_party/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../third_party/spawning.rs"]
mod spawning;

use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// What a fault is put into, and how it is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Reactor,
    Own,
    Attached,
    /// An own loop that drives an executor.
    Spawning,
}
use Kind::{Attached, Own, Reactor, Spawning};

/// A fault, what it is in, and the cases each of which must fail.
type Mutant = (Kind, &'static str, &'static [&'static str]);

const MUTANTS: &[Mutant] = &[
    // Hooks and futures.
    (
        Reactor,
        "a hook cannot keep it awake",
        &["a_hook_keeps_the_reactor_awake_and_one_after_follows_each"],
    ),
    (
        Reactor,
        "no hook is called after a sleep",
        &["a_hook_keeps_the_reactor_awake_and_one_after_follows_each"],
    ),
    (
        Reactor,
        "a future is polled inside the call",
        &["a_spawned_future_is_polled_in_later_turns_and_gives_its_value"],
    ),
    (Reactor, "a future is polled once", &["a_future_may_wait_for_the_reactor_itself"]),
    (Reactor, "a future outlives its loop", &["a_closed_reactor_drops_its_futures"]),
    // Readers and writers.
    (
        Reactor,
        "a watch is called inside the call that adds it",
        &["a_reader_is_called_until_it_has_read_everything"],
    ),
    (
        Reactor,
        "a watch is called once and not until it has read all",
        &[
            "a_reader_is_called_until_it_has_read_everything",
            "a_writer_is_called_again_until_it_is_removed",
        ],
    ),
    (
        Reactor,
        "a reader is told of room to write",
        &["a_reader_is_not_called_for_a_writable_descriptor"],
    ),
    (
        Reactor,
        "a second watch leaves the first in place",
        &["adding_again_replaces_and_the_old_one_is_never_called"],
    ),
    (
        Reactor,
        "a watch that panics goes on",
        &["a_panicking_reader_is_removed_and_the_others_are_served"],
    ),
    (Reactor, "the blocking mode is changed", &["watching_leaves_the_blocking_mode_as_it_is"]),
    (
        Reactor,
        "the descriptor is asked for twice",
        &["the_very_source_comes_back_and_as_fd_is_called_once"],
    ),
    (
        Reactor,
        "a regular file is accepted",
        &["regular_files_and_directories_are_refused_and_given_up"],
    ),
    (
        Reactor,
        "a refused source is kept",
        &["regular_files_and_directories_are_refused_and_given_up"],
    ),
    (Reactor, "removing by number says no", &["removing_says_whether_there_was_one"]),
    (Reactor, "removing by number says yes", &["removing_says_whether_there_was_one"]),
    (Reactor, "a watch is removed again", &["removing_says_whether_there_was_one"]),
    (
        Reactor,
        "a removed watch is called on",
        &["what_a_callback_removed_is_not_called_in_the_same_batch"],
    ),
    (
        Reactor,
        "a removed watch keeps its source",
        &[
            "a_source_lives_as_long_as_its_watch",
            "a_watch_that_removes_itself_is_dropped_when_its_callback_returns",
        ],
    ),
    (
        Reactor,
        "a pause does nothing",
        &[
            "a_paused_watch_is_silent_and_resumes_with_what_is_pending",
            "what_a_callback_paused_is_not_called_in_the_same_batch",
        ],
    ),
    (
        Reactor,
        "a resume does nothing",
        &["a_paused_watch_is_silent_and_resumes_with_what_is_pending"],
    ),
    // Callbacks.
    (
        Reactor,
        "a callback runs inside the call that queues it",
        &["callbacks_run_in_order_and_never_inside_the_call"],
    ),
    (
        Reactor,
        "callbacks run last in, first out",
        &["callbacks_run_in_order_and_never_inside_the_call"],
    ),
    (
        Reactor,
        "callbacks run in the turn that queues them",
        &[
            "what_callbacks_queue_waits_for_the_next_turn",
            "an_endless_chain_of_callbacks_does_not_starve_descriptors",
            "an_endless_chain_of_callbacks_does_not_starve_timers",
        ],
    ),
    (
        Reactor,
        "a cancelled callback runs",
        &["a_cancelled_callback_does_not_run_and_is_dropped_at_once"],
    ),
    (
        Reactor,
        "a panic takes the next callback along",
        &["a_panicking_callback_or_timer_does_not_stop_the_next"],
    ),
    (
        Reactor,
        "a destructor finds the loop borrowed",
        &["a_destructor_may_ask_the_reactor_for_anything"],
    ),
    // Timers.
    (Reactor, "timers fire early", &["timers_fire_once_by_deadline_and_never_early"]),
    (
        Reactor,
        "the last of equal deadlines fires first",
        &["equal_deadlines_fire_in_order_of_insertion"],
    ),
    (
        Reactor,
        "a timer of no delay fires inside the call",
        &["a_zero_delay_fires_later_not_inside_the_call"],
    ),
    (
        Reactor,
        "timers fire in the turn that sets them",
        &["an_endless_chain_of_timers_starves_neither_descriptors_nor_callbacks"],
    ),
    (Reactor, "the longest delay fires at once", &["the_longest_delay_never_fires"]),
    (
        Reactor,
        "a cancelled timer fires",
        &[
            "a_cancelled_timer_does_not_fire_and_is_dropped_at_once",
            "a_timer_cancelled_by_one_of_the_same_batch_does_not_fire",
        ],
    ),
    (
        Reactor,
        "a cancelled timer keeps its callback",
        &[
            "a_cancelled_timer_does_not_fire_and_is_dropped_at_once",
            "dropping_a_handle_changes_nothing_and_a_guard_cancels",
        ],
    ),
    (
        Reactor,
        "a timer that has fired is cancelled",
        &["a_cancelled_timer_does_not_fire_and_is_dropped_at_once"],
    ),
    (
        Reactor,
        "the handle of what is over names another",
        &["the_handle_of_what_is_over_names_nobody"],
    ),
    (
        Reactor,
        "a reset timer keeps its place",
        &["a_timer_that_is_reset_goes_behind_those_of_its_deadline"],
    ),
    (Reactor, "a reset does nothing", &["a_timer_that_was_reset_fires_at_its_new_deadline"]),
    (Reactor, "the clock stands still in a callback", &["a_delay_counts_from_its_call"]),
    // Posts.
    (Reactor, "a post does not wake", &["a_post_wakes_a_reactor_that_has_nothing_else_to_do"]),
    (
        Reactor,
        "a post comes a turn late",
        &["posts_and_callbacks_of_the_loops_thread_share_one_queue"],
    ),
    (
        Reactor,
        "a hundredth of the posts is lost",
        &["a_post_from_another_thread_wakes_a_sleeping_loop"],
    ),
    // Closing.
    (
        Reactor,
        "close does nothing",
        &[
            "close_drops_everything_once_and_runs_nothing",
            "a_closed_reactor_takes_nothing",
            "posts_that_race_with_close_are_called_or_dropped",
        ],
    ),
    (Reactor, "close runs what is queued", &["close_drops_everything_once_and_runs_nothing"]),
    (Reactor, "a closed loop accepts a callback", &["a_closed_reactor_takes_nothing"]),
    (Reactor, "a closed loop accepts a timer", &["a_closed_reactor_takes_nothing"]),
    (Reactor, "a closed loop accepts a watch", &["a_closed_reactor_takes_nothing"]),
    (Reactor, "a closed loop accepts a post", &["a_closed_reactor_takes_nothing"]),
    // Registrations.
    (
        Attached,
        "a registration keeps its first waker",
        &["a_descriptor_wakes_a_run_that_moved_to_another_waker"],
    ),
    (Attached, "a registration wakes nobody", &["small_sleeps_do_not_spin"]),
    (Attached, "a registration wakes once", &["small_sleeps_do_not_spin"]),
    (Attached, "a registration fails later", &["small_sleeps_do_not_spin"]),
    (Attached, "a second registration fails", &["several_loops_share_a_host"]),
    (
        Attached,
        "a dropped registration stays",
        &["close_releases_the_descriptors", "ten_loops_leave_nothing_behind"],
    ),
    (Attached, "a dropped registration is given back later", &["close_releases_the_descriptors"]),
    // Backends.
    (Own, "block_on drives nothing", &["start_runs_queued_callbacks_until_stop"]),
    (Own, "block_on gives up after one poll", &["a_timer_fires_once"]),
    (Own, "block_on drives, and says that it did not", &["start_runs_queued_callbacks_until_stop"]),
    (Own, "enter runs nothing", &["start_runs_queued_callbacks_until_stop"]),
    (Own, "enter runs it twice", &["start_runs_queued_callbacks_until_stop"]),
    (Attached, "enter runs it twice", &["start_runs_queued_callbacks_until_stop"]),
    (Own, "enter swallows a panic", &["enter_gives_the_innermost_and_restores_the_one_before"]),
    (
        Own,
        "it is embeddable, and drives itself",
        &["a_hook_around_a_sleep_brackets_it_or_is_refused"],
    ),
    (Own, "execute runs the job itself", &["two_jobs_that_wait_for_each_other_finish"]),
    (Own, "execute runs one job after the other", &["two_jobs_that_wait_for_each_other_finish"]),
    (
        Own,
        "execute drops the job",
        &[
            "a_jobs_value_comes_back_from_a_thread_with_a_name",
            "a_detached_job_keeps_a_run_that_ends_when_nothing_is_left",
        ],
    ),
    (
        Own,
        "execute keeps the job until the loop turns",
        &["a_cancelled_job_that_has_begun_runs_to_its_end"],
    ),
    (
        Own,
        "execute runs the job on a thread without a name",
        &["a_jobs_value_comes_back_from_a_thread_with_a_name"],
    ),
    // The executor that a loop drives.
    (
        Spawning,
        "it is asked for no tasks",
        &["a_task_that_any_thread_spawns_is_polled_on_the_loops_thread"],
    ),
    (
        Spawning,
        "a task is polled on a thread of its own",
        &[
            "a_task_that_any_thread_spawns_is_polled_on_the_loops_thread",
            "tasks_wait_while_nobody_drives_the_loop_and_none_is_lost",
        ],
    ),
    (
        Spawning,
        "an executor that is made later is not told of",
        &["what_a_callback_spawns_is_polled_in_the_same_run"],
    ),
    (
        Spawning,
        "a woken task does not wake the loop",
        &["a_wake_of_a_task_from_another_thread_wakes_a_sleeping_loop"],
    ),
    (
        Spawning,
        "a run that ends takes its tasks along",
        &["tasks_wait_while_nobody_drives_the_loop_and_none_is_lost"],
    ),
    (
        Spawning,
        "it polls until no task is awake",
        &["a_flood_of_tasks_and_the_rest_of_the_loop_starve_neither"],
    ),
    (
        Spawning,
        "its tasks outlive the loop",
        &["closing_a_loop_drops_the_tasks_of_the_executor_that_it_made"],
    ),
];

const HONEST: &str = "none";
const MUTANT: &str = "IOLOOP_MUTANT";

/// Runs one case on one fault, in a process of its own.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let mutant = std::env::var(MUTANT).expect("what to run");
    let [kind, fault, case] = mutant.split('/').collect::<Vec<_>>()[..] else { panic!("{mutant}") };
    let (fault, test) = (fault.to_owned(), "mutants::child");
    match kind {
        "Reactor" => ioloop_conformance::run_reactor(case, test, || reactors::rig(fault)),
        "Spawning" => ioloop_conformance::run(case, test, || executors::rig(fault)),
        kind => {
            let attached = kind == "Attached";
            ioloop_conformance::run(case, test, move || backends::rig(fault, attached));
        }
    }
}

/// Whether the case passes, and what was said if it does not.
fn passes(kind: Kind, fault: &str, case: &str) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(MUTANT, format!("{kind:?}/{fault}/{case}"))
        // Isolated already; and what hangs is given up soon.
        .env("IOLOOP_CONFORMANCE_CHILD", case)
        .env("IOLOOP_CONFORMANCE_PATIENCE", if fault == HONEST { "60" } else { "2" })
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    let said = said.concat();
    assert!(said.contains("running 1 test"), "{said}");
    (output.status.success(), said)
}

/// Does something for each of many, four at a time, since most of them wait; what it gives is what
/// was wrong.
fn for_each<T: Copy + Send>(all: Vec<T>, check: impl Fn(T) -> Option<String> + Sync) {
    let (left, wrong) = (Mutex::new(all), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(next) = left.lock().unwrap().pop() else { break };
                    wrong.lock().unwrap().extend(check(next));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A case that passes beside one that hangs.
#[test]
#[ignore = "run by the next test"]
fn beside() {}

#[test]
fn a_case_that_hung_was_not_named_and_took_the_other_results_along() {
    const CASE: &str = "a_timer_fires_once";
    // As under plain `cargo test`, which captures what tests print.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--test-threads=2", "child", "beside"])
        .env(MUTANT, format!("Attached/a registration wakes nobody/{CASE}"))
        .env("IOLOOP_CONFORMANCE_PATIENCE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("hangs: {CASE}\n  B113: ")), "{said}");
    let results = String::from_utf8_lossy(&output.stdout);
    assert!(results.contains("test beside ... ok"), "{results}");
    assert!(results.contains("test child ... FAILED"), "{results}");
}

#[test]
fn the_suite_fails_on_every_mutant() {
    let pairs = MUTANTS
        .iter()
        .flat_map(|(kind, fault, cases)| cases.iter().map(move |case| (*kind, *fault, *case)));
    for_each(pairs.collect(), |(kind, fault, case)| {
        let (passes, said) = passes(kind, fault, case);
        let is_found =
            said.contains(&format!("broken: {case}")) || said.contains(&format!("hangs: {case}"));
        (passes || !is_found).then(|| format!("{kind:?}: {fault}: {case} passes"))
    });
}

#[test]
fn what_the_mutants_are_made_of_passes() {
    let mut pairs: Vec<_> = MUTANTS
        .iter()
        .flat_map(|(kind, _, cases)| cases.iter().map(|case| (*kind, *case)))
        .collect();
    pairs.sort_by_key(|(kind, case)| (*kind as u8, *case));
    pairs.dedup();
    for_each(pairs, |(kind, case)| {
        let (passes, said) = passes(kind, HONEST, case);
        (!passes).then(|| format!("{kind:?}: {case} fails: {said}"))
    });
}
