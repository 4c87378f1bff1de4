//! Measures whole jobs: each driver beside what one would pick instead, as `ioloop-benches` measures
//! what the loop itself costs. See the README there.

mod jobs;
mod run;

use std::env;
use std::process::ExitCode;

use ioloop_benches::command::{self, Suite};
use ioloop_benches::{allocations, versions};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const CRATES: [&str; 12] = [
    "ioloop",
    "curl-sys",
    "reqwest",
    "isahc",
    "hyper",
    "tokio",
    "tokio-postgres",
    "redis",
    "hickory-resolver",
    "zbus",
    "async-compat",
    "async-io",
];

fn main() -> ExitCode {
    command::raise_descriptor_limit();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The other processes of the jobs: their servers and clients.
    match arguments[..] {
        ["--serve", "curl"] => jobs::curl::serve(),
        ["--serve", "c-ares"] => jobs::c_ares::serve(),
        ["--serve", "dbus", address] => jobs::dbus::serve(address),
        _ => {
            return command::main(Suite {
                workloads: jobs::all(),
                versions: "versions-of-jobs",
                list_versions: || versions::list(&CRATES, &[]),
                written: |_| {},
                guard: None,
            });
        }
    }
    ExitCode::SUCCESS
}
