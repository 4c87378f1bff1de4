#![doc = include_str!("../README.md")]

mod callbacks;
mod client;
mod driver;
mod error;
mod exchange;
mod ffi;
mod head;
mod request;
mod response;
mod setup;
mod sockets;
mod tell;
mod upload;

pub use curl;
pub use curl::easy::HttpVersion;

pub use callbacks::Callbacks;
pub use client::{Builder, Client};
pub use error::Error;
pub use head::{Head, Timings, Version};
pub use request::{Easy, Progress, Request, Transfer};
pub use response::{Body, Responding, Response};
