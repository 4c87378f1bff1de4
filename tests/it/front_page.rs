//! The README: its links lead somewhere, in the repository and in the docs, and no line is cut.
//!
//! It is the crate's page as well. There `docs/front_page.md` stands in front of it, with each link
//! of the README once more: the first definition of a link is the one that counts.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const README: &str = include_str!("../../README.md");
const IN_THE_DOCS: &str = "docs/front_page.md";

/// What a phone shows of a line of code, held sideways.
const WIDEST: usize = 60;

/// The links that the README defines: their names, and the files they lead to.
fn definitions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let defined = README.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    defined.filter(|(name, _)| !name.contains(']'))
}

/// Where the link leads in the docs.
fn in_the_docs(name: &str, file: &str) -> String {
    if let Some(module) = file.strip_prefix("src/") {
        let module = module.trim_end_matches(".rs").trim_end_matches("/mod");
        return format!("crate::{}", module.replace('/', "::"));
    }
    if file.ends_with(".svg") {
        return format!("data:image/svg+xml,{}", percent_encoded(&fs::read(file).unwrap()));
    }
    match file.split('/').next() {
        Some("drivers") => format!("https://docs.rs/ioloop-{name}"),
        Some("capi") => "https://docs.rs/ioloop-c".to_owned(),
        Some("examples") => "#try-it".to_owned(),
        Some("template") => "crate::guide::neutral_libraries".to_owned(),
        _ => format!("https://docs.rs/crate/ioloop/latest/source/{file}"),
    }
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'/' | b'=' => {
                text.push(byte.into());
            }
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}

#[test]
fn links_of_the_readme_lead_to_files_and_to_pages_of_the_docs() {
    let mut expected = String::new();
    for (name, file) in definitions() {
        assert!(Path::new(file).exists(), "[{name}] leads to {file}, which is not there");
        let used = README.matches(&format!("[{name}]")).count();
        assert!(used > 1, "nothing in the README leads to [{name}]");
        writeln!(expected, "[{name}]: {}", in_the_docs(name, file)).unwrap();
    }
    if env::var_os("WRITE_FRONT_PAGE").is_some() {
        fs::write(IN_THE_DOCS, &expected).unwrap();
    }
    let written = fs::read_to_string(IN_THE_DOCS).unwrap();
    assert_eq!(written, expected, "WRITE_FRONT_PAGE=1 writes {IN_THE_DOCS} anew");
}

/// The id that a heading has, on GitHub and in rustdoc.
fn id(heading: &str) -> String {
    let word = |character: char| match character {
        ' ' => Some('-'),
        _ => (character.is_alphanumeric() || character == '-').then_some(character),
    };
    heading.to_lowercase().chars().filter_map(word).collect()
}

#[test]
fn links_of_the_readme_within_it_lead_to_headings() {
    let headings: Vec<String> = (README.lines())
        .filter(|line| line.starts_with('#'))
        .map(|line| id(line.trim_start_matches('#').trim()))
        .collect();
    for (_, rest) in README.match_indices("](").map(|(at, _)| README.split_at(at + 2)) {
        let (target, _) = rest.split_once(')').unwrap();
        let target = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} has no name"));
        assert!(headings.iter().any(|heading| heading == target), "#{target}");
    }
}

#[test]
fn no_line_of_code_in_the_readme_is_cut_on_a_phone() {
    let mut in_code = false;
    for line in README.lines() {
        in_code ^= line.starts_with("```");
        assert!(!in_code || line.chars().count() <= WIDEST, "{line}");
    }
}
