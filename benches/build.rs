//! Compiles what is written in C, where its libraries are installed: the peers, each a program of
//! its own, and the clock of a program that is counted.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const PEERS: [(&str, &[&str]); 3] = [
    ("libuv", &["-luv"]),
    ("libevent", &["-levent_core", "-levent_pthreads"]),
    ("slow_clock", &["-shared", "-fPIC", "-ldl"]),
];

fn main() {
    println!("cargo:rerun-if-changed=peers");
    println!("cargo:rerun-if-env-changed=CC");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    for (name, libraries) in PEERS {
        let program = Path::new(&out).join(name);
        // What an earlier build left is not taken for this one's.
        let _ = fs::remove_file(&program);
        let compiled = Command::new(&compiler)
            .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-o"])
            .arg(&program)
            .arg(format!("peers/{name}.c"))
            .args(libraries)
            .status()
            .is_ok_and(|status| status.success());
        if !compiled {
            // A file that is not there: the next build tries again, since the library may be there
            // by then.
            println!("cargo:rerun-if-changed={}", program.display());
            println!("cargo:warning={name} is left out: a C compiler or its headers are missing");
        }
        let path = if compiled { program.display().to_string() } else { String::new() };
        println!("cargo:rustc-env=PEER_{}={path}", name.to_uppercase());
    }
}
