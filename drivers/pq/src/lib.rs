#![doc = include_str!("../README.md")]

mod cancel;
mod client;
mod connection;
mod copy;
mod error;
mod ffi;
mod link;
mod notifications;
mod params;
mod pipeline;
mod rows;
mod statement;
mod table;
mod transaction;

pub use cancel::Canceller;
pub use client::{Answer, Backoff, Client};
pub use connection::Connection;
pub use copy::{CopyIn, CopyOut};
pub use error::Error;
pub use ffi::Notification;
pub use notifications::{Heard, Notifications};
pub use params::{Format, ToParam};
pub use pipeline::Pipeline;
pub use rows::Rows;
pub use statement::{Query, Statement};
pub use table::{Column, FromValue, Row, Table};
pub use transaction::Transaction;
