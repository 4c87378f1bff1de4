//! Each contender of each job, with very little work: that it does what it says, and fills each
//! column of its table.

use std::process::Command;

const REQUESTS: &str = "20";
const COLUMNS: usize = 4;

/// A table of more at a time has the contenders of one of fewer, and makes all of its connections.
const AT_ONCE: u32 = 100;

fn jobs(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ioloop-jobs")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_job_had_a_contender_that_could_not_do_it() {
    let (_, list, _) = jobs(&["--list"]);
    let mut tried = 0;
    let at_once = |contender: &str| contender.split('/').next()?.rsplit('-').next()?.parse().ok();
    for contender in list.lines().filter(|name| at_once(name).is_none_or(|n: u32| n <= AT_ONCE)) {
        let (done, values, errors) = jobs(&["--once", contender, "--operations", REQUESTS]);
        if errors.starts_with(&format!("{contender} needs ")) {
            print!("SKIPPED: {errors}");
            continue;
        }
        assert!(done, "{contender}: {errors}");
        let values: Vec<f64> = values.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(values.len() >= COLUMNS, "{contender}: {values:?}");
        assert!(values[..COLUMNS].iter().all(|value| *value > 0.0), "{contender}: {values:?}");
        tried += 1;
    }
    assert!(tried > 0, "{list}");
}

#[test]
fn a_table_of_jobs_had_no_place_on_the_page() {
    let page = include_str!("../../../PERFORMANCE.md");
    let (_, list, _) = jobs(&["--list"]);
    for contender in list.lines() {
        let (table, _) = contender.split_once('/').unwrap();
        let place = page.split_once(&format!("<!-- {table} -->\n"));
        let (_, rest) = place.unwrap_or_else(|| panic!("no place for {table}"));
        assert!(rest.contains(&format!("<!-- end of {table} -->")), "{table} does not end");
    }
}
