//! `ioloop.h` beside what the library defines, and what is written about it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use ioloop_c::STATUSES;

use crate::commands::{cc, compiler, made, path, strict, succeed, text};

/// A compiler that is given both refuses them if they differ in a type.
#[test]
fn the_header_declares_what_the_library_defines() {
    let mut config = cbindgen::Config { language: cbindgen::Language::C, ..Default::default() };
    let types = [("LoopNumber", "ioloop"), ("Id", "ioloop_id")];
    config.export.exclude = types.map(|(of_rust, _)| of_rust.to_owned()).to_vec();
    let types = types.map(|(of_rust, of_c)| (of_rust.to_owned(), of_c.to_owned()));
    config.export.rename = types.into_iter().collect();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = builder.with_src(path("src/exports.rs")).with_src(path("src/calls.rs"));
    let mut source = b"#include \"ioloop.h\"\n".to_vec();
    builder.generate().unwrap().write(&mut source);
    let both = made("both.c");
    fs::write(&both, &source).unwrap();
    let Some(_) = succeed(cc("c99").args(["-Iinclude", "-fsyntax-only"]).arg(&both)) else {
        return;
    };
    let source = String::from_utf8(source).unwrap();
    assert_eq!(functions(&text("include/ioloop.h")), functions(&source));
}

/// The names that a source declares functions by: what stands before a parenthesis at the start of
/// a line.
pub(crate) fn functions(source: &str) -> BTreeSet<String> {
    let declarations = source.lines().filter(|line| {
        line.starts_with(|first: char| first.is_alphabetic()) && !line.starts_with("typedef")
    });
    let names = declarations.filter_map(|line| line.split('(').next().filter(|name| *name != line));
    names.filter_map(|name| name.rsplit([' ', '*']).next()).map(str::to_owned).collect()
}

/// What stands after `#define NAME`.
fn defined(name: &str) -> String {
    let start = format!("#define {name} ");
    let header = text("include/ioloop.h");
    header.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
}

#[test]
fn the_header_has_the_version_of_the_package() {
    assert_eq!(defined("IOLOOP_VERSION_STRING"), format!("{:?}", env!("CARGO_PKG_VERSION")));
    assert_eq!(defined("IOLOOP_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MAJOR"));
    assert_eq!(defined("IOLOOP_VERSION_MINOR"), env!("CARGO_PKG_VERSION_MINOR"));
    assert_eq!(defined("IOLOOP_VERSION_PATCH"), env!("CARGO_PKG_VERSION_PATCH"));
}

#[test]
fn the_header_has_the_numbers_of_the_statuses() {
    let header = text("include/ioloop.h");
    let lines = header.lines().filter_map(|line| {
        let (name, number) = line.trim().strip_prefix("IOLOOP_")?.split_once(" = ")?;
        Some((format!("IOLOOP_{name}"), number.trim_end_matches(',').parse().ok()?))
    });
    let statuses = STATUSES.iter().map(|(name, number)| ((*name).to_owned(), *number));
    assert_eq!(lines.collect::<Vec<_>>(), statuses.collect::<Vec<_>>());
}

#[test]
fn the_header_is_one_of_any_c_and_of_cpp() {
    for standard in ["c99", "c11", "c17", "gnu99"] {
        succeed(cc(standard).args(["-fsyntax-only", "-x", "c", "include/ioloop.h"]));
    }
    for standard in ["c++11", "c++17"] {
        let mut cpp = Command::new(compiler("CXX", "c++"));
        strict(&mut cpp, standard);
        succeed(cpp.args(["-fsyntax-only", "-x", "c++", "include/ioloop.h"]));
    }
}

/// Each function and each status, in the manual and in the README.
#[test]
fn the_manual_and_the_readme_name_everything_there_is() {
    let (manual, readme) = (text("ioloop.3"), text("README.md"));
    for function in functions(&text("include/ioloop.h")) {
        assert!(manual.contains(&format!(".Nm {function}")), "the manual does not head {function}");
        assert!(manual.contains(&format!(".Fo {function}")), "the manual does not have {function}");
        assert!(readme.contains(&function), "the README does not have {function}");
    }
    for (status, _) in STATUSES {
        assert!(manual.contains(&format!(".It Dv {status}")), "the manual does not have {status}");
        assert!(readme.contains(&format!("| `{status}` |")), "the README does not have {status}");
    }
}

#[test]
fn the_manual_is_in_order() {
    // What it has to say of style is about names of functions.
    succeed(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(path("ioloop.3")));
    let mut groff = Command::new("groff");
    let Some(formatted) = succeed(groff.args(["-ww", "-mandoc", "-Tutf8"]).arg(path("ioloop.3")))
    else {
        return;
    };
    assert_eq!(String::from_utf8(formatted.stderr).unwrap(), "");
}
