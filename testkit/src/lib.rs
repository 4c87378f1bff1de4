//! What the tests of several packages share: ways to run a loop, processes of their own, counted
//! allocations, and servers.

pub mod alone;
pub mod counting;
pub mod hosts;
pub mod on_the_spot;
pub mod server;
pub mod ways;
