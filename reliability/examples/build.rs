//! Makes a function of each example in README and in the documentation of the library, as rustdoc
//! does.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

const ROOT: &str = "../..";

fn main() {
    let mut code = String::new();
    let mut list = String::new();
    let mut files = vec![PathBuf::from("README.md")];
    sources(Path::new("src"), &mut files);
    sources(Path::new("backends"), &mut files);
    for file in files {
        println!("cargo::rerun-if-changed={ROOT}/{}", file.display());
        let text = fs::read_to_string(Path::new(ROOT).join(&file)).unwrap();
        for (line, example) in examples(&text, file.extension().is_some_and(|end| end == "md")) {
            let name =
                format!("{}_{line}", file.display().to_string().replace(['/', '.', '-'], "_"));
            let name = name.to_lowercase();
            writeln!(
                code,
                "#[allow(warnings, clippy::all)]\nmod {name} {{\n{}\n}}",
                function(&example)
            )
            .unwrap();
            writeln!(list, "    ({:?}, {name}::example),", format!("{}:{line}", file.display()))
                .unwrap();
        }
    }
    writeln!(code, "/// Where each example stands, and what runs it.\npub const EXAMPLES: &[(&str, fn())] = &[\n{list}];").unwrap();
    let out = Path::new(&env::var("OUT_DIR").unwrap()).join("examples.rs");
    fs::write(out, code).unwrap();
}

/// The Rust files below a folder, in order.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={ROOT}/{}", folder.display());
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for path in names.into_iter().map(|name| folder.join(name)) {
        if Path::new(ROOT).join(&path).is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// The examples that rustdoc would run, each with its line.
fn examples(text: &str, is_markdown: bool) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Within a block: its line, and its text if it is an example.
    let mut block: Option<(usize, Option<String>)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = if is_markdown {
            line
        } else {
            let line = line.trim_start();
            match line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) {
                Some(line) => line.strip_prefix(' ').unwrap_or(line),
                None => {
                    block = None;
                    continue;
                }
            }
        };
        match (&mut block, line.trim_start().strip_prefix("```")) {
            (None, Some(tags)) => {
                // What does not run, or runs as something else, has a tag.
                let example = matches!(tags, "" | "rust").then(String::new);
                block = Some((number, example));
            }
            (Some(_), Some(_)) => {
                if let Some((number, Some(example))) = block.take() {
                    found.push((number, example));
                }
            }
            (Some((_, Some(example))), None) => {
                let line = match line.trim_start() {
                    "#" => "",
                    trimmed => trimmed.strip_prefix("# ").unwrap_or(line),
                };
                example.push_str(line);
                example.push('\n');
            }
            (Some((_, None)), None) | (None, None) => {}
        }
    }
    found
}

/// What runs an example, and panics if it fails.
fn function(example: &str) -> String {
    if example.contains("fn main()") {
        return format!("{example}\npub fn example() {{ crate::Outcome::expect(main()) }}");
    }
    if example.trim_end().ends_with("(())") {
        return format!(
            "pub fn example() {{\n\
             fn inner() -> Result<(), impl core::fmt::Debug> {{\n{example}\n}}\n\
             inner().unwrap()\n}}"
        );
    }
    format!("pub fn example() {{\n{example}\n}}")
}
