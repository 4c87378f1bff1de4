//! On what and of what the numbers are.

use std::fs;
use std::process::Command;

use crate::program::Program;

/// A list in Markdown: the machine, the compiler, these crates, and the libraries of these programs.
pub fn list(crates: &[&str], programs: &[Program]) -> String {
    let uname = rustix::system::uname();
    let mut peers = versions(crates);
    for program in programs {
        peers.extend(program.version().map(|version| format!("{} {version}", program.name)));
    }
    format!(
        "- {}, {} processors, Linux {}\n- {}\n- {}\n",
        processor(),
        std::thread::available_parallelism().map_or(0, usize::from),
        uname.release().to_string_lossy(),
        compiler(),
        peers.join(", "),
    )
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// The compiler that is there.
pub fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&output);
    text.split(" (").next().unwrap_or("an unknown rustc").trim().to_owned()
}

/// As cargo chose them.
fn versions(crates: &[&str]) -> Vec<String> {
    let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    let version = |name: &&str| {
        let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", after.split('"').next()?))
    };
    crates.iter().filter_map(version).collect()
}
