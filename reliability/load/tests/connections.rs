//! Connections, at a size that takes a moment. Alone in its process, whose descriptors are counted
//! before and after.

use std::time::Duration;

use ioloop_load::connections;
use ioloop_load::watchdog::Watchdog;
use ioloop_load::ways::Way;

#[test]
fn connections_on_every_way() {
    let _watchdog = Watchdog::new("connections", Duration::from_secs(300));
    for way in Way::ALL {
        let size = connections::Size { connections: 100, requests: 3000, pace: 1 };
        let load = env!("CARGO_BIN_EXE_load");
        let served =
            way.drive(move |io_loop| async move { connections::run(&io_loop, load, size).await });
        let (outcome, _) = served.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        // 2 of 100 connections reset, ten times each.
        assert_eq!(outcome.seen.errors, 20, "{way}");
    }
}
