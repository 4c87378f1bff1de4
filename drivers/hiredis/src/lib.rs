#![doc = include_str!("../README.md")]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod answer;
mod client;
mod connection;
mod convert;
mod dialogue;
mod driver;
mod encode;
mod error;
mod ffi;
mod link;
mod options;
mod pipeline;
mod pubsub;
mod reply;

pub use answer::Answer;
pub use client::Client;
pub use connection::Connection;
pub use convert::FromReply;
pub use error::Error;
pub use options::{Address, Options};
pub use pipeline::Pipeline;
pub use pubsub::{Message, Messages};
pub use reply::Reply;
