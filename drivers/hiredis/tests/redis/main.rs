//! Redis through hiredis from loops on every backend, in every mode, against a server of the test's
//! own.

mod client;
mod commands;
mod ends;
mod faults;
mod pubsub;
mod site;
