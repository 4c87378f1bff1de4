#![doc = include_str!("../README.md")]

mod executor;
mod io;
mod timer;

pub use executor::{LoopExecutor, SendExecutor};
pub use io::LoopIo;
pub use timer::{LoopSleep, LoopTimer};
