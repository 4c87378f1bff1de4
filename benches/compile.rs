// Compiles a program in C with what it needs, for a build script; part of those of this package and of `jobs`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Tries these sets of flags in turn. Sets `PEER_NAME` to the program's path, or to nothing where no set will do.
fn compile(name: &str, flags: &[Vec<String>]) {
    println!("cargo:rerun-if-changed=peers");
    println!("cargo:rerun-if-env-changed=CC");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let program = Path::new(&out).join(name);
    // What an earlier build left is not taken for this one's.
    let _ = fs::remove_file(&program);
    let compiled = flags.iter().any(|flags| {
        let mut command = Command::new(&compiler);
        command.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-o"]).arg(&program);
        command.arg(format!("peers/{name}.c")).args(flags);
        command.status().is_ok_and(|status| status.success())
    });
    if !compiled {
        // A file that is not there: the next build tries again, since the library may be there by then.
        println!("cargo:rerun-if-changed={}", program.display());
        println!("cargo:warning={name} is left out: a C compiler or its headers are missing");
    }
    let path = if compiled { program.display().to_string() } else { String::new() };
    println!("cargo:rustc-env=PEER_{}={path}", name.to_uppercase().replace('-', "_"));
}
