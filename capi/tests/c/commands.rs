//! Compilers and other programs, which may be missing.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The output of a command; none where the program is not installed, which is said on standard
/// error.
pub(crate) fn run(command: &mut Command) -> Option<Output> {
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
pub(crate) fn succeed(command: &mut Command) -> Option<Output> {
    let output = run(command)?;
    let said = said(&output);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Some(output)
}

/// What a command wrote.
pub(crate) fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    said.concat()
}

/// The lines that a command writes to its standard output.
pub(crate) fn lines(command: &mut Command) -> Option<Vec<String>> {
    let output = String::from_utf8(succeed(command)?.stdout).unwrap();
    Some(output.lines().map(str::to_owned).collect())
}

/// A file of this package.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// A place for what is made here.
pub(crate) fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The files of a folder with this ending, without it.
pub(crate) fn names(folder: &str, ending: &str) -> Vec<String> {
    let files = path(folder).read_dir().unwrap().map(|file| file.unwrap().file_name());
    let names = files.filter_map(|name| Some(name.to_str()?.strip_suffix(ending)?.to_owned()));
    let names: Vec<String> = names.collect();
    assert!(!names.is_empty(), "no {ending} in {folder}");
    names
}

/// The program that a variable names, as `make` has it.
pub(crate) fn compiler(variable: &str, otherwise: &str) -> OsString {
    env::var_os(variable).unwrap_or(otherwise.into())
}

/// The C compiler, with every warning an error.
pub(crate) fn cc(standard: &str) -> Command {
    let mut cc = Command::new(compiler("CC", "cc"));
    strict(&mut cc, standard);
    cc
}

pub(crate) fn strict(cc: &mut Command, standard: &str) {
    cc.current_dir(env!("CARGO_MANIFEST_DIR"));
    cc.arg(format!("-std={standard}"));
    cc.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-g"]);
}

/// Valgrind, to which anything is an error that is left at the end, reachable or not.
pub(crate) fn valgrind() -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all"]);
    // A forked child has what its parent has not freed yet.
    valgrind.args(["--errors-for-leak-kinds=all", "--child-silent-after-fork=yes"]);
    valgrind
}
