//! What the command line asks for.

use lexopt::{Arg, Parser, ValueExt};

use crate::Result;

const HELP: &str = "\
A terminal view of the ioloop event loops of a running process.

usage: ioloop-inspect [PID | PATH] [--once] [--width COLUMNS]

  without PID and PATH   lists the processes that can be seen
  PID                    shows that process
  PATH                   shows the process that has opened this socket
  --once                 writes what there is as text, after a second, and ends
  --width COLUMNS        of that text; 120 if it is not given, at least 20

keys: q ends, p pauses, tab goes to the next table, up and down move in it, s sorts it by the next
column, r the other way round, enter shows one loop alone, ? tells the keys

A program opens its socket with `let _inspector = ioloop::inspect::open()?;` (feature `inspect`).";

/// How to show a process.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) target: String,
    pub(crate) once: bool,
    pub(crate) width: u16,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Wish {
    Tell(&'static str),
    List,
    Show(Options),
}

pub(crate) fn wish() -> Result<Wish> {
    read(Parser::from_env())
}

fn read(mut parser: Parser) -> Result<Wish> {
    let (mut target, mut once, mut width) = (None, false, 120_u16);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Wish::Tell(HELP)),
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Wish::Tell(concat!("ioloop-inspect ", env!("CARGO_PKG_VERSION"))));
            }
            Arg::Long("once") => once = true,
            Arg::Long("width") => {
                width = parser.value()?.parse()?;
                if !(20..=1000).contains(&width) {
                    return Err("--width is from 20 to 1000".into());
                }
            }
            Arg::Value(value) if target.is_none() => target = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match target {
        Some(target) => Ok(Wish::Show(Options { target, once, width })),
        None if once => Err("--once needs a PID or a PATH".into()),
        None => Ok(Wish::List),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Wish> {
        read(Parser::from_args(words))
    }

    #[test]
    fn a_process_is_shown_and_without_one_they_are_listed() {
        assert_eq!(of(&[]).unwrap(), Wish::List);
        let shown = |once, width| Wish::Show(Options { target: "42".into(), once, width });
        assert_eq!(of(&["42"]).unwrap(), shown(false, 120));
        assert_eq!(of(&["--once", "--width", "80", "42"]).unwrap(), shown(true, 80));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for words in [&["--once"][..], &["1", "2"], &["--twice"]] {
            assert!(of(words).is_err(), "{words:?}");
        }
        for width in ["wide", "0", "19", "1001", "70000", "-1"] {
            assert!(of(&["1", "--once", "--width", width]).is_err(), "{width}");
        }
    }
}
