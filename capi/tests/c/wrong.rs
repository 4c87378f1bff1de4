//! What must not compile: the programs under `tests/wrong`, each of which is right with `RIGHT`
//! defined, and names in its first line what the compiler says of it otherwise.

use std::process::Command;

use crate::commands::{cc, compiler, names, run, said, strict, succeed, text};

#[test]
fn what_is_wrong_does_not_compile() {
    for name in names("tests/wrong", ".c") {
        let file = format!("tests/wrong/{name}.c");
        let compile = || {
            let mut cc = cc("c99");
            cc.args(["-Iinclude", "-fsyntax-only"]).arg(&file);
            cc
        };
        let Some(_) = succeed(compile().arg("-DRIGHT")) else { return };
        let refused = run(&mut compile()).unwrap();
        let source = text(&file);
        let says = source.lines().next().unwrap();
        let says = says.strip_prefix("/* says: ").and_then(|says| says.strip_suffix(" */"));
        let (says, said) = (says.unwrap(), said(&refused));
        assert!(!refused.status.success(), "{name} compiles");
        assert!(said.contains(says), "{name}: {said}");
    }
}

#[test]
fn nor_does_it_in_cpp() {
    for name in names("tests/wrong", ".c") {
        let compile = || {
            let mut cpp = Command::new(compiler("CXX", "c++"));
            strict(&mut cpp, "c++11");
            cpp.args(["-Iinclude", "-fsyntax-only", "-x", "c++", &format!("tests/wrong/{name}.c")]);
            cpp
        };
        let Some(_) = succeed(compile().arg("-DRIGHT")) else { return };
        assert!(!run(&mut compile()).unwrap().status.success(), "{name} compiles");
    }
}
