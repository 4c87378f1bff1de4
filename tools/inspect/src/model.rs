//! The tables that are shown, made of a picture and of those before it.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::picture::{Loop, Picture};

/// For how many pictures a watch that has spun stays in its table.
const REMEMBERED: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Loops,
    Calls,
    Waits,
    Spins,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Loops, Kind::Calls, Kind::Waits, Kind::Spins];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Loops => "loops",
            Kind::Calls => "slowest calls",
            Kind::Waits => "what they wait for",
            Kind::Spins => "what spins",
        }
    }

    /// The names of the columns.
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Kind::Loops => &[
                "name",
                "backend",
                "mode",
                "state",
                "busy",
                "turns/s",
                "polls/s",
                "calls/s",
                "events/s",
                "timers/s",
                "queued",
                "jobs",
                "exceptions",
                "thread",
            ],
            Kind::Calls => &["longest", "average", "calls/s", "share", "loop", "kind", "from"],
            Kind::Waits => &["count", "change", "paused", "loop", "kind", "from"],
            Kind::Spins => &["turns", "descriptor", "loop", "kind", "from"],
        }
    }

    /// The columns that a narrow terminal leaves out, in this order: those that go before any place
    /// or name is cut, and those that go before less than the end of it is left.
    pub(crate) fn left_out(self) -> [&'static [usize]; 2] {
        match self {
            Kind::Loops => [&[12, 10, 6, 9, 2, 11, 1, 8], &[13, 7, 5, 4]],
            Kind::Calls => [&[2, 1], &[5, 4, 3]],
            Kind::Waits => [&[2], &[4, 3, 1]],
            Kind::Spins => [&[], &[1, 3, 2]],
        }
    }

    /// By which column it is sorted at first, and whether the largest comes first.
    pub(crate) fn order(self) -> Option<(usize, bool)> {
        (self != Kind::Loops).then_some((0, true))
    }
}

/// One field of a table.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Text(String),
    Number(f64, String),
}

impl Cell {
    pub(crate) fn text(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Number(_, text) => text,
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Cell::Number(..))
    }

    fn compare(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Number(one, _), Cell::Number(two, _)) => one.total_cmp(two),
            _ => self.text().cmp(other.text()),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The loop that it is about.
    pub(crate) of: u64,
    /// It is what a user looks for: a loop that is held up, a watch that spins.
    pub(crate) is_bad: bool,
    pub(crate) cells: Vec<Cell>,
}

/// Sorts rows by a column. Those that are alike stay in their order.
pub(crate) fn sort(rows: &mut [Row], (column, largest_first): (usize, bool)) {
    rows.sort_by(|one, two| {
        let order = one.cells[column].compare(&two.cells[column]);
        if largest_first { order.reverse() } else { order }
    });
}

type At = (u64, String, String);

#[derive(Default)]
pub(crate) struct Model {
    before: Picture,
    now: Picture,
    pictures: u32,
    /// How many there were of each when they were seen first.
    first: HashMap<At, u64>,
    /// The loops that have said what they wait for.
    known: HashSet<u64>,
    /// What spins, and in which picture that was said last.
    spins: HashMap<(u64, String, i64), (u32, u64, String)>,
}

impl Model {
    pub(crate) fn add(&mut self, picture: Picture) {
        self.before = std::mem::replace(&mut self.now, picture);
        self.pictures += 1;
        let mut now: HashMap<At, u64> = HashMap::new();
        for waits in &self.now.waits {
            let at = (waits.of, waits.kind.clone(), waits.from.clone());
            *now.entry(at).or_default() += waits.count;
        }
        // What was not there before has come since, except in the first picture that has rows of
        // the loop: it may have hung until then.
        self.first.retain(|at, _| self.now.loops.iter().any(|one| one.id == at.0));
        for (at, count) in now {
            let is_first = !self.known.contains(&at.0);
            self.first.entry(at).or_insert(if is_first { count } else { 0 });
        }
        let answered = self.now.loops.iter().filter(|one| one.at.is_some());
        self.known = answered.map(|one| one.id).collect();
        for spins in &self.now.spins {
            let key = (spins.of, spins.kind.clone(), spins.fd);
            let said = (self.pictures, spins.turns, spins.from.clone());
            self.spins.insert(key, said);
        }
        let oldest = self.pictures.saturating_sub(REMEMBERED);
        self.spins.retain(|_, (said, ..)| *said > oldest);
    }

    /// Whether there is a picture, and another before it, so there are rates.
    pub(crate) fn has_rates(&self) -> bool {
        self.pictures > 1
    }

    pub(crate) fn title(&self) -> String {
        if self.pictures == 0 {
            return "no picture yet".into();
        }
        let Picture { program, pid, loops, at, .. } = &self.now;
        let plural = if loops.len() == 1 { "" } else { "s" };
        format!("{program} (pid {pid}), {} loop{plural}, {at:.0} s", loops.len())
    }

    fn busy(&self) -> impl Iterator<Item = &Loop> {
        self.now.loops.iter().filter(|one| one.state == "busy")
    }

    /// A line for each loop that is held up, and the place at its end.
    pub(crate) fn held_up(&self) -> Vec<(String, &str)> {
        let line = |one: &Loop| {
            let Loop { name, runs, fd, .. } = one;
            let waited = self.waited(one);
            if runs.is_empty() {
                return format!("{name} is held up for {waited:.1} s; by what is not known");
            }
            let of = fd.map_or_else(String::new, |fd| format!(" of descriptor {fd}"));
            format!("{name} is held up for {waited:.1} s by {runs}{of} from ")
        };
        self.busy().map(|one| (line(one), one.from.as_str())).collect()
    }

    /// How long a loop has not answered. A clock that is read twice may be behind.
    fn waited(&self, one: &Loop) -> f64 {
        let waited = self.now.at - one.since;
        if waited > 0.0 { waited } else { 0.0 }
    }

    /// What stands where the rows would be of the loops that have never answered. Each begins with
    /// so many numbers.
    fn unknown(&self, numbers: usize) -> impl Iterator<Item = Row> {
        self.now.loops.iter().filter(|one| one.at.is_none()).map(move |one| {
            let why = match one.state.as_str() {
                "left" => "not known: nobody drives it",
                _ => "not known: it has not answered",
            };
            let mut cells = vec![none(); numbers];
            cells.extend([one.name.as_str(), "", why].map(|text| Cell::Text(text.into())));
            Row { of: one.id, is_bad: false, cells }
        })
    }

    pub(crate) fn name(&self, id: u64) -> String {
        let found = self.now.loops.iter().find(|one| one.id == id);
        found.map_or_else(String::new, |one| one.name.clone())
    }

    /// A loop as it was before, and the time from then to its last answer, if it has answered since.
    fn earlier(&self, id: u64) -> Option<(&Loop, f64)> {
        let find = |picture: &'_ Picture| picture.loops.iter().position(|one| one.id == id);
        let before = &self.before.loops[find(&self.before)?];
        let now = &self.now.loops[find(&self.now)?];
        let elapsed = now.at? - before.at?;
        (elapsed > 0.0).then_some((before, elapsed))
    }

    /// The rows of a table, for one loop or for all.
    pub(crate) fn rows(&self, kind: Kind, only: Option<u64>) -> Vec<Row> {
        let mut rows = match kind {
            Kind::Loops => self.now.loops.iter().map(|one| self.row(one)).collect(),
            Kind::Calls => self.calls(),
            Kind::Waits => self.waits(),
            Kind::Spins => self.spins(),
        };
        if kind != Kind::Loops {
            rows.retain(|row| only.is_none_or(|only| row.of == only));
        }
        rows
    }

    fn row(&self, one: &Loop) -> Row {
        let earlier = self.earlier(one.id);
        let per_second = |count: fn(&Loop) -> u64| match earlier {
            Some((before, elapsed)) => {
                number(count(one).saturating_sub(count(before)) as f64 / elapsed)
            }
            None => none(),
        };
        let busy = match earlier {
            Some((before, elapsed)) => {
                percent((1.0 - (one.asleep - before.asleep) / elapsed).clamp(0.0, 1.0))
            }
            None => none(),
        };
        let waited = self.waited(one);
        let state = match one.state.as_str() {
            "busy" => format!("busy {waited:.1} s"),
            "left" if one.at.is_none() => "never driven".into(),
            "left" => format!("left {waited:.1} s"),
            state => state.into(),
        };
        let cells = vec![
            Cell::Text(one.name.clone()),
            Cell::Text(one.backend.clone()),
            Cell::Text(one.mode.clone()),
            Cell::Text(state),
            busy,
            per_second(|one| one.numbers.turns),
            per_second(|one| one.numbers.polls),
            per_second(|one| one.numbers.callbacks),
            per_second(|one| one.numbers.events),
            per_second(|one| one.numbers.fired),
            number(one.queued as f64),
            number(one.jobs as f64),
            number(one.numbers.exceptions as f64),
            Cell::Text(one.thread.clone()),
        ];
        Row { of: one.id, is_bad: one.state == "busy", cells }
    }

    fn calls(&self) -> Vec<Row> {
        let sums = |picture: &Picture| {
            let mut sums: HashMap<At, (u64, f64, f64)> = HashMap::new();
            for calls in &picture.calls {
                let at = (calls.of, calls.kind.clone(), calls.from.clone());
                let (number, total, longest) = sums.entry(at).or_default();
                *number += calls.calls;
                *total += calls.total;
                *longest = longest.max(calls.longest);
            }
            sums
        };
        let before = sums(&self.before);
        let mut now = sums(&self.now);
        // A call that goes on is in no sum yet.
        let hangs: HashMap<At, f64> = self
            .busy()
            .filter(|one| !one.kind.is_empty())
            .map(|one| ((one.id, one.kind.clone(), one.from.clone()), self.waited(one)))
            .collect();
        for (at, waited) in &hangs {
            let (.., longest) = now.entry(at.clone()).or_default();
            *longest = longest.max(*waited);
        }
        let rows = now.into_iter().map(|(at, (calls, total, longest))| {
            let earlier = self.earlier(at.0).map(|(_, elapsed)| {
                let (then, time, _) = before.get(&at).copied().unwrap_or_default();
                ((calls - then.min(calls)) as f64 / elapsed, (total - time).max(0.0) / elapsed)
            });
            let is_bad = hangs.contains_key(&at);
            let average = if calls == 0 { none() } else { seconds(total / calls as f64) };
            let (of, kind, from) = at;
            Row {
                of,
                is_bad,
                cells: vec![
                    seconds(longest),
                    average,
                    earlier.map_or_else(none, |(rate, _)| number(rate)),
                    earlier.map_or_else(none, |(_, share)| percent(share)),
                    Cell::Text(self.name(of)),
                    Cell::Text(kind),
                    Cell::Text(from),
                ],
            }
        });
        in_order(rows.chain(self.unknown(4)))
    }

    fn waits(&self) -> Vec<Row> {
        let mut sums: HashMap<At, (u64, u64)> = HashMap::new();
        for waits in &self.now.waits {
            let at = (waits.of, waits.kind.clone(), waits.from.clone());
            let (count, paused) = sums.entry(at).or_default();
            *count += waits.count;
            *paused += waits.paused;
        }
        let rows = sums.into_iter().map(|(at, (count, paused))| {
            let first = self.first.get(&at).copied().unwrap_or_default();
            let change = count as f64 - first as f64;
            let (of, kind, from) = at;
            Row {
                of,
                is_bad: false,
                cells: vec![
                    number(count as f64),
                    Cell::Number(
                        change,
                        if change == 0.0 { "0".into() } else { format!("{change:+}") },
                    ),
                    number(paused as f64),
                    Cell::Text(self.name(of)),
                    Cell::Text(kind),
                    Cell::Text(from),
                ],
            }
        });
        in_order(rows.chain(self.unknown(3)))
    }

    fn spins(&self) -> Vec<Row> {
        let rows = self.spins.iter().map(|((of, kind, fd), (_, turns, from))| Row {
            of: *of,
            is_bad: true,
            cells: vec![
                number(*turns as f64),
                number(*fd as f64),
                Cell::Text(self.name(*of)),
                Cell::Text(kind.clone()),
                Cell::Text(from.clone()),
            ],
        });
        in_order(rows)
    }
}

/// In an order that does not change from picture to picture: by location.
fn in_order(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by(|one, two| {
        let [one, two] = [one, two].map(|row| row.cells.iter().rev().map(Cell::text));
        one.cmp(two)
    });
    rows
}

fn none() -> Cell {
    Cell::Number(f64::NEG_INFINITY, "-".into())
}

fn number(value: f64) -> Cell {
    let text = match value {
        value if value >= 1e8 => format!("{:.0}M", value / 1e6),
        value if value >= 1e5 => format!("{:.0}k", value / 1e3),
        value if value == value.trunc() || value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    };
    Cell::Number(value, text)
}

fn percent(share: f64) -> Cell {
    Cell::Number(share, format!("{:.0} %", share * 100.0))
}

fn seconds(value: f64) -> Cell {
    let text = match value {
        value if value >= 1.0 => format!("{value:.2} s"),
        value if value >= 0.001 => format!("{:.1} ms", value * 1e3),
        value if value >= 0.000_001 => format!("{:.0} us", value * 1e6),
        value => format!("{:.0} ns", value * 1e9),
    };
    Cell::Number(value, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Builder;

    fn picture(lines: &[&str]) -> Picture {
        let mut builder = Builder::default();
        builder.add("ioloop-inspect version=1 pid=7 program=shop picture=1 at=9.5");
        lines.iter().for_each(|line| assert!(builder.add(line).is_none()));
        builder.add("end").unwrap()
    }

    fn texts(rows: &[Row]) -> Vec<String> {
        let join = |row: &Row| row.cells.iter().map(Cell::text).collect::<Vec<_>>().join("|");
        rows.iter().map(join).collect()
    }

    #[test]
    fn rates_are_of_the_time_between_a_loops_own_answers() {
        let mut model = Model::default();
        model.add(picture(&[
            "loop id=1 name=main backend=bare mode=own state=driven at=1 turns=100 asleep=0.5",
        ]));
        assert!(!model.has_rates());
        assert!(texts(&model.rows(Kind::Loops, None))[0].starts_with("main|bare|own|driven|-|-|-"));
        model.add(picture(&[
            "loop id=1 name=main backend=bare mode=own state=driven thread=io at=3 turns=300 asleep=2 events=5 exceptions=2",
        ]));
        let rows = texts(&model.rows(Kind::Loops, None));
        assert_eq!(rows, ["main|bare|own|driven|25 %|100|0|0|2.5|0|0|0|2|io"]);
        // One that has not answered since has no rates, and says why.
        model.add(picture(&["loop id=1 name=main state=left since=8 at=3 turns=300 asleep=2"]));
        let rows = texts(&model.rows(Kind::Loops, None));
        assert_eq!(rows, ["main|||left 1.5 s|-|-|-|-|-|-|0|0|0|"]);
    }

    #[test]
    fn a_loop_that_is_held_up_says_by_what() {
        let mut model = Model::default();
        model.add(picture(&[
            r#"loop id=1 name=main state=busy since=2 runs="a callback" from=a.rs:3:5"#,
        ]));
        let rows = model.rows(Kind::Loops, None);
        assert!(rows[0].is_bad);
        assert!(texts(&rows)[0].contains("|busy 7.5 s|"));
        assert_eq!(
            model.held_up(),
            [("main is held up for 7.5 s by a callback from ".into(), "a.rs:3:5")]
        );
    }

    #[test]
    fn a_hang_that_is_not_known_was_named_by_nothing_and_had_a_row_of_calls() {
        let mut model = Model::default();
        model.add(picture(&["loop id=1 name=main state=busy since=2 at=1"]));
        let (text, place) = model.held_up()[0].clone();
        assert_eq!(text, "main is held up for 7.5 s; by what is not known");
        assert_eq!((place, model.rows(Kind::Calls, None).len()), ("", 0));
    }

    #[test]
    fn a_hang_that_began_after_the_picture_did_is_not_held_up_for_less_than_nothing() {
        for since in ["9.5", "9.5000001", "9.58"] {
            let mut model = Model::default();
            model.add(picture(&[
                &format!("loop id=1 name=main state=busy since={since} from=a.rs:3:5"),
                &format!("loop id=2 name=other state=left at=1 since={since}"),
            ]));
            let rows = texts(&model.rows(Kind::Loops, None));
            assert!(
                rows[0].contains("|busy 0.0 s|") && rows[1].contains("|left 0.0 s|"),
                "{rows:?}"
            );
            assert!(model.held_up()[0].0.contains("for 0.0 s"), "{:?}", model.held_up());
        }
    }

    #[test]
    fn a_hang_that_goes_on_is_a_row_of_the_slowest_calls() {
        let mut model = Model::default();
        let busy = r#"state=busy since=2 runs="a timer" kind=timer"#;
        model.add(picture(&[
            &format!("loop id=1 name=main at=1 {busy} from=a.rs:1:1"),
            "calls loop=1 kind=timer calls=2 total=0.2 longest=0.15 from=a.rs:1:1",
            &format!("loop id=2 name=other at=1 {busy} from=b.rs:1:1"),
        ]));
        let rows = model.rows(Kind::Calls, None);
        assert!(rows.iter().all(|row| row.is_bad));
        let expected =
            ["7.50 s|100.0 ms|-|-|main|timer|a.rs:1:1", "7.50 s|-|-|-|other|timer|b.rs:1:1"];
        assert_eq!(texts(&rows), expected);
    }

    #[test]
    fn a_loop_that_has_never_answered_says_why_it_has_no_rows() {
        let mut model = Model::default();
        model.add(picture(&[
            "loop id=1 name=hangs state=busy since=2 kind=timer from=a.rs:1:1",
            "loop id=2 name=idle state=left since=2",
            "loop id=3 name=fine state=driven at=9",
        ]));
        let waits = texts(&model.rows(Kind::Waits, None));
        let expected = [
            "-|-|-|hangs||not known: it has not answered",
            "-|-|-|idle||not known: nobody drives it",
        ];
        assert_eq!(waits, expected);
        let calls = texts(&model.rows(Kind::Calls, Some(2)));
        assert_eq!(calls, ["-|-|-|-|idle||not known: nobody drives it"]);
    }

    #[test]
    fn what_a_loop_had_before_it_hung_has_not_come_since() {
        let mut model = Model::default();
        model.add(picture(&["loop id=1 name=main state=busy since=2 kind=timer from=a.rs:1:1"]));
        for count in [3, 4] {
            model.add(picture(&[
                "loop id=1 name=main state=driven at=9",
                &format!("waits loop=1 kind=task count={count} paused=0 from=b.rs:1:1"),
            ]));
            let rows = texts(&model.rows(Kind::Waits, None));
            let change = if count == 3 { "0" } else { "+1" };
            assert_eq!(rows, [format!("{count}|{change}|0|main|task|b.rs:1:1")]);
        }
    }

    #[test]
    fn one_location_of_two_addresses_is_one_row() {
        let mut model = Model::default();
        for (at, calls) in [(1, 0), (2, 10)] {
            model.add(picture(&[
                &format!("loop id=1 name=main state=driven at={at}"),
                &format!(
                    "calls loop=1 kind=timer calls={calls} total=0.2 longest=0.002 from=a.rs:1:1"
                ),
                &format!(
                    "calls loop=1 kind=timer calls={calls} total=0.4 longest=0.9 from=a.rs:1:1"
                ),
                "waits loop=1 kind=timer count=2 paused=0 from=a.rs:1:1",
                "waits loop=1 kind=timer count=3 paused=0 from=a.rs:1:1",
                "waits loop=2 kind=timer count=3 paused=0 from=a.rs:1:1",
            ]));
        }
        let calls = texts(&model.rows(Kind::Calls, None));
        assert_eq!(calls, ["900.0 ms|30.0 ms|20|0 %|main|timer|a.rs:1:1"]);
        let waits = texts(&model.rows(Kind::Waits, Some(1)));
        assert_eq!(waits, ["5|0|0|main|timer|a.rs:1:1"]);
    }

    #[test]
    fn what_was_not_there_at_first_has_come_since() {
        let mut model = Model::default();
        let one = "loop id=1 name=main state=driven at=1";
        model.add(picture(&[one, "waits loop=1 kind=task count=7 paused=0 from=a.rs:1:1"]));
        model.add(picture(&[
            one,
            "waits loop=1 kind=task count=9 paused=0 from=a.rs:1:1",
            "waits loop=1 kind=task count=4 paused=0 from=b.rs:1:1",
        ]));
        let mut rows = model.rows(Kind::Waits, None);
        sort(&mut rows, (1, true));
        assert_eq!(texts(&rows), ["4|+4|0|main|task|b.rs:1:1", "9|+2|0|main|task|a.rs:1:1"]);
    }

    #[test]
    fn a_watch_that_spins_now_and_then_stays_for_a_while() {
        let mut model = Model::default();
        let one = "loop id=1 name=main state=driven at=1";
        model.add(picture(&[one, "spins loop=1 kind=reader fd=9 turns=1000 from=a.rs:1:1"]));
        for _ in 1..REMEMBERED {
            model.add(picture(&[one]));
            assert_eq!(texts(&model.rows(Kind::Spins, None)), ["1000|9|main|reader|a.rs:1:1"]);
        }
        model.add(picture(&[one]));
        assert!(model.rows(Kind::Spins, None).is_empty());
    }
}
