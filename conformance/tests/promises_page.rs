//! The page of promises in the docs is what the suite and the tests say it is.
//!
//! After a change: `WRITE_PROMISES=1 cargo test --all-features --test promises_page`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ioloop_conformance::{CASES, PROMISES, REACTOR_CASES, sentence};

const PAGE: &str = "conformance/src/promises.md";

/// Where a promise is kept.
const ROOMS: [&str; 5] = ["src", "backends", "tests", "conformance/src", "conformance/tests"];

/// The promises that nothing keeps yet. Whoever writes the case or the test takes the number out:
/// the test below fails for one that is kept and stands here, and for one that is not kept and does
/// not.
const NOT_YET: &[u16] = &[];

/// The repository's.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where each promise is kept: cases of the suite, and tests that cite its number as `// B7`.
fn kept() -> BTreeMap<u16, Vec<String>> {
    let mut kept: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for case in CASES.iter().chain(REACTOR_CASES) {
        for promise in case.promises {
            let place = format!("`{}::{}`", case.theme, case.name);
            kept.entry(*promise).or_default().push(place);
        }
    }
    let root = root();
    for file in ROOMS.iter().flat_map(|folder| sources(&root.join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let place = format!("`{}`", file.strip_prefix(root).unwrap().display());
        for number in text.lines().flat_map(citations) {
            assert!(sentence(number).is_some(), "{place} cites B{number}, which does not exist");
            let places = kept.entry(number).or_default();
            if !places.contains(&place) {
                places.push(place.clone());
            }
        }
    }
    kept
}

/// The numbers of a line like `// B7, B8: what is checked here`.
fn citations(line: &str) -> impl Iterator<Item = u16> {
    let citation = line.trim().strip_prefix("// B").unwrap_or_default();
    let words = citation.split([',', ' ', ':', '.']).filter(|word| !word.is_empty());
    words.map_while(|word| word.strip_prefix('B').unwrap_or(word).parse().ok())
}

/// Every source file below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    let files = paths.into_iter().flat_map(below);
    files.filter(|file| file.extension().is_some_and(|end| end == "rs")).collect()
}

fn page() -> String {
    let kept = kept();
    let mut page = String::from(
        "Every promise, and where it is kept: a case of the suite, or a test that cites its number.\n\n| | promise | kept by |\n|---|---|---|\n",
    );
    for (number, sentence) in PROMISES {
        let places = kept.get(number).map_or("not yet".into(), |places| places.join(", "));
        let sentence = sentence.replace('|', "\\|");
        writeln!(page, "| B{number} | {sentence} | {places} |").unwrap();
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = root().join(PAGE);
    let page = page();
    if std::env::var_os("WRITE_PROMISES").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == page, "{PAGE} is out of date: see the head of this test");
}

#[test]
fn every_case_cites_promises_that_exist() {
    for case in CASES.iter().chain(REACTOR_CASES) {
        for promise in case.promises {
            assert!(sentence(*promise).is_some(), "{} cites B{promise}", case.name);
        }
    }
}

#[test]
fn every_promise_is_kept_somewhere_or_said_to_be_not_yet() {
    let kept = kept();
    for (number, _) in PROMISES {
        match (kept.get(number), NOT_YET.contains(number)) {
            (None, false) => panic!("no case and no test cites B{number}"),
            (Some(places), true) => {
                panic!("B{number} is kept by {places:?}: take it out of NOT_YET")
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    let unknown: Vec<_> = NOT_YET.iter().filter(|number| sentence(**number).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?} are no promises");
}

#[test]
fn the_promises_are_in_order_and_each_has_one_number() {
    assert!(PROMISES.is_sorted_by(|(one, _), (next, _)| one < next));
}
