//! The loop for C: `include/ioloop.h` documents it, and is what to read.
//!
//! ```text
//! cargo build --release
//! cc -Iinclude program.c -Ltarget/release -lioloop_c -o program
//! ```
//!
//! A loop cannot be attached here: that takes a Rust runtime which polls it. What a C program has
//! is an event loop of its own, and the loop is embedded there by its descriptor.

pub mod exports;
mod status;
mod table;
