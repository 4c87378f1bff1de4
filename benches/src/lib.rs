//! The harness of the benchmarks: workloads that several contenders do, in interleaved rounds, and
//! the tables and pictures of what they took.
//!
//! A program hands its workloads to [`command::main`], and has the commands and options that the
//! README names. This package's own program measures what a loop costs; `jobs/` is a package that
//! measures whole jobs, with what heavy crates that takes.

pub mod allocations;
pub mod command;
pub mod count;
pub mod harness;
pub mod page;
pub mod picture;
pub mod program;
pub mod report;
pub mod table;
pub mod versions;
