//! What the crate itself is made of.

use std::process::Command;

#[test]
fn it_knows_no_runtime() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "-e", "normal", "--prefix", "none", "--format", "{lib}"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates: Vec<&str> = tree.lines().collect();
    assert!(crates.contains(&"ioloop"), "{crates:?}");
    for runtime in ["tokio", "smol", "async_io", "async_executor", "polling", "mio", "blocking"] {
        assert!(!crates.contains(&runtime), "{runtime} is in {crates:?}");
    }
}
