#![doc = include_str!("../README.md")]

pub mod callbacks;
pub mod futures;
mod lines;
pub mod load;
mod rooms;

/// The longest line, in bytes; whoever sends a longer one is parted with.
pub const LONGEST_LINE: usize = 512;

/// What a client may have waiting for it, in bytes; one that is slower is parted with.
pub const MOST_WAITING: usize = 256 * 1024;
