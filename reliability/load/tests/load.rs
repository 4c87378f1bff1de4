//! The programs at sizes that take a moment. What they check is in the library; here they have to
//! end well.

use std::process::Command;
use std::time::Duration;

use ioloop_load::watchdog::Watchdog;
use ioloop_load::ways::Way;
use ioloop_load::{posts, signals, timers};

const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn posts_while_loops_close_and_open() {
    let _watchdog = Watchdog::new("posts", PATIENCE);
    let (outcome, _) =
        posts::run(posts::Size { threads: 8, posts: 100_000, reopened: 20 }).unwrap();
    assert!(outcome.loops > 20, "{outcome:?}");
}

#[test]
fn timers_on_every_way() {
    let _watchdog = Watchdog::new("timers", PATIENCE);
    for way in Way::ALL {
        let size = timers::Size { live: 1000, fired: 2000, ahead: Duration::from_millis(100) };
        let fired = way.drive(move |io_loop| async move { timers::run(&io_loop, size).await });
        let (outcome, _) = fired.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert!(outcome.moved > 0 && outcome.cancelled > 0, "{way}: {outcome:?}");
    }
}

#[test]
fn signals_on_every_way() {
    let _watchdog = Watchdog::new("signals", PATIENCE);
    for way in Way::ALL {
        let size = signals::Size { threads: 4, signals: 3000 };
        let heard = way.drive(move |io_loop| async move { signals::run(&io_loop, size).await });
        let (outcome, _) = heard.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert_eq!(outcome.sent, 3000, "{way}");
    }
}

#[test]
fn a_hundred_rounds_of_everything_on_every_way() {
    // A process for each, whose descriptors and threads are nobody else's.
    let soaking = Way::ALL.map(|way| {
        let (way, mut soak) = (way.to_string(), Command::new(env!("CARGO_BIN_EXE_soak")));
        (soak.args(["--rounds", "100", "--way", &way]).spawn().unwrap(), way)
    });
    for (mut soak, way) in soaking {
        assert!(soak.wait().unwrap().success(), "{way}");
    }
}
