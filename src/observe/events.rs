//! Events without a handler go to `tracing` or to `log`, by the features that are on, otherwise to
//! standard error.

use std::fmt;

use crate::contain::contain;

#[derive(Clone, Copy)]
pub(crate) enum Level {
    Warn,
    Error,
}

/// Whether the `number`th event of a kind is written, so no log is flooded.
pub(crate) fn is_told(number: u64) -> bool {
    number <= 16 || number.is_power_of_two()
}

/// Writes an event. A subscriber that panics, and a line that cannot be written, change nothing for
/// the loop.
pub(crate) fn tell(level: Level, text: fmt::Arguments<'_>) {
    contain(|| sink(level, text));
}

#[cfg(feature = "tracing")]
fn sink(level: Level, text: fmt::Arguments<'_>) {
    match level {
        Level::Warn => tracing::warn!(target: "ioloop", "{text}"),
        Level::Error => tracing::error!(target: "ioloop", "{text}"),
    }
}

#[cfg(all(feature = "log", not(feature = "tracing")))]
fn sink(level: Level, text: fmt::Arguments<'_>) {
    match level {
        Level::Warn => log::warn!(target: "ioloop", "{text}"),
        Level::Error => log::error!(target: "ioloop", "{text}"),
    }
}

#[cfg(not(any(feature = "log", feature = "tracing")))]
fn sink(level: Level, text: fmt::Arguments<'_>) {
    use std::io::Write;
    let level = match level {
        Level::Warn => "warning",
        Level::Error => "error",
    };
    let text = text.to_string();
    let parts: Vec<&str> = text.lines().map(str::trim).collect();
    let line = format!("ioloop: {level}: {}\n", parts.join(" "));
    // In one piece, so lines of several threads do not mix. `eprintln!` panics if standard error is
    // a closed pipe, a full disk, or a full pipe that does not block.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::is_told;

    #[test]
    fn a_million_events_are_told_a_few_times() {
        assert!((1..=16).all(is_told));
        assert_eq!((1..=1_000_000).filter(|number| is_told(*number)).count(), 16 + 15);
    }
}
