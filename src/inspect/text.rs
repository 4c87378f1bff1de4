//! What a peer reads: the lines that the module's page describes.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, process};

use crate::engine::shown::{Answer, Figures, Loop};
use crate::observe::origin::Origin;
use crate::observe::sight::Seen;
use crate::reactor::callback::Caller;

/// What the loops say at one time, which is shown in one piece.
pub(super) fn picture(number: u64, begun: Instant, loops: &[Arc<Loop>]) -> String {
    let mut text = String::new();
    // After each `since` in the lines.
    let now = Instant::now();
    Line::new(&mut text, "ioloop-inspect")
        .with("version", 1)
        .with("pid", process::id())
        .with("program", program())
        .with("picture", number)
        .with("at", Seconds(now - begun))
        .end();
    for one in loops.iter().filter(|one| one.is_alive()) {
        tell(&mut text, begun, now, one);
    }
    Line::new(&mut text, "end").with("picture", number).end();
    text
}

fn tell(text: &mut String, begun: Instant, now: Instant, one: &Loop) {
    let Answer { figures, asked, call, is_awake } = one.answer(now);
    let name = figures.as_ref().map(|figures| figures.driven.name.as_str());
    let name = name.or(one.about.name.as_deref()).unwrap_or(&one.thread);
    let mode = match (one.about.attached, &figures) {
        (true, _) => "attached",
        (_, Some(figures)) if figures.driven.embedded => "embedded",
        _ => "own",
    };
    let mut line = Line::new(text, "loop")
        .with("id", one.number)
        .with("name", name)
        .with("thread", &one.thread)
        .with("backend", &one.about.backend)
        .with("mode", mode);
    line = match (asked, call) {
        (None, _) => line.with("state", "driven"),
        (_, Some(seen)) => busy(line, &seen, begun),
        // What runs began before anybody wanted to know, or is the host's.
        (Some(since), None) => line
            .with("state", if is_awake { "busy" } else { "left" })
            .with("since", Seconds(since - begun)),
    };
    let Some(figures) = figures else { return line.end() };
    numbers(line, begun, &figures).end();
    for group in &*figures.groups {
        Line::new(text, "waits")
            .with("loop", one.number)
            .with("kind", group.kind)
            .with("count", group.count)
            .with("paused", group.paused)
            .from(group.location)
            .end();
    }
    for tally in &figures.calls {
        Line::new(text, "calls")
            .with("loop", one.number)
            .with("kind", kind(tally.origin))
            .with("calls", tally.calls)
            .with("total", Seconds(tally.total))
            .with("longest", Seconds(tally.longest))
            .from(tally.location)
            .end();
    }
    for spin in &figures.spins {
        Line::new(text, "spins")
            .with("loop", one.number)
            .with("kind", kind(spin.origin))
            .with("fd", spin.fd)
            .with("turns", spin.turns)
            .from(spin.location)
            .end();
    }
}

fn busy<'a>(line: Line<'a>, Seen { call, since, .. }: &Seen, begun: Instant) -> Line<'a> {
    let line = line.with("state", "busy").with("since", Seconds(*since - begun));
    let line = line.with("runs", call.origin.name()).with("kind", kind(call.origin));
    match call.fd {
        Some(fd) => line.with("fd", fd),
        None => line,
    }
    .from(call.location)
}

fn numbers<'a>(line: Line<'a>, begun: Instant, figures: &Figures) -> Line<'a> {
    let metrics = &figures.driven.metrics;
    line.with("at", Seconds(figures.at.saturating_duration_since(begun)))
        .with("turns", metrics.turns)
        .with("polls", metrics.polls)
        .with("wakeups", metrics.wakeups)
        .with("callbacks", metrics.callbacks)
        .with("events", metrics.events)
        .with("fired", metrics.timers_fired)
        .with("watches", metrics.watches)
        .with("timers", metrics.timers)
        .with("queued", metrics.queued)
        .with("tasks", metrics.tasks)
        .with("jobs", metrics.jobs)
        .with("exceptions", metrics.exceptions)
        .with("asleep", Seconds(figures.asleep))
        .with("took", Seconds(figures.took))
}

/// One word for a kind of code.
fn kind(origin: Origin) -> &'static str {
    match origin {
        Origin::Callback => "callback",
        Origin::Timer => "timer",
        Origin::Reader => "reader",
        Origin::Writer => "writer",
        Origin::Handler => "handler",
        Origin::Task => "task",
        Origin::Main => "main",
        Origin::Destructor => "destructor",
        Origin::Hook => "hook",
        Origin::RuntimeTask => "runtime-task",
        Origin::Executor => "executor",
    }
}

fn program() -> String {
    let path = env::args_os().next().unwrap_or_default();
    Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A line, pair by pair.
struct Line<'a>(&'a mut String);

impl<'a> Line<'a> {
    fn new(text: &'a mut String, word: &str) -> Line<'a> {
        text.push_str(word);
        Line(text)
    }

    fn with(self, key: &str, value: impl Display) -> Line<'a> {
        let value = value.to_string();
        // To a string, which does not fail.
        let _ = write!(self.0, " {key}={}", quoted(&value));
        self
    }

    fn from(self, location: Option<Caller>) -> Line<'a> {
        match location {
            Some(location) => self.with("from", location),
            None => self,
        }
    }

    fn end(self) {
        self.0.push('\n');
    }
}

struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.9}", self.0.as_secs_f64())
    }
}

/// Whether a terminal would do something else with it than to show it: move its cursor, begin a
/// line, or turn the order of what follows.
fn commands(char: char) -> bool {
    let turns = '\u{202a}'..='\u{202e}';
    let isolates = '\u{2066}'..='\u{2069}';
    char.is_control()
        || turns.contains(&char)
        || isolates.contains(&char)
        || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(char)
}

/// A value as it stands in a line. What would [command](commands) a terminal is left out.
fn quoted(value: &str) -> Cow<'_, str> {
    let is_plain = |char: char| !char.is_whitespace() && !commands(char) && !"\"\\".contains(char);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.into();
    }
    let mut text = String::from('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            _ if commands(char) => text.push('?'),
            _ => text.push(char),
        }
    }
    text.push('"');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_name_with_anything_in_it_stays_in_its_line_and_moves_no_cursor() {
        assert_eq!(quoted("src/main.rs:3:5"), "src/main.rs:3:5");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("the \"big\" one"), r#""the \"big\" one""#);
        assert_eq!(quoted("a\nb\u{1b}[2J\\"), r#""a?b?[2J\\""#);
    }

    #[test]
    fn a_name_that_turned_the_order_of_what_followed_reached_the_screen() {
        for char in "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert_eq!(quoted(&format!("gpj.{char}exe")), "\"gpj.?exe\"");
        }
        // Ends of lines that are not control characters.
        assert_eq!(quoted("a\u{2028}b\u{2029}"), "\"a?b?\"");
        // Text of languages that are written from right to left is shown.
        assert_eq!(quoted("שלום"), "שלום");
    }
}
