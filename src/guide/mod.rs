//! The guide: text only, one page for each question. Every piece of code in it is compiled and run.
//!
//! | you want to | page |
//! |---|---|
//! | find what you know from Tornado, asyncio or libuv | [`coming_from`] |
//! | have queues, locks, `gather`, streams, HTTP, subprocesses | [`the_rest`] |
//! | drive a C library that owns its descriptors | [`c_libraries`] |
//! | write a library that does not choose its users' runtime | [`neutral_libraries`] |
//! | choose a backend, or not choose one for others | [`features`] |
//! | know which way of attaching is the fastest for what | [`hosts`] |
//! | host a loop on a runtime that is not here | [`backends`] |
//! | run a loop inside another event loop | [`embedding`] |
//! | use HTTP, PostgreSQL, GLib, Python, or another runtime's libraries | [`other_software`] |
//! | test what takes an hour in a millisecond | [`testing`] |
//! | use several threads, and end them in order | [`threads`] |
//! | see what a loop does, what holds it up and what it waits for | [`watching`] |
//! | spawn `Send` tasks, or share them among loops | [`executors`] |
//! | see what a running process does | [`inspecting`] |
//! | know whether this is the right crate | [`choosing`] |

pub mod backends;
pub mod c_libraries;
pub mod choosing;
pub mod coming_from;
pub mod embedding;
pub mod executors;
pub mod features;
pub mod hosts;
pub mod inspecting;
pub mod neutral_libraries;
pub mod other_software;
pub mod testing;
pub mod the_rest;
pub mod threads;
pub mod watching;
