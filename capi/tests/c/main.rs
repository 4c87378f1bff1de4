//! The C library as its users get it: its programs in every way to link them and to watch over
//! them, the header, what must not compile, and what is installed.

mod commands;
mod echo;
mod header;
mod installed;
mod programs;
mod wrong;
