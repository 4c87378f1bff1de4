//! A peer of a socket, and the loops that it looks at.
#![allow(dead_code, reason = "each program uses a part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ioloop::backends::BackendKind;
use ioloop::inspect::{Inspector, open_at};
use ioloop::{IOLoop, LoopThread};

/// A folder of a test, removed with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("inspect-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("socket")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn opened() -> (Inspector, Folder) {
    let folder = Folder::new();
    (open_at(folder.path()).unwrap(), folder)
}

/// A peer that reads.
pub(crate) struct Viewer(BufReader<UnixStream>);

impl Viewer {
    pub(crate) fn new(inspector: &Inspector) -> Viewer {
        Viewer(BufReader::new(UnixStream::connect(inspector.path()).unwrap()))
    }

    /// The lines of the next picture.
    pub(crate) fn picture(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the socket ended: {lines:?}");
            if line.starts_with("end ") {
                return lines;
            }
            lines.push(line.trim_end().to_owned());
        }
    }

    /// The first line of some picture that begins with a word and has all of these in it.
    pub(crate) fn line(&mut self, word: &str, has: &[&str]) -> String {
        for _ in 0..60 {
            let lines = self.picture();
            let is_it = |line: &&String| {
                line.starts_with(word)
                    && has.iter().all(|text| line.split(' ').any(|pair| pair.starts_with(text)))
            };
            if let Some(line) = lines.iter().find(is_it) {
                return line.clone();
            }
        }
        panic!("no line {word} with {has:?} in sixty pictures");
    }

    /// The number of the loop of this name.
    pub(crate) fn number(&mut self, name: &str) -> String {
        let line = self.line("loop ", &[&format!("name={name}")]);
        value(&line, "id").to_owned()
    }
}

pub(crate) fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let pair = line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    pair.unwrap_or_else(|| panic!("no {key} in {line}"))
}

pub(crate) fn bare(name: &'static str) -> LoopThread {
    let build = move || IOLoop::builder().backend(BackendKind::Bare).name(name).build();
    IOLoop::spawn_thread(name, build).unwrap()
}

pub(crate) fn end(thread: LoopThread) {
    thread.handle().stop().unwrap();
    thread.join().unwrap();
}
