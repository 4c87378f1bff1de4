//! The page of promises in the docs is what the suite and the tests say it is.
//!
//! After a change: `WRITE_PROMISES=1 cargo test --all-features --test promises_page`.
#![cfg(feature = "conformance")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use ioloop::conformance::{CASES, PROMISES, REACTOR_CASES, sentence};

const PAGE: &str = "src/conformance/promises.md";

/// Where each promise is kept: cases of the suite, and tests that cite its number as `// B7`.
fn kept() -> BTreeMap<u16, Vec<String>> {
    let mut kept: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for case in CASES.iter().chain(REACTOR_CASES) {
        for promise in case.promises {
            let place = format!("`{}::{}`", case.theme, case.name);
            kept.entry(*promise).or_default().push(place);
        }
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files: Vec<_> =
        fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let text = fs::read_to_string(file).unwrap();
        let place = format!("`tests/{}`", file.file_name().unwrap().to_string_lossy());
        for citation in text.lines().filter_map(|line| line.trim().strip_prefix("// B")) {
            let numbers = citation.split([',', ' ', ':', '.']).filter(|word| !word.is_empty());
            let numbers = numbers.map(|word| word.strip_prefix('B').unwrap_or(word));
            for number in numbers.map_while(|word| word.parse().ok()) {
                assert!(
                    sentence(number).is_some(),
                    "{place} cites B{number}, which does not exist"
                );
                let places = kept.entry(number).or_default();
                if !places.contains(&place) {
                    places.push(place.clone());
                }
            }
        }
    }
    kept
}

fn page() -> String {
    let kept = kept();
    let mut page = String::from(
        "Every promise, and where it is kept: a case of the suite, or a test that cites its number. Those \
         without a place are of things that are still to come.\n\n| | promise | kept by |\n|---|---|---|\n",
    );
    for (number, sentence) in PROMISES {
        let places = kept.get(number).map(|places| places.join(", ")).unwrap_or_default();
        let sentence = sentence.replace('|', "\\|");
        writeln!(page, "| B{number} | {sentence} | {places} |").unwrap();
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
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

/// The promises on the loop, its callbacks, timers and descriptors: all of them are kept.
#[test]
fn every_promise_of_the_loop_is_kept_somewhere() {
    let kept = kept();
    let of_the_loop =
        [1..=37, 39..=65, 68..=68, 73..=77, 84..=84, 113..=189, 190..=225, 239..=239, 253..=265];
    let missing: Vec<u16> = of_the_loop
        .into_iter()
        .flatten()
        .filter(|number| sentence(*number).is_some() && !kept.contains_key(number))
        .collect();
    assert!(missing.is_empty(), "no case and no test cites {missing:?}");
}
