#![doc = include_str!("../README.md")]

mod calls;
mod clock;
mod events;
pub mod exports;
mod reports;
mod status;
mod table;
mod timers;
mod version;

pub use status::STATUSES;
