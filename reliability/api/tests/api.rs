//! The public API is the one that is listed: in `api.txt`, and that of the suite in
//! `conformance.txt`.
//!
//! What has gone from the list breaks users, what has come is a promise. Where that is meant, bless
//! it, and say it in CHANGELOG.md: `BLESS=1 cargo test -p ioloop-api`.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use ioloop_api::{TOOLCHAIN, has_toolchain, listing};

#[test]
fn the_public_api_is_the_one_listed() {
    compare("ioloop", "api.txt");
}

#[test]
fn the_public_api_of_the_suite_is_the_one_listed() {
    compare("ioloop-conformance", "conformance.txt");
}

fn compare(package: &str, file: &str) {
    if !has_toolchain() {
        let missing =
            format!("the toolchain {TOOLCHAIN} is missing: the public API is not compared");
        assert!(env::var_os("CI").is_none(), "{missing}");
        return eprintln!("{missing}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let found = listing(package).unwrap();
    if env::var_os("BLESS").is_some() {
        return fs::write(path, found).unwrap();
    }
    let listed = fs::read_to_string(path).unwrap();
    let (listed, found): (BTreeSet<_>, BTreeSet<_>) =
        (listed.lines().collect(), found.lines().collect());
    let gone = listed.difference(&found).map(|item| format!("- {item}"));
    let come = found.difference(&listed).map(|item| format!("+ {item}"));
    let changes: Vec<_> = gone.chain(come).collect();
    assert!(
        changes.is_empty(),
        "the public API is not the one in {file}; if it is meant to be, set BLESS=1:\n{}",
        changes.join("\n")
    );
}
