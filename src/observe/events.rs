//! Where the loop tells what nobody handles: `tracing`, or else `log`, whichever feature is on.

use std::fmt;

#[derive(Clone, Copy)]
pub(crate) enum Level {
    Warn,
    Error,
}

/// Whether the `number`th event of a kind is told, so that no log is flooded.
pub(crate) fn is_told(number: u64) -> bool {
    number <= 16 || number.is_power_of_two()
}

/// Tells an event; false if there is nobody to tell.
#[cfg(feature = "tracing")]
pub(crate) fn tell(level: Level, text: fmt::Arguments<'_>) -> bool {
    match level {
        Level::Warn => tracing::warn!(target: "ioloop", "{text}"),
        Level::Error => tracing::error!(target: "ioloop", "{text}"),
    }
    true
}

#[cfg(all(feature = "log", not(feature = "tracing")))]
pub(crate) fn tell(level: Level, text: fmt::Arguments<'_>) -> bool {
    match level {
        Level::Warn => log::warn!(target: "ioloop", "{text}"),
        Level::Error => log::error!(target: "ioloop", "{text}"),
    }
    true
}

#[cfg(not(any(feature = "log", feature = "tracing")))]
pub(crate) fn tell(level: Level, _: fmt::Arguments<'_>) -> bool {
    match level {
        Level::Warn | Level::Error => false,
    }
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
