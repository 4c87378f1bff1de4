//! Measures ioloop beside its peers; see the README for the commands and how to read what they
//! print.

mod front;
mod guard;
mod loops;
mod peers;
mod pipes;
mod raw;
mod workloads;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use ioloop_benches::command::{self, Suite};
use ioloop_benches::{allocations, count, harness, versions};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const CRATES: [&str; 7] =
    ["ioloop", "tokio", "async-io", "async-executor", "smol", "mio", "calloop"];

fn main() -> ExitCode {
    command::raise_descriptor_limit();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [kind, numbers @ ..] = &arguments[..] {
        let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
        if workloads::other_process(kind, &numbers) {
            return ExitCode::SUCCESS;
        }
    }
    command::main(Suite {
        workloads: workloads::all(),
        versions: "versions",
        list_versions: || versions::list(&CRATES, &[&peers::C[..], &peers::PYTHON].concat()),
        written: |page| {
            let front = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures/speed.svg");
            fs::write(front, front::picture(page)).expect("writing the picture of the README");
        },
        guard: Some(guard::guard),
    })
}
