//! The house has floors: a file uses what is below it, and no circle of files is larger than three.
//!
//! Reads the paths in the source, also those in code and those through the re-exports of
//! `src/lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the lowest to the highest; a file is on the first floor that its path begins with.
const FLOORS: [(&str, &[&str]); 7] = [
    (
        "errors, contained panics, the descriptor, and what the system calls them",
        &["src/error.rs", "src/contain.rs", "src/descriptor.rs", "src/system.rs"],
    ),
    ("reactor: the trait, and what needs it alone", &["src/reactor/", "src/signal"]),
    ("observe: what is told and counted", &["src/observe/"]),
    ("engine: one turn, and its tasks", &["src/engine/", "src/task"]),
    ("host: who drives a loop, and the runtimes that do", &["src/host/", "backends/"]),
    ("io_loop: all of `IOLoop`", &["src/io_loop/"]),
    ("what is made of a loop", &["src/"]),
];

/// What is on no floor: the list of modules.
const APART: &str = "src/lib.rs";

const LARGEST_CIRCLE: usize = 3;

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The sources, by the path of their module: `engine::queue` is in `src/engine/queue.rs`.
struct Sources(BTreeMap<String, String>);

impl Sources {
    fn read() -> Sources {
        let mut files = BTreeMap::new();
        for root in ["src", "backends"] {
            collect(Path::new(root), &mut files);
        }
        Sources(files)
    }

    /// The file that a path leads to: that of the innermost module which it names.
    fn file_of(&self, path: &[&str]) -> Option<&String> {
        (1..=path.len()).rev().find_map(|depth| self.0.get(&path[..depth].join("::")))
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.to_str().unwrap().to_owned();
            let module = file.trim_start_matches("src/").trim_end_matches(".rs");
            let module = module.trim_end_matches("/mod").replace('/', "::");
            files.insert(module, file);
        }
    }
}

/// The code of a file, without its comments and its tests.
fn code(file: &str) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path in the code that begins with `root`, braces multiplied out, without its root.
fn paths(code: &str, root: &str) -> Vec<String> {
    let begins = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&begins) {
        let before = code[..at].chars().next_back();
        // The end of a longer name, or the middle of a path.
        if before.is_some_and(|char| char.is_alphanumeric() || char == '_' || char == ':') {
            continue;
        }
        multiply("", &code[at + begins.len()..], &mut found);
    }
    found
}

/// Adds `prefix` with each of the paths that `rest` begins with; returns what is behind them.
fn multiply<'a>(prefix: &str, rest: &'a str, found: &mut Vec<String>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut rest) = rest.strip_prefix('{') {
        loop {
            rest = multiply(prefix, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => rest = next,
                Some(next) => return next.trim_start().strip_prefix('}').unwrap_or(next),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        Some(deeper) => multiply(&path, deeper, found),
        None => {
            found.push(path);
            // A new name for it is none that it is found by.
            match rest.strip_prefix(" as ") {
                Some(name) => {
                    name.trim_start_matches(|char: char| char.is_alphanumeric() || char == '_')
                }
                None => rest,
            }
        }
    }
}

/// Where each name at the root of the crate is from.
fn reexports() -> BTreeMap<String, String> {
    let code = code("src/lib.rs");
    let mut found = Vec::new();
    for line in code.split(';').filter_map(|line| line.split_once("pub use ")) {
        multiply("", line.1, &mut found);
    }
    let name = |path: &String| path.rsplit("::").next().unwrap_or_default().to_owned();
    found.into_iter().map(|path| (name(&path), path)).collect()
}

fn arrows() -> Arrows {
    let sources = Sources::read();
    let reexports = reexports();
    let mut arrows = Arrows::new();
    for (module, file) in &sources.0 {
        if file == APART {
            continue;
        }
        let code = code(file);
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        let roots = [("crate", ""), ("self", module.as_str()), ("super", parent)];
        let used = arrows.entry(file.clone()).or_default();
        for (root, base) in roots {
            for path in paths(&code, root) {
                let first = path.split("::").next().unwrap_or_default();
                let path = match (base.is_empty(), reexports.get(first)) {
                    (true, Some(real)) => real.clone(),
                    (true, None) => path,
                    (false, _) => format!("{base}::{path}"),
                };
                let path: Vec<&str> = path.split("::").collect();
                used.extend(sources.file_of(&path).filter(|target| *target != file).cloned());
            }
        }
    }
    arrows
}

fn floor(file: &str) -> usize {
    let holds = |prefixes: &[&str]| prefixes.iter().any(|prefix| file.starts_with(prefix));
    FLOORS.iter().position(|(_, prefixes)| holds(prefixes)).unwrap()
}

#[test]
fn a_file_uses_no_floor_above_its_own() {
    let arrows = arrows();
    let mut upward = Vec::new();
    for (file, used) in &arrows {
        for target in used.iter().filter(|target| floor(target) > floor(file)) {
            let name = |file: &str| FLOORS[floor(file)].0;
            upward.push(format!("{file} ({}) uses {target} ({})", name(file), name(target)));
        }
    }
    assert_eq!(upward, Vec::<String>::new());
    // What this reads is there to be read.
    let number: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(number > 150, "only {number} arrows were found");
}

#[test]
fn no_circle_of_files_is_larger_than_three() {
    let arrows = arrows();
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|file| (file, reach(file, &arrows))).collect();
    let circles: BTreeSet<Vec<&String>> = arrows
        .keys()
        .map(|file| {
            let both =
                |other: &&String| reached[file].contains(other) && reached[*other].contains(file);
            arrows.keys().filter(both).collect()
        })
        .collect();
    let too_large: Vec<_> = circles.iter().filter(|files| files.len() > LARGEST_CIRCLE).collect();
    assert!(too_large.is_empty(), "{too_large:#?}");
    let outside = |files: &&Vec<&String>| {
        files.len() == LARGEST_CIRCLE && !files.iter().all(|file| file.starts_with("src/engine/"))
    };
    assert_eq!(circles.iter().find(outside), None);
}

/// Every file that can be reached from one.
fn reach<'a>(file: &'a String, arrows: &'a Arrows) -> BTreeSet<&'a String> {
    let (mut seen, mut left) = (BTreeSet::new(), vec![file]);
    while let Some(file) = left.pop() {
        for target in arrows.get(file).into_iter().flatten() {
            if seen.insert(target) {
                left.push(target);
            }
        }
    }
    seen
}

#[test]
fn braces_are_multiplied_out() {
    let code =
        "use crate::a::{self, b::{C, D as E}, F,};\nlet x = crate::g::h(mycrate::i, crate::J);";
    assert_eq!(paths(code, "crate"), ["a::self", "a::b::C", "a::b::D", "a::F", "g::h", "J"]);
}

/// Its page shows what users need; the rest is in modules.
#[test]
fn the_root_of_the_crate_has_at_most_36_names() {
    let names = reexports();
    assert!((20..=36).contains(&names.len()), "{}: {:?}", names.len(), names.keys());
}

/// All of a loop's methods are in one room.
#[test]
fn the_methods_of_a_loop_stand_in_its_own_folder() {
    let elsewhere: Vec<String> = Sources::read()
        .0
        .into_values()
        .filter(|file| !file.starts_with("src/io_loop/") && code(file).contains("\nimpl IOLoop {"))
        .collect();
    assert_eq!(elsewhere, Vec::<String>::new());
}

/// Another system changes the file of names, the poller and the trigger, and nothing of what is
/// between them.
#[test]
fn what_the_system_calls_its_things_stands_in_one_file() {
    let apart = ["src/engine/poller/", "src/reactor/trigger"];
    let rooms = ["src/reactor/", "src/engine/", "src/observe/", "src/host/", "src/io_loop/"];
    let elsewhere: Vec<String> = Sources::read()
        .0
        .into_values()
        .filter(|file| rooms.iter().any(|room| file.starts_with(room)))
        .filter(|file| !apart.iter().any(|apart| file.starts_with(apart)))
        .filter(|file| !file.ends_with("tests.rs"))
        .filter(|file| {
            let code = code(file);
            ["std::os::", "rustix::", "libc::"].iter().any(|name| code.contains(name))
        })
        .collect();
    assert_eq!(elsewhere, Vec::<String>::new());
}

/// rustdoc shows the methods of a type in the order of the modules that they are in.
#[test]
fn the_page_of_a_loop_begins_with_how_it_is_made_run_and_closed() {
    let modules = code("src/io_loop/mod.rs");
    let modules = modules.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    // Also where a block is the last of its file.
    let files = modules.map(|module| code(&format!("src/io_loop/{module}.rs")) + "\n");
    let methods: Vec<String> = files
        .flat_map(|code| {
            let blocks = code.split("\nimpl IOLoop {\n").skip(1);
            let blocks = blocks.filter_map(|block| Some(block.split_once("\n}\n")?.0.to_owned()));
            blocks.collect::<Vec<_>>()
        })
        .flat_map(|block| {
            let public = block.lines().filter_map(|line| line.strip_prefix("    pub fn "));
            let names = public.filter_map(|line| line.split(['(', '<']).next().map(str::to_owned));
            names.collect::<Vec<_>>()
        })
        .collect();
    let first = "new attach builder configure current enter start run_sync start_until_empty run";
    assert_eq!(methods[..10].join(" "), first);
    let next =
        "run_until run_until_empty is_empty stop stop_now is_running close is_closed shutdown";
    assert_eq!(methods[10..19].join(" "), next);
    let at = |name: &str| methods.iter().position(|method| method == name).expect(name);
    let rest = ["spawn", "handle", "run_in_executor", "turn", "before_sleep", "metrics"];
    assert!(rest.map(at).is_sorted(), "{methods:?}");
}
