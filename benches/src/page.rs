//! Writes the tables and pictures of PERFORMANCE.md.

use std::fs;
use std::path::Path;

use crate::harness::Workload;
use crate::picture;
use crate::report::{Effort, measure};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Each table replaces what stands between the markers of its workload.
///
/// `versions` is a place of its own, and what it says. Returns what the page then is.
pub fn write(workloads: &[Workload], effort: Effort, versions: (&str, String)) -> String {
    let path = Path::new(ROOT).join("PERFORMANCE.md");
    let pictures = Path::new(ROOT).join("docs/performance");
    fs::create_dir_all(&pictures).expect("making a folder");
    replace(&path, versions.0, &versions.1);
    for workload in workloads {
        let table = measure(workload, effort);
        replace(&path, workload.name, &table.to_string());
        picture::draw(&table, &pictures);
    }
    fs::read_to_string(&path).expect("reading PERFORMANCE.md")
}

/// Written at once, so a run that is broken off leaves what it has.
fn replace(path: &Path, name: &str, block: &str) {
    let text = fs::read_to_string(path).expect("reading PERFORMANCE.md");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let place = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let Some((before, after)) = place else {
        panic!("PERFORMANCE.md has no place for {name}: {begin}{end}");
    };
    let text = format!("{before}{begin}{block}{end}{after}");
    fs::write(path, text).expect("writing PERFORMANCE.md");
}
