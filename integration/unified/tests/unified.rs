//! Each package behaves alone as it does in the build that has the features of all.

use std::path::Path;
use std::process::Command;

use ioloop::backends::BackendKind;

#[test]
fn a_package_that_adds_features_changes_no_other_packages_loop() {
    // What none of the three has asked for by itself.
    assert!(BackendKind::Tokio.is_compiled() && BackendKind::AsyncIo.is_compiled());
    assert_eq!(ioloop_unified::on_its_runtime().unwrap(), "tokio");
    assert_eq!(ioloop_unified::on_its_executor().unwrap(), "async-io");
    assert_eq!(ioloop_unified::embedded().unwrap(), "bare");
}

#[test]
fn each_package_behaves_so_alone() {
    // The folder that this was built in.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    for (package, feature) in
        [("on-tokio", Some("tokio")), ("on-async-io", Some("async-io")), ("embeds", None)]
    {
        let cargo = |arguments: &[&str]| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
            let output = cargo.args(["--offline", "--package", package]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{package}: {said}");
            String::from_utf8(output.stdout).unwrap()
        };
        // With its own features alone.
        let tree =
            cargo(&["tree", "--edges", "normal", "--prefix", "none", "--format", "{lib} {f}"]);
        let line = tree.lines().find(|line| line.starts_with("ioloop ")).unwrap();
        for other in ["tokio", "async-io", "smol"] {
            assert_eq!(line.contains(other), feature == Some(other), "{package}: {line}");
        }
        cargo(&["test", "--lib", "--target-dir", target.to_str().unwrap()]);
    }
}
