//! Each driver beside the crate that one would pick instead: a program each, all of them a
//! [contest](testkit::contest).
//!
//! `cargo run --release -p ioloop-compare --bin NAME` prints its table. Here is what they share.
