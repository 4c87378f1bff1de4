//! Each program on every loop, own and attached; each checks itself.

use std::process::Command;

const PROGRAMS: &[(&str, &[&str])] = &[
    (env!("CARGO_BIN_EXE_hello"), &[]),
    (env!("CARGO_BIN_EXE_echo"), &["check"]),
    (env!("CARGO_BIN_EXE_signals"), &["check"]),
    (env!("CARGO_BIN_EXE_subprocess"), &[]),
    (env!("CARGO_BIN_EXE_executor"), &[]),
    (env!("CARGO_BIN_EXE_chat"), &["check"]),
    (env!("CARGO_BIN_EXE_spider"), &[]),
    (env!("CARGO_BIN_EXE_inspect"), &["check"]),
    #[cfg(feature = "trace")]
    (env!("CARGO_BIN_EXE_trace"), &[]),
];

fn on(backend: &str, mode: &str) {
    for (program, words) in PROGRAMS.iter().copied() {
        let mut command = Command::new(program);
        let output =
            command.args(["--backend", backend, "--mode", mode]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} on {backend}, {mode}: {said}{failed}");
        assert!(said.contains(&format!("on {backend}")), "{program} on {backend}, {mode}: {said}");
    }
}

macro_rules! tests {
    ($($name:ident: $feature:literal, $backend:literal, $mode:literal;)*) => {$(
        #[test]
        #[cfg_attr(not(feature = $feature), ignore = "not compiled")]
        fn $name() {
            on($backend, $mode);
        }
    )*};
}

tests! {
    own_async_io: "async-io", "async-io", "own";
    attached_to_async_io: "async-io", "async-io", "attached";
    own_tokio: "tokio", "tokio", "own";
    attached_to_tokio: "tokio", "tokio", "attached";
    own_smol: "smol", "smol", "own";
    attached_to_smol: "smol", "smol", "attached";
}

#[test]
fn bare() {
    on("bare", "own");
}

#[test]
#[cfg(feature = "tokio")]
fn attached_to_a_tokio_application() {
    let output = Command::new(env!("CARGO_BIN_EXE_attach_tokio")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("run_until") && said.contains("LocalSet"), "{said}");
}

#[test]
fn what_is_asked_for_wrongly_is_said_and_is_a_failure() {
    for words in [["--backend", "libev"], ["--mode", "sideways"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_hello")).args(words).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
    }
}

#[test]
fn who_asks_for_help_is_told_the_options() {
    let output = Command::new(env!("CARGO_BIN_EXE_hello")).arg("--help").output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("--backend") && said.contains("--mode"), "{said}");
}
