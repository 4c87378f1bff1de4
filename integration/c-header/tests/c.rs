//! The programs, one that uses all of `ioloop.h` and one that does anything, in every way to link
//! them and to watch over them; and the header itself.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The output of a command; none where the program is not installed, which is said on standard
/// error.
fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let program = command.get_program().to_string_lossy();
            assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "{program} is not installed");
            // Not `eprintln`, whose output the test harness keeps for tests that fail.
            let _ = writeln!(io::stderr(), "SKIPPED: {program} is not installed");
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// As above, of a command that has to succeed.
fn succeed(command: &mut Command) -> Option<Output> {
    let output = run(command)?;
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    assert!(output.status.success(), "{command:?}: {}\n{}{}", output.status, said[0], said[1]);
    Some(output)
}

/// Where cargo puts the library for the tests.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn cc() -> Command {
    let mut cc = Command::new(env::var_os("CC").unwrap_or("cc".into()));
    cc.current_dir(env!("CARGO_MANIFEST_DIR"));
    cc.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-Iinclude"]);
    cc
}

/// The programs, compiled with these arguments.
fn programs(way: &str, arguments: &[&OsStr]) -> Option<Vec<PathBuf>> {
    let programs = ["program", "anything"].into_iter().map(|name| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{way}"));
        let mut cc = cc();
        cc.arg(format!("tests/{name}.c")).args(["-pthread", "-o"]).arg(&program).args(arguments);
        succeed(&mut cc).map(|_| program)
    });
    programs.collect()
}

/// Linked to the shared library.
fn shared(way: &str, option: &str) -> Option<Vec<PathBuf>> {
    let library = libraries().join("libioloop_c.so");
    programs(way, &[option.as_ref(), library.as_ref()])
}

#[test]
fn the_programs_with_the_shared_library() {
    for program in shared("shared", "-O1").into_iter().flatten() {
        succeed(&mut Command::new(program));
    }
}

#[test]
fn the_programs_with_the_static_library() {
    let library = libraries().join("libioloop_c.a");
    for program in programs("static", &[library.as_ref()]).into_iter().flatten() {
        succeed(&mut Command::new(program));
    }
}

#[test]
fn the_programs_under_valgrind() {
    for program in shared("under-valgrind", "-O0").into_iter().flatten() {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        valgrind.arg("--errors-for-leak-kinds=definite,indirect,possible").arg(program);
        succeed(&mut valgrind);
    }
}

/// The sanitizer has the programs instrumented, and every allocation of both sides watched.
#[test]
fn the_programs_with_the_address_sanitizer() {
    for program in shared("with-sanitizer", "-fsanitize=address").into_iter().flatten() {
        succeed(&mut Command::new(program));
    }
}

/// A compiler that is given both refuses them if they differ in a type.
#[test]
fn the_header_declares_what_the_library_defines() {
    let config = cbindgen::Config { language: cbindgen::Language::C, ..Default::default() };
    let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exports.rs");
    let defined = cbindgen::Builder::new().with_config(config).with_src(exports).generate();
    let both = Path::new(env!("CARGO_TARGET_TMPDIR")).join("both.c");
    let mut source = b"#include \"ioloop.h\"\n".to_vec();
    defined.unwrap().write(&mut source);
    fs::write(&both, &source).unwrap();
    let Some(_) = succeed(cc().arg("-fsyntax-only").arg(&both)) else { return };

    let source = String::from_utf8(source).unwrap();
    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/ioloop.h"));
    assert_eq!(functions(&header.unwrap()), functions(&source));
    let library = libraries().join("libioloop_c.so");
    let mut nm = Command::new("nm");
    let Some(exported) = succeed(nm.args(["-D", "--defined-only", "-j"]).arg(library)) else {
        return;
    };
    let exported = String::from_utf8(exported.stdout).unwrap();
    let exported: BTreeSet<&str> = exported.lines().collect();
    assert_eq!(exported, functions(&source), "and nothing else is exported");
}

/// The names that a source declares functions by: what stands before a parenthesis at the start of
/// a line.
fn functions(source: &str) -> BTreeSet<&str> {
    let declarations = source.lines().filter(|line| {
        line.starts_with(|first: char| first.is_alphabetic()) && !line.starts_with("typedef")
    });
    let names = declarations.filter_map(|line| line.split('(').next().filter(|name| *name != line));
    names.filter_map(|name| name.rsplit([' ', '*']).next()).collect()
}
