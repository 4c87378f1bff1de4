//! The deadlines against a plain list. Under Miri there is less of everything, see RELIABILITY.md.

use super::*;
use crate::engine::tuning::TIMERS_MOVED;

/// All that is due, turn after turn while a crowd is moved.
fn drain(queue: &mut Deadlines<u32>, now: Nanos) -> Vec<u32> {
    let mut drained = Vec::new();
    loop {
        queue.set_due_aside(now, usize::MAX);
        drained.extend(std::iter::from_fn(|| queue.next_due()));
        if !queue.has_due(now) {
            return drained;
        }
    }
}

#[test]
fn hands_out_by_deadline_then_by_order_of_insertion() {
    let mut queue = Deadlines::new();
    for (at, value) in [(5, 50), (3, 30), (5, 51), (-1, 0), (3, 31), (9, 90)] {
        queue.insert(at, value);
    }
    assert_eq!(queue.earliest(), Some(-1));
    assert_eq!(drain(&mut queue, 5), [0, 30, 31, 50, 51]);
    assert_eq!(queue.earliest(), Some(9));
    assert_eq!(queue.len(), 1);
}

#[test]
fn what_the_due_ones_insert_waits_for_the_next_round() {
    let mut queue = Deadlines::new();
    queue.insert(1, 1);
    queue.insert(2, 2);
    queue.set_due_aside(10, usize::MAX);
    assert_eq!(queue.next_due(), Some(1));
    queue.insert(0, 3);
    assert_eq!(queue.next_due(), Some(2));
    assert_eq!(queue.next_due(), None);
    assert_eq!(drain(&mut queue, 10), [3]);
}

#[test]
fn one_that_is_due_can_still_be_removed_or_reset() {
    let mut queue = Deadlines::new();
    let removed = queue.insert(1, 1);
    let reset = queue.insert(2, 2);
    queue.insert(3, 3);
    queue.set_due_aside(3, usize::MAX);
    assert_eq!(queue.remove(removed), Some(1));
    assert!(queue.reset(reset, 7));
    assert_eq!(queue.next_due(), Some(3));
    assert_eq!(queue.next_due(), None);
    assert_eq!(queue.earliest(), Some(7));
    assert_eq!(drain(&mut queue, 7), [2]);
    assert!(!queue.reset(reset, 8), "it was handed out");
}

#[test]
fn one_that_was_put_off_had_the_next_deadline_searched_each_time() {
    let mut queue = Deadlines::new();
    let idle = queue.insert(100, 1);
    for now in 1..50 {
        assert!(queue.reset(idle, 100 + now));
        assert_eq!(queue.known_wake(), 100, "to wake once costs less");
        assert!(!queue.has_due(now));
    }
    assert_eq!(queue.earliest(), Some(149), "it is known all the same");
    assert!(!queue.set_due_aside(100, usize::MAX));
    assert_eq!(queue.wake_at(), 149);
    assert!(queue.reset(idle, 120));
    assert_eq!(queue.known_wake(), 120, "an earlier one counts at once");
    assert!(queue.reset(idle, 130));
    assert!(!queue.has_due(125));
    assert_eq!(queue.wake_at(), 130, "it has been asked for in vain");
    assert!(queue.reset(idle, 131 + TIMER_PUT_OFF));
    assert_eq!(queue.wake_at(), 131 + TIMER_PUT_OFF, "that is too early");
    assert_eq!(drain(&mut queue, 131 + TIMER_PUT_OFF), [1]);
}

/// A generator of numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    /// From nanoseconds to years ahead, or a little in the past; often the same.
    fn deadline(&mut self, now: Nanos) -> Nanos {
        let bits = self.below(56);
        let distance = (self.below(8) << bits >> 3) as Nanos;
        if self.below(20) == 0 { now - distance } else { now + distance }
    }
}

/// Against a plain list, through insertions, removals, resets and the passing of time.
fn check_against_a_list(mut queue: Deadlines<u32>, seed: u64, steps: u32, crowd: usize) {
    let mut random = Random(seed);
    let mut model: Vec<(Nanos, u32, Key, u32)> = Vec::new();
    let mut now = 0;
    for step in 0..steps {
        let dice = random.below(100);
        if dice < 45 || model.len() < crowd {
            let at = random.deadline(now);
            model.push((at, step, queue.insert(at, step), step));
        } else if dice < 65 && !model.is_empty() {
            let index = random.below(model.len() as u64) as usize;
            let (_, _, key, value) = model.swap_remove(index);
            assert_eq!(queue.remove(key), Some(value));
            assert_eq!(queue.remove(key), None);
        } else if dice < 85 && !model.is_empty() {
            let index = random.below(model.len() as u64) as usize;
            let at = random.deadline(now);
            assert!(queue.reset(model[index].2, at));
            (model[index].0, model[index].1) = (at, step);
        } else if dice < 90 {
            now = now.max(random.deadline(now) >> random.below(8));
            model.sort();
            let due = model.partition_point(|entry| entry.0 <= now);
            let due: Vec<u32> = model.drain(..due).map(|entry| entry.3).collect();
            assert!(queue.has_due(now) || due.is_empty());
            let moves = |queue: &mut Deadlines<u32>| {
                queue.opened.is_some() || queue.crowd_opening().is_some_and(|at| at <= now)
            };
            assert!(!queue.has_due(now) || moves(&mut queue) || !due.is_empty());
            assert_eq!(drain(&mut queue, now), due);
            assert!(queue.wake_at() > now, "there is nothing to wake for");
        }
        let earliest = model.iter().map(|entry| entry.0).min();
        assert!(queue.wake_at() <= earliest.unwrap_or(NEVER), "not after it is due");
        assert_eq!(queue.wake_at() == NEVER, earliest.is_none_or(|at| at == NEVER));
        assert_eq!(queue.earliest(), earliest);
        assert_eq!(queue.len(), model.len());
    }
    model.sort();
    let mut listed: Vec<_> = queue.iter().map(|(at, value)| (at, *value)).collect();
    listed.sort();
    let mut expected: Vec<_> = model.iter().map(|entry| (entry.0, entry.3)).collect();
    expected.sort();
    assert_eq!(listed, expected);
    let expected: Vec<u32> = model.iter().map(|entry| entry.3).collect();
    assert_eq!(drain(&mut queue, Nanos::MAX), expected);
    assert_eq!(queue.len(), 0);
    assert_eq!(queue.earliest(), None);
}

#[test]
fn agrees_with_a_plain_list_through_long_random_histories() {
    let (seeds, part) = if cfg!(miri) { (2, 4) } else { (20, 1) };
    for seed in 0..seeds {
        check_against_a_list(Deadlines::new(), seed, 2_000 / part, 0);
    }
    check_against_a_list(Deadlines::new(), 20, 4_000 / part, 1_000 / part as usize);
}

#[test]
fn agrees_with_a_plain_list_where_crowds_are_moved_a_few_at_a_time() {
    let (seeds, part) = if cfg!(miri) { (2, 4) } else { (20, 1) };
    for seed in 0..seeds {
        let mut queue = Deadlines::new();
        queue.far.crowd = 1 << (seed % 4);
        check_against_a_list(queue, seed, 2_000 / part, 200);
    }
}

#[test]
fn a_crowd_whose_time_came_held_a_turn_up_until_all_of_it_was_moved() {
    let mut queue = Deadlines::new();
    let (crowd, start) = (100 * TIMERS_MOVED, 1 << 40);
    let deadline = |n: usize| start + (n * 7919 % crowd) as Nanos;
    for n in 0..crowd {
        queue.insert(deadline(n), n as u32);
    }
    queue.insert(start - 1, crowd as u32);
    queue.remove(queue.timers.key_of(0));
    // A loop that wakes when it is told to has moved all before the first is due.
    let (mut now, mut parts) = (0, 0);
    while queue.wake_at() < start - 1 {
        now = now.max(queue.wake_at()) + 1;
        assert!(!queue.set_due_aside(now, TIMERS_MOVED), "nothing is due");
        parts += 1;
    }
    assert!(parts >= 2 * 100, "twice, a part at a time: {parts}");
    assert!(now < start - 1);
    let mut expected: Vec<_> = (1..crowd).map(|n| (deadline(n), n as u32)).collect();
    expected.sort_unstable();
    let all: Vec<u32> = expected.into_iter().map(|(_, n)| n).collect();
    assert_eq!(drain(&mut queue, start - 1), [crowd as u32]);
    assert_eq!(drain(&mut queue, start + crowd as Nanos), all);
}

#[test]
fn orders_are_numbered_anew_when_the_numbers_run_out() {
    let (seeds, steps) = if cfg!(miri) { (1, 1_000) } else { (10, 2_000) };
    for seed in 0..seeds {
        let mut queue = Deadlines::new();
        queue.inserted = DUE - 500;
        check_against_a_list(queue, seed, steps, 100);
    }
}

#[test]
fn a_crowd_at_the_end_of_time_is_no_endless_search() {
    let mut queue = Deadlines::new();
    let keys: Vec<_> = (0..1000).map(|value| queue.insert(Nanos::MAX, value)).collect();
    assert_eq!(queue.earliest(), Some(Nanos::MAX));
    queue.insert(Nanos::MAX - 1, 1000);
    assert_eq!(queue.earliest(), Some(Nanos::MAX - 1));
    queue.insert(7, 1001);
    assert_eq!(drain(&mut queue, 7), [1001]);
    assert_eq!(queue.remove(keys[3]), Some(3));
    assert_eq!(drain(&mut queue, Nanos::MAX).len(), 1000);
}

#[test]
fn a_crowd_whose_earliest_was_cancelled_sent_what_came_before_it_through_the_heap() {
    let mut queue = Deadlines::new();
    let (bucket, crowd) = (1 << 40, (1 << 40) + (1 << 30));
    let keys: Vec<_> = (0..1000).map(|n| queue.insert(crowd + Nanos::from(n), n)).collect();
    assert_eq!(queue.wake_at(), crowd, "all came in order");
    queue.remove(keys[0]);
    assert_eq!(queue.wake_at(), bucket, "when it begins");
    queue.insert(1 << 30, 1000);
    assert_eq!(queue.near.len(), 0);
    assert_eq!(queue.wake_at(), 1 << 30);
    assert_eq!(drain(&mut queue, 1 << 30), [1000]);
    assert_eq!(queue.earliest(), Some(crowd + 1));
}

#[test]
fn a_crowd_whose_earliest_is_cancelled_was_looked_through_each_time() {
    let mut queue = Deadlines::new();
    let crowd: Vec<_> = (0..5000).map(|n| (Nanos::from(n * 7919 % 5000), n)).collect();
    let key = |(at, n): &(Nanos, u32)| queue.insert((1 << 45) + (*at << 16), *n);
    let mut keys: Vec<_> = crowd.iter().map(key).zip(&crowd).collect();
    keys.sort_by_key(|(_, (at, _))| *at);
    for (index, (key, (at, _))) in keys.into_iter().enumerate() {
        assert_eq!(queue.earliest(), Some((1 << 45) + (*at << 16)));
        assert!(index == 0 || queue.far.first().len() <= TIMERS_SEARCHED, "looked through");
        queue.remove(key);
    }
    assert_eq!(queue.next(), None);
}

#[test]
fn what_cancelled_timers_leave_over_is_dropped() {
    let mut queue = Deadlines::new();
    let live: Vec<_> = (0..100).map(|n| queue.insert(Nanos::from(n) << 24, n)).collect();
    for n in 0..10_000 {
        let key = queue.insert(Nanos::from(n) << 18, n);
        queue.remove(key);
        queue.reset(live[7], (Nanos::from(n) << 20) - 1);
    }
    assert!(queue.near.len() + queue.far.len() <= TIMERS_FEW + 3 * live.len());
    assert_eq!(queue.len(), live.len());
}

#[test]
fn what_a_crowd_of_cancelled_timers_leaves_over_is_dropped_a_few_at_a_time() {
    let mut queue = Deadlines::new();
    let crowd: Vec<_> = (0..10_000).map(|n| queue.insert(1 << 40, n)).collect();
    for key in crowd {
        let before = queue.far.len();
        queue.remove(key);
        assert!(before - queue.far.len() <= TIMERS_SWEPT);
    }
    assert!(queue.near.len() + queue.far.len() <= 2 * TIMERS_FEW);
}

#[test]
fn cancelling_a_crowd_of_due_timers_went_through_all_of_them_at_once() {
    const CROWD: u32 = 10_000;
    let held = |queue: &Deadlines<u32>| queue.near.len() + queue.sifted.len();
    for backwards in [false, true] {
        let mut queue = Deadlines::new();
        // Before the origin, so there is no bucket for them.
        let mut keys: Vec<_> =
            (0..CROWD).map(|n| queue.insert(-1 - Nanos::from(n % 7), n)).collect();
        if backwards {
            keys.reverse();
        }
        let left = keys.split_off(CROWD as usize - 100);
        for (n, key) in keys.into_iter().enumerate() {
            let before = held(&queue);
            queue.remove(key);
            assert!(before - held(&queue) <= TIMERS_SWEPT, "{n}");
        }
        assert!(held(&queue) <= CROWD as usize / 8, "{}", held(&queue));
        let mut expected: Vec<_> = if backwards { 0..100 } else { CROWD - 100..CROWD }.collect();
        expected.sort_by_key(|n| (-Nanos::from(n % 7), *n));
        assert_eq!(left.len(), 100);
        assert_eq!(drain(&mut queue, 0), expected);
    }
}

#[test]
fn a_crowd_of_due_timers_was_set_aside_all_at_once() {
    let mut queue = Deadlines::new();
    let deadlines = (0..1000).map(|n| (Nanos::from(n * 7919 % 100), n));
    let mut expected: Vec<_> = deadlines.inspect(|(at, n)| _ = queue.insert(*at, *n)).collect();
    expected.sort();
    let mut fired = Vec::new();
    while queue.set_due_aside(100, 64) {
        let round: Vec<u32> = std::iter::from_fn(|| queue.next_due()).collect();
        assert!(round.len() == 64 || queue.len() == 0, "{} at once", round.len());
        assert_eq!(queue.has_due(100), queue.len() > 0, "the loop does not sleep before the rest");
        fired.extend(round);
    }
    assert_eq!(fired, expected.into_iter().map(|(_, n)| n).collect::<Vec<_>>());
}

/// Whatever is asked of a crowd follows a bounded number of its references.
#[test]
fn the_next_deadline_of_a_crowd_whose_earliest_was_cancelled_moved_all_of_it_at_once() {
    const MOST: usize = TIMERS_MOVED + 2 * TIMERS_SEARCHED;
    let crowd = if cfg!(miri) { 3 } else { 50 } * TIMERS_MOVED as u32;
    let mut queue = Deadlines::new();
    let mut random = Random(7);
    let counted = |queue: &mut Deadlines<u32>, what: &str, n: u32| {
        let steps = queue.steps.take();
        assert!(steps <= MOST, "{what} {n} of a crowd followed {steps} references");
    };
    let mut deadline = || (1 << 45) + random.below(1 << 44) as Nanos;
    let mut timers = Vec::new();
    for n in 0..crowd {
        let at = deadline();
        timers.push((at, queue.insert(at, n)));
        counted(&mut queue, "insertion", n);
    }
    timers.sort_unstable();
    // Until it is known, each answer is before it, and no answer is before the last one.
    let (mut answered, mut calls) = (0, 0);
    queue.remove(timers[0].1);
    while answered < timers[1].0 {
        let next = queue.next().unwrap();
        counted(&mut queue, "question", calls);
        assert!((answered..=timers[1].0).contains(&next), "{next} after {answered}");
        (answered, calls) = (next, calls + 1);
        assert!(calls <= 8 * crowd / TIMERS_MOVED as u32, "it comes nearer");
    }
    for n in 1..crowd / 2 {
        let (at, key) = timers[n as usize];
        if n % 3 == 0 {
            queue.reset(key, at + (1 << 43));
        } else {
            queue.remove(key);
        }
        counted(&mut queue, "cancellation", n);
        let (next, wake) = (queue.next().unwrap(), queue.wake_at());
        assert!(wake <= next && next <= timers[n as usize + 1].0);
        counted(&mut queue, "question", n);
    }
    let mut now = 1 << 45;
    while queue.len() > 0 {
        now = now.max(queue.wake_at()) + 1;
        queue.set_due_aside(now, 64);
        counted(&mut queue, "turn", now as u32);
        while queue.next_due().is_some() {}
    }
}

#[test]
fn the_memory_of_a_crowd_of_timers_was_given_back_in_one_turn() {
    const STEP: usize = 4 << 20;
    let mut queue = Deadlines::new();
    let crowd = if cfg!(miri) { 200_000 } else { 600_000 };
    let keys: Vec<_> = (0..crowd).map(|n| queue.insert(1 << 40, n)).collect();
    let held = |queue: &Deadlines<u32>| queue.timers.bytes();
    let before = held(&queue);
    let last = queue.insert(1 << 41, crowd);
    for key in keys.into_iter().chain([last]) {
        let before = held(&queue);
        queue.remove(key);
        assert!(before - held(&queue) <= STEP);
    }
    let mut turns = 0;
    while queue.has_due(7) {
        let before = held(&queue);
        assert!(queue.wake_at() <= 7, "a loop does not sleep");
        assert!(!queue.set_due_aside(7, 64));
        assert!(before - held(&queue) <= STEP);
        turns += 1;
    }
    assert!(turns >= before / STEP / 2 - 1 && held(&queue) <= STEP / 4, "{turns}");
    assert_eq!(queue.wake_at(), NEVER);
}
