//! Programs with one mistake each, of the kind that newcomers make, and what the compiler has to
//! say to them.
//!
//! Each file in `programs/` is a whole program. Its lines `//~ says: ...` are the helpful part of the
//! compiler's words; `//~ errors: N` is how many errors there are, one where it says nothing. A program
//! with the line `//~ compiles` is no mistake any more.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A program, and what the compiler says to it.
#[derive(Debug)]
pub struct Mistake {
    /// The name of its file.
    pub name: String,
    text: String,
    errors: Vec<String>,
}

/// Compiles all programs at once, in a folder of the caller's.
///
/// # Errors
///
/// There is no cargo, or what the programs depend on does not compile.
pub fn compile(folder: &Path) -> Result<Vec<Mistake>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (root, mut manifest) = (here.join("../.."), fs::read_to_string(here.join("package.toml"))?);
    let mut mistakes = HashMap::new();
    for entry in fs::read_dir(here.join("programs"))? {
        let path: PathBuf = entry?.path();
        let name = path.file_stem().and_then(OsStr::to_str).context("a name")?.to_owned();
        write!(manifest, "\n[[bin]]\nname = {name:?}\npath = {path:?}\n")?;
        let text = fs::read_to_string(&path)?;
        mistakes.insert(name.clone(), Mistake { name, text, errors: Vec::new() });
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("Cargo.toml"), manifest.replace("IOLOOP", &root.display().to_string()))?;
    // The very versions that are locked.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let output = Command::new("cargo")
        .args(["check", "--bins", "--keep-going", "--message-format", "json"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("RUSTFLAGS")
        .stderr(Stdio::piped())
        .output()
        .context("starting cargo")?;
    let mut compiled = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let Some(mistake) = mistakes.get_mut(name) else { continue };
        compiled += 1;
        let said = &message["message"];
        // The count of errors at the end has no place in the code.
        let is_error = said["level"] == "error" && said["spans"] != Value::Array(Vec::new());
        if let Some(rendered) = said["rendered"].as_str().filter(|_| is_error) {
            mistake.errors.push(rendered.to_owned());
        }
    }
    ensure!(compiled > 0, "{}", String::from_utf8_lossy(&output.stderr));
    let mut mistakes: Vec<_> = mistakes.into_values().collect();
    mistakes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mistakes)
}

impl Mistake {
    /// What is wrong with the compiler's words; nothing if they help.
    pub fn complaint(&self) -> Option<String> {
        let wanted = |key: &str| {
            let key = format!("//~ {key}");
            let lines = self.text.lines().filter_map(move |line| line.strip_prefix(&key));
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let said = self.errors.concat();
        // As the compiler wraps its notes.
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let count = match (wanted("compiles").first(), wanted("errors:").first()) {
            (Some(_), _) => 0,
            (None, Some(count)) => count.parse().unwrap_or(0),
            (None, None) => 1,
        };
        let missing: Vec<_> =
            wanted("says:").into_iter().filter(|text| !words.contains(&**text)).collect();
        let complains = self.errors.len() != count || !missing.is_empty();
        complains.then(|| {
            let errors = self.errors.len();
            format!(
                "{}: {errors} errors, not {count}; does not say {missing:?}:\n{said}",
                self.name
            )
        })
    }

    /// How many lines of the compiler's there are.
    pub fn lines(&self) -> usize {
        self.errors.iter().map(|error| error.lines().count()).sum()
    }
}
