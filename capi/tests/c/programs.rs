//! The programs under `tests/programs`, which use all of `ioloop.h`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::commands::{cc, made, names, succeed, valgrind};

/// Where cargo puts the library for the tests.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

pub(crate) fn shared() -> PathBuf {
    libraries().join("libioloop_c.so")
}

/// The programs, compiled in one way.
fn programs(way: &str, options: [&str; 2], library: PathBuf) -> Vec<PathBuf> {
    let [standard, option] = options;
    let programs = names("tests/programs", ".c").into_iter().filter_map(|name| {
        let program = made(&format!("{name}-{way}"));
        let mut cc = cc(standard);
        cc.args(["-Iinclude", "-pthread", option]).arg(format!("tests/programs/{name}.c"));
        succeed(cc.arg("-o").arg(&program).arg(&library)).map(|_| program)
    });
    programs.collect()
}

#[test]
fn the_programs_with_the_shared_library() {
    for program in programs("shared", ["c99", "-O1"], shared()) {
        succeed(&mut Command::new(program));
    }
}

#[test]
fn the_programs_with_the_static_library() {
    for program in programs("static", ["c17", "-O1"], libraries().join("libioloop_c.a")) {
        succeed(&mut Command::new(program));
    }
}

/// 192 bytes were reachable at the end.
#[test]
fn the_programs_under_valgrind_leave_nothing() {
    for program in programs("valgrind", ["c11", "-O0"], shared()) {
        succeed(valgrind().arg(program));
    }
}

/// The sanitizer has the programs instrumented, and every allocation of both sides watched.
#[test]
fn the_programs_with_the_address_sanitizer() {
    for program in programs("sanitizer", ["c11", "-fsanitize=address"], shared()) {
        succeed(&mut Command::new(program));
    }
}
