//! The watch table against a kernel's set of its own.

use std::fs::read_to_string;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::io::{DupFlags, dup3};

use super::*;
use crate::reactor::readiness::Events;
use crate::reactor::watcher::Ready;
use crate::system::{AsFd, BorrowedFd};

struct Table {
    waker: PollWaker,
    poller: Poller,
    watches: Watches,
}

impl Table {
    fn new() -> Self {
        let (poller, waker, _) = Poller::new().unwrap();
        Table { waker, poller, watches: Watches::new() }
    }

    /// Watches a number, whatever owns its file.
    fn add(&mut self, fd: RawFd, role: Role) -> io::Result<(WatchKey, usize)> {
        self.begin(fd, role, Start::Called)
    }

    fn begin(&mut self, fd: RawFd, role: Role, start: Start) -> io::Result<(WatchKey, usize)> {
        let (holder, _) = UnixStream::pair().unwrap();
        let watcher = Watcher::of(Begun(holder, start));
        let interest = interest(role);
        match self.watches.add(&mut self.poller, NewWatch { fd, role, interest, watcher }) {
            Ok((key, displaced)) => Ok((key, displaced.into_iter().flatten().count())),
            Err((error, _)) => Err(error),
        }
    }

    /// The kernel's set: number, interest and key of each watch.
    fn kernel(&self) -> Vec<(RawFd, Interest, u64)> {
        self.sets().concat()
    }

    /// The same, for each set that there is.
    fn sets(&self) -> Vec<Vec<(RawFd, Interest, u64)>> {
        self.poller.numbers().map(Table::set).collect()
    }

    fn set(number: RawFd) -> Vec<(RawFd, Interest, u64)> {
        let info = read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let watches = info.lines().filter_map(|line| {
            let mut words = line.strip_prefix("tfd:")?.split_whitespace();
            let fd = words.next()?.parse().ok()?;
            let events = u32::from_str_radix(words.nth(1)?, 16).ok()?;
            let key = u64::from_str_radix(words.nth(1)?, 16).ok()?;
            let mut interest = Interest::empty();
            interest.set(Interest::READ, events & 1 != 0);
            interest.set(Interest::WRITE, events & 4 != 0);
            // The waker and the timer have keys beyond those of any slot.
            (key as u32 != u32::MAX && key as u32 != u32::MAX - 1).then_some((fd, interest, key))
        });
        watches.collect()
    }

    fn poll(&mut self) -> Vec<Event> {
        self.watches.begin_poll(self.poller.is_full());
        self.poller.wait(false, false).unwrap();
        self.poller.ready().collect()
    }

    fn renew(&mut self) -> usize {
        let mut gone = Vec::new();
        assert!(self.renew_some(usize::MAX, &mut gone));
        gone.len()
    }

    fn renew_some(&mut self, most: usize, gone: &mut Vec<Watcher>) -> bool {
        self.watches.renew(&mut self.poller, &self.waker, most, gone).unwrap()
    }
}

/// A watcher that says how its watch begins.
struct Begun(UnixStream, Start);

impl Ready for Begun {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn ready(&mut self, _events: Events) {}

    fn location(&self) -> Caller {
        std::panic::Location::caller()
    }

    fn begin(&mut self) -> Start {
        self.1
    }
}

fn interest(role: Role) -> Interest {
    match role {
        Role::Reader => Interest::READ,
        Role::Writer => Interest::WRITE,
        Role::Handler => Interest::READ | Interest::WRITE,
    }
}

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    (ours.into(), peer)
}

/// Closes what has a number, and lets another file have it, in one step.
fn reuse(number: &mut OwnedFd, file: OwnedFd) {
    dup3(file, number, DupFlags::CLOEXEC).unwrap();
}

#[test]
fn a_watch_key_survives_the_way_through_its_bits() {
    for side in [0, 1] {
        let key = WatchKey { slot: 0x7fff_ffff, side, serial: 0xdead_beef };
        assert_eq!(WatchKey::from_bits(key.bits()), key);
    }
}

#[test]
fn the_kernel_waits_for_what_is_wanted_after_every_sequence_of_changes() {
    // With the watches that begin paused, and without.
    for (changes, length) in [(8, 4), (12, 3)] {
        (0..usize::pow(changes, length)).for_each(|sequence| change(sequence, changes, length));
    }

    fn change(sequence: usize, changes: usize, length: u32) {
        let mut table = Table::new();
        let (ours, _peer) = pair();
        let fd = ours.as_raw_fd();
        // The watch that each direction should have: absent, or active or not.
        let mut model: [Option<bool>; 2] = [None, None];
        for step in 0..length {
            let change = sequence / changes.pow(step) % changes;
            let role = [Role::Reader, Role::Writer][change % 2];
            let half = &mut model[role.side()];
            let key = table.watches.find(fd, role);
            assert_eq!(key.is_some(), half.is_some());
            let Table { poller, watches, .. } = &mut table;
            match (change / 2, key) {
                (0, _) => {
                    table.add(fd, role).unwrap();
                    *half = Some(true);
                }
                (1, Some(key)) => {
                    assert!(watches.remove(poller, key).is_some());
                    *half = None;
                }
                (2, Some(key)) => {
                    assert!(matches!(watches.pause(poller, key), Ok(true)));
                    *half = Some(false);
                }
                (3, Some(key)) => {
                    assert!(matches!(watches.resume(poller, key, None), Ok(Ok(true))));
                    *half = Some(true);
                }
                (begun @ 4.., _) => {
                    table.begin(fd, role, [Start::Paused, Start::Known][begun - 4]).unwrap();
                    *half = Some(false);
                }
                _ => {}
            }
            let mut wanted = Interest::empty();
            wanted.set(Interest::READ, model[0] == Some(true));
            wanted.set(Interest::WRITE, model[1] == Some(true));
            let told: Vec<_> = table.kernel().iter().map(|(_, interest, _)| *interest).collect();
            let expected = (!wanted.is_empty()).then_some(wanted);
            assert_eq!(told, Vec::from_iter(expected), "after {sequence:o}, {step}");
            assert_eq!(table.watches.len(), model.iter().flatten().count());
        }
    }
}

#[test]
fn a_replacement_on_a_reused_number_is_known_by_a_key_that_was_never_in_the_kernel() {
    let mut table = Table::new();
    let (mut number, _old_peer) = pair();
    let fd = number.as_raw_fd();
    table.add(fd, Role::Reader).unwrap();
    table.add(fd, Role::Writer).unwrap();
    let old = table.kernel()[0].2;
    reuse(&mut number, pair().0);
    assert_eq!(table.kernel(), [], "nobody else has the old file");
    let (_, displaced) = table.add(fd, Role::Reader).unwrap();
    assert_eq!(displaced, 2);
    assert_eq!(table.watches.len(), 1);
    let [(at, interest, new)] = table.kernel()[..] else {
        panic!("one watch is one entry");
    };
    assert_eq!((at, interest), (fd, Interest::READ));
    assert_ne!(new, old);
    let event = |key| Event { key, ready: Events::READ };
    table.watches.check([event(new)].into_iter());
    assert!(!table.watches.is_astray());
    table.watches.check([event(old)].into_iter());
    assert!(table.watches.is_astray());
    assert!(table.watches.take(event(old), 0).is_none());
}

#[test]
fn renewing_drops_orphans_and_reports_the_dead() {
    let mut table = Table::new();
    let (healthy, _peer) = pair();
    table.add(healthy.as_raw_fd(), Role::Reader).unwrap();
    let (paused, _peer) = pair();
    let (key, _) = table.add(paused.as_raw_fd(), Role::Reader).unwrap();
    assert!(matches!(table.watches.pause(&mut table.poller, key), Ok(true)));

    // An orphan: removed when its number meant another file. Its duplicate keeps it.
    let (mut orphan, mut peer) = pair();
    let _dup = orphan.try_clone().unwrap();
    let (key, _) = table.add(orphan.as_raw_fd(), Role::Reader).unwrap();
    reuse(&mut orphan, pair().0);
    assert!(table.watches.remove(&mut table.poller, key).is_some());
    peer.write_all(b"x").unwrap();
    let events = table.poll();
    assert_eq!(events.len(), 1);
    table.watches.check(events[..1].iter().copied());
    assert!(table.watches.is_astray());

    // Dead, and not noticed yet: another file has its number, in two directions.
    let (mut dead, _peer) = pair();
    let _dup = dead.try_clone().unwrap();
    for role in [Role::Reader, Role::Writer] {
        table.add(dead.as_raw_fd(), role).unwrap();
    }
    reuse(&mut dead, pair().0);

    let before: Vec<_> =
        table.kernel().into_iter().filter(|(fd, ..)| *fd == healthy.as_raw_fd()).collect();
    assert_eq!(table.renew(), 2, "the sources of the dead one");
    assert_eq!(table.kernel(), before, "the healthy one keeps its key");
    assert_eq!(table.watches.len(), 2);
    assert!(table.poll().is_empty());
    for role in [Role::Reader, Role::Writer] {
        assert!(table.watches.find(dead.as_raw_fd(), role).is_none());
    }
    // Again, with nothing to be rid of.
    assert_eq!(table.renew(), 0);
    assert_eq!(table.kernel(), before);
}

#[test]
fn a_number_that_turns_out_to_be_dead_takes_both_directions_along() {
    for pause in [false, true] {
        let mut table = Table::new();
        let (mut number, _peer) = pair();
        let _dup = number.try_clone().unwrap();
        let (reader, _) = table.add(number.as_raw_fd(), Role::Reader).unwrap();
        let (writer, _) = table.add(number.as_raw_fd(), Role::Writer).unwrap();
        reuse(&mut number, pair().0);
        let Table { poller, watches, .. } = &mut table;
        let displaced = if pause {
            watches.pause(poller, reader).unwrap_err()
        } else {
            watches.remove(poller, reader).unwrap()
        };
        assert!(displaced.iter().all(Option::is_some));
        assert_eq!(watches.len(), 0);
        assert!(watches.remove(poller, writer).is_none());
        assert!(matches!(watches.pause(poller, writer), Ok(false)));
        assert!(matches!(watches.resume(poller, writer, None), Ok(Ok(false))));
        // The orphan's key is stale, so its event will show.
        let events = table.poll();
        assert_eq!(events.len(), 1, "a socket with room to write");
        table.watches.check(events[..1].iter().copied());
        assert!(table.watches.is_astray());
    }
}

#[test]
fn a_socket_that_need_not_be_asked_about_served_a_dead_watch_of_its_number() {
    for was_paused in [false, true] {
        let mut table = Table::new();
        let (mut number, _peer) = pair();
        let fd = number.as_raw_fd();
        let (dead, _) = table.add(fd, Role::Reader).unwrap();
        if was_paused {
            assert!(matches!(table.watches.pause(&mut table.poller, dead), Ok(true)));
        }
        reuse(&mut number, pair().0);
        let (reader, displaced) = table.begin(fd, Role::Reader, Start::Known).unwrap();
        assert_eq!(displaced, 1);
        table.begin(fd, Role::Writer, Start::Known).unwrap();
        assert!(table.kernel().is_empty());
        assert!(table.watches.remove(&mut table.poller, dead).is_none());
        assert!(matches!(table.watches.resume(&mut table.poller, reader, None), Ok(Ok(true))));
        let told = table.kernel();
        assert_eq!(told.len(), 1);
        assert_eq!(Key::from_bits(told[0].2), table.watches.entries.key_of(reader.slot));
        assert_eq!(table.watches.len(), 2);
    }
}

#[test]
fn one_that_begins_paused_was_refused_when_it_was_first_waited_for() {
    let mut table = Table::new();
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let (mut number, _peer) = pair();
    let paused = |table: &mut Table, fd| table.begin(fd, Role::Reader, Start::Paused);
    let errno = |refused: io::Result<(WatchKey, usize)>| {
        Errno::from_io_error(&refused.unwrap_err()).unwrap()
    };
    assert_eq!(errno(paused(&mut table, file.as_raw_fd())), Errno::PERM);
    assert_eq!(errno(paused(&mut table, RawFd::MAX)), Errno::BADF);
    // In the place of one that is paused, and dead by now, too.
    let (dead, _) = paused(&mut table, number.as_raw_fd()).unwrap();
    reuse(&mut number, file.into());
    assert_eq!(errno(paused(&mut table, number.as_raw_fd())), Errno::PERM);
    assert!(table.watches.remove(&mut table.poller, dead).is_some());
    assert!(table.watches.len() == 0 && table.kernel().is_empty());
}

#[test]
fn resuming_what_is_not_paused_finds_out_that_its_number_is_another_files() {
    for other in [None, Some(Role::Writer)] {
        let mut table = Table::new();
        let (mut number, _peer) = pair();
        let fd = number.as_raw_fd();
        let (reader, _) = table.add(fd, Role::Reader).unwrap();
        let other = other.map(|role| table.add(fd, role).unwrap().0);
        let Table { poller, watches, .. } = &mut table;
        assert!(matches!(watches.resume(poller, reader, None), Ok(Ok(true))));
        reuse(&mut number, pair().0);
        let displaced = watches.resume(poller, reader, None).unwrap().unwrap_err();
        assert_eq!(displaced.iter().flatten().count(), 1 + usize::from(other.is_some()));
        assert_eq!(watches.len(), 0);
        assert!(other.is_none_or(|other| watches.remove(poller, other).is_none()));
        // The number can be watched anew.
        table.add(fd, Role::Reader).unwrap();
        assert_eq!(table.kernel().len(), 1);
    }
}

#[test]
fn a_refused_number_leaves_no_room_in_the_tables() {
    let mut table = Table::new();
    let error = table.add(RawFd::MAX, Role::Reader).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::BADF));
    assert_eq!(table.watches.len(), 0);
    assert!(table.watches.slots.is_empty());
    assert!(table.watches.entries.iter().next().is_none());
}

#[test]
fn what_is_added_after_a_look_is_not_served_by_it() {
    let mut table = Table::new();
    let (ours, mut peer) = pair();
    let ours = Rc::new(ours);
    table.add(ours.as_raw_fd(), Role::Reader).unwrap();
    peer.write_all(b"x").unwrap();
    let event = table.poll()[0];
    table.add(ours.as_raw_fd(), Role::Reader).unwrap();
    assert!(table.watches.take(event, 0).is_none());
    let event = table.poll()[0];
    assert!(table.watches.take(event, 1).is_none());
    let (key, taken) = table.watches.take(event, 0).unwrap();
    assert!(table.watches.take(event, 0).is_none(), "its callback runs");
    assert!(table.watches.put_back(key, taken.watcher).is_none());
    assert!(table.watches.take(event, 0).is_some());
}

#[test]
fn a_handler_shares_its_number_with_nobody_but_replaces_one_that_is_dead() {
    let mut table = Table::new();
    let (mut number, _peer) = pair();
    let fd = number.as_raw_fd();
    for first in [Role::Reader, Role::Writer, Role::Handler] {
        let (key, _) = table.add(fd, first).unwrap();
        let before = table.kernel();
        let others = [Role::Reader, Role::Writer, Role::Handler].into_iter();
        for second in others.filter(|role| [first, *role].contains(&Role::Handler)) {
            let error = table.add(fd, second).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(table.kernel(), before, "a refusal changes nothing");
        reuse(&mut number, pair().0);
        let (fresh, displaced) = table.add(fd, Role::Handler).unwrap();
        assert_eq!(displaced, 1);
        let Table { poller, watches, .. } = &mut table;
        assert!(watches.remove(poller, key).is_none(), "it was dead");
        assert!(watches.remove(poller, fresh).is_some());
        assert_eq!(table.kernel(), []);
    }
}

#[test]
fn a_handle_named_another_watch_once_the_numbers_had_come_round() {
    let mut table = Table::new();
    let (one, _other) = UnixStream::pair().unwrap();
    let fd = one.as_raw_fd();
    let mut keys = Vec::new();
    let mut last = |table: &mut Table, role| {
        let (key, _) = table.add(fd, role).unwrap();
        assert!(!keys.contains(&key), "{key:?} comes again");
        keys.push(key);
        key
    };
    let first = last(&mut table, Role::Reader);
    // As if it had been replaced so often.
    table.watches.entries.at_mut(first.slot).unwrap().serials = u32::MAX - 1;
    last(&mut table, Role::Reader);
    let reader = last(&mut table, Role::Reader);
    assert!(table.watches.remove(&mut table.poller, reader).is_some());
    // The slot has no number left.
    for _ in 0..3 {
        let key = last(&mut table, Role::Reader);
        assert_ne!(key.slot, first.slot);
        assert!(table.watches.remove(&mut table.poller, key).is_some());
    }
}

/// A watch that goes round its changes, and what the kernel should wait for.
fn change_one(table: &mut Table, number: &mut OwnedFd, key: WatchKey, change: usize) -> Interest {
    let fd = number.as_raw_fd();
    let Table { poller, watches, .. } = table;
    let both = Interest::READ | Interest::WRITE;
    match change {
        0 => {
            assert!(watches.remove(poller, key).is_some());
            Interest::empty()
        }
        1 => {
            assert!(watches.remove(poller, key).is_some());
            table.add(fd, Role::Writer).unwrap();
            Interest::WRITE
        }
        2 => {
            assert!(matches!(watches.pause(poller, key), Ok(true)));
            Interest::empty()
        }
        3 => {
            assert!(matches!(watches.pause(poller, key), Ok(true)));
            assert!(matches!(watches.resume(poller, key, None), Ok(Ok(true))));
            Interest::READ
        }
        4 => {
            table.add(fd, Role::Writer).unwrap();
            both
        }
        5 => {
            let replaced = table.add(fd, Role::Reader).unwrap().1;
            assert_eq!(replaced, 1);
            Interest::READ
        }
        6 => {
            reuse(number, pair().0);
            table.add(fd, Role::Reader).unwrap();
            Interest::READ
        }
        _ => {
            reuse(number, pair().0);
            assert!(watches.remove(poller, key).is_some());
            Interest::empty()
        }
    }
}

#[test]
fn what_changed_while_a_set_was_made_anew_is_in_one_set_as_it_is_wanted() {
    const WATCHES: usize = 5;
    for (moved, which, change) in (0..=WATCHES)
        .flat_map(|moved| (0..WATCHES).map(move |which| (moved, which)))
        .flat_map(|(moved, which)| (0..8).map(move |change| (moved, which, change)))
    {
        let mut table = Table::new();
        let (mut numbers, peers): (Vec<_>, Vec<_>) = (0..WATCHES).map(|_| pair()).unzip();
        let _duplicates: Vec<_> = numbers.iter().map(|one| one.try_clone().unwrap()).collect();
        let add = |one: &OwnedFd| table.add(one.as_raw_fd(), Role::Reader).unwrap().0;
        let keys: Vec<_> = numbers.iter().map(add).collect();
        let mut gone = Vec::new();
        assert!(!table.renew_some(moved, &mut gone));
        let wanted = change_one(&mut table, &mut numbers[which], keys[which], change);
        // One that is added meanwhile, in a slot of its own.
        let (late, late_peer) = pair();
        table.add(late.as_raw_fd(), Role::Reader).unwrap();
        for mut peer in peers.iter().chain([&late_peer]) {
            let _ = peer.write_all(b"x");
        }
        // As the kernel has them, an orphan apart, whose key nobody has.
        let kernel = |table: &mut Table| {
            let mut all = table.kernel();
            all.retain(|(.., key)| table.watches.entries.get(Key::from_bits(*key)).is_some());
            all.sort_by_key(|(fd, ..)| *fd);
            all.into_iter().map(|(fd, interest, _)| (fd, interest)).collect::<Vec<_>>()
        };
        let mut expected: Vec<_> = (numbers.iter().enumerate())
            .map(|(index, one)| {
                (one.as_raw_fd(), if index == which { wanted } else { Interest::READ })
            })
            .chain([(late.as_raw_fd(), Interest::READ)])
            .filter(|(_, interest)| !interest.is_empty())
            .collect();
        expected.sort_by_key(|(fd, _)| *fd);
        let about = format!("{change} of {which} when {moved} had moved");
        assert_eq!(kernel(&mut table), expected, "{about}");
        // What is ready is told, in whichever set it is; one whose number is new has no byte.
        let is_new = change >= 6;
        let ready: Vec<_> = table.poll().iter().map(|event| event.key).collect();
        for (fd, _) in &expected {
            let slot = table.watches.slot_of(*fd).unwrap();
            let told = ready.contains(&table.watches.entries.key_of(slot).bits());
            assert!(told || (is_new && *fd == numbers[which].as_raw_fd()), "{about}: {fd}");
        }
        let mut parts = 0;
        while !table.renew_some(2, &mut gone) {
            parts += 1;
            assert!(parts <= WATCHES);
        }
        assert_eq!(kernel(&mut table), expected, "{about}, at the end");
        assert_eq!(table.poller.numbers().count(), 1);
        assert_eq!(gone.len(), 0);
    }
}

#[test]
fn all_watches_moved_at_once_when_a_set_was_made_anew() {
    const WATCHES: usize = 20;
    const MOST: usize = 3;
    let mut table = Table::new();
    let pairs: Vec<_> = (0..WATCHES).map(|_| pair()).collect();
    for (ours, _) in &pairs {
        table.add(ours.as_raw_fd(), Role::Reader).unwrap();
    }
    let (before, number) = (table.kernel(), table.poller.descriptor());
    let (mut moved, mut parts, mut gone) = (0, 0, Vec::new());
    while !table.renew_some(MOST, &mut gone) {
        let [old, new] = &table.sets()[..] else { panic!("two sets") };
        assert_eq!(old.len() + new.len(), WATCHES);
        assert!(new.len() - moved <= MOST, "{} in one part", new.len() - moved);
        assert_eq!(table.poller.descriptor(), number, "the old one, until the end");
        (moved, parts) = (new.len(), parts + 1);
    }
    assert_eq!((parts, table.kernel()), (WATCHES.div_ceil(MOST) - 1, before));
    assert_ne!(table.poller.descriptor(), number);
}

#[test]
fn a_change_that_was_refused_while_a_set_was_made_anew_has_it_made_anew_again() {
    let mut table = Table::new();
    let (ours, _peer) = pair();
    table.add(ours.as_raw_fd(), Role::Reader).unwrap();
    table.watches.astray = true;
    assert!(!table.renew_some(0, &mut Vec::new()));
    table.watches.note_refused(true);
    table.renew();
    assert!(table.watches.is_astray());
    table.renew();
    assert!(!table.watches.is_astray());
}
