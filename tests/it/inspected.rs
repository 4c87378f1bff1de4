//! The feature `inspect`.

use std::{env, fs};

/// What is called is linked.
#[cfg(feature = "inspect")]
fn call_it() -> bool {
    ioloop::inspect::open_at("/nowhere/at/all").is_ok()
}

#[cfg(not(feature = "inspect"))]
fn call_it() -> bool {
    false
}

#[test]
fn a_program_without_the_feature_has_nothing_of_it() {
    assert!(!call_it());
    let program = fs::read(env::current_exe().unwrap()).unwrap();
    // The beginning of its symbols, in pieces that are no such beginning.
    let symbol = ["6ioloop", "7inspect"].concat().into_bytes();
    let is_there = program.windows(symbol.len()).any(|bytes| bytes == symbol);
    assert_eq!(is_there, cfg!(feature = "inspect"));
}
