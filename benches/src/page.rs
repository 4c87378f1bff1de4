//! Writes the tables and pictures of PERFORMANCE.md.

use std::fs;
use std::path::Path;

use crate::harness::Workload;
use crate::report::{Effort, measure};
use crate::{front, picture, versions};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Each table replaces what stands between the markers of its workload.
pub(crate) fn write(workloads: &[Workload], effort: Effort) {
    let path = Path::new(ROOT).join("PERFORMANCE.md");
    let pictures = Path::new(ROOT).join("docs/performance");
    fs::create_dir_all(&pictures).expect("making a folder");
    replace(&path, "versions", &versions::list());
    for workload in workloads {
        let table = measure(workload, effort);
        replace(&path, workload.name, &table.to_string());
        picture::draw(&table, &pictures);
    }
    let page = fs::read_to_string(&path).expect("reading PERFORMANCE.md");
    let front = Path::new(ROOT).join("docs/pictures/speed.svg");
    fs::write(front, front::picture(&page)).expect("writing the picture of the README");
}

/// Written at once, so that a run that is broken off leaves what it has.
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
