//! Runs the tests of the Python module with the library that was built along.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::process::Command;

#[test]
fn the_python_tests() {
    // Where cargo puts what the tests depend on.
    let library = env::current_exe().unwrap().with_file_name("libioloop_c.so");
    assert!(library.is_file(), "there is no {}", library.display());
    let mut python = Command::new(env::var_os("PYTHON").unwrap_or("python3".into()));
    python.args([
        "-X",
        "faulthandler",
        "-W",
        "error",
        "-B",
        "-m",
        "unittest",
        "discover",
        "-s",
        "tests",
        "-v",
    ]);
    python.current_dir(env!("CARGO_MANIFEST_DIR"));
    python.env("PYTHONPATH", "python").env("IOLOOP_LIBRARY", library);
    let output = match python.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "python3 is not installed");
            // Not `eprintln`, whose output the test harness keeps for tests that fail.
            let _ = writeln!(io::stderr(), "SKIPPED: python3 is not installed");
            return;
        }
        Err(error) => panic!("{python:?}: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    // `unittest` calls it a success too if it found none.
    assert!(said.contains("Ran ") && !said.contains("Ran 0 tests"), "{said}");
    print!("{said}");
}
