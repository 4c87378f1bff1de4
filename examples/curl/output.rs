//! Where the bytes go: files that appear when they are complete, under names of their own.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Names for the files of URLs: the last segment of its path, with a number where there is that
/// name already.
#[derive(Default)]
pub(crate) struct Names(HashSet<String>);

impl Names {
    /// The next one.
    pub(crate) fn name(&mut self, url: &str) -> String {
        let segment = last_segment(url);
        let mut name = segment.to_owned();
        let mut number = 1;
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{segment}.{number}");
        }
        name
    }
}

fn last_segment(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    match rest.rsplit_once('/').unwrap_or_default().1 {
        "" | "." | ".." => "index.html",
        name => name,
    }
}

/// Says which file or directory an error is about.
pub(crate) fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file that is written under another name until it is complete; removed if it is dropped before.
pub(crate) struct PartFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
}

impl PartFile {
    /// Begins the file that will be at `path`.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let mut part = OsString::from(".");
        part.push(path.file_name().unwrap_or_default());
        part.push(".part");
        let part = path.with_file_name(part);
        match File::create(&part) {
            Ok(file) => Ok(PartFile { file, part, path }),
            Err(error) => Err(about(&path, error)),
        }
    }

    /// Gives the file its name.
    pub(crate) fn finish(&self) -> io::Result<()> {
        fs::rename(&self.part, &self.path).map_err(|error| about(&self.path, error))
    }
}

impl Write for PartFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // There is none any more if it has its name.
        let _ = fs::remove_file(&self.part);
    }
}
