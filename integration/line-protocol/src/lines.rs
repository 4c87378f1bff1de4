//! Lines of bounded length, in from a socket and out to one.
//!
//! Every future here may be given up and begun again: what was read, and what was written, is known
//! to the value, not to the future.

use std::fmt::Display;
use std::io::{self, Write};

use ioloop::Async;

use crate::error::Error;
use crate::socket::Socket;

/// What is asked of the kernel at once.
const CHUNK: usize = 4096;

/// Lines that come in; never holds more than the longest line and a chunk.
pub(crate) struct Lines {
    /// What was read and not taken yet, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// There is no end of a line between `start` and here.
    searched: usize,
    limit: usize,
    /// What comes is the rest of a line that was told to be too long.
    skipping: bool,
    /// Nothing more will come.
    ended: bool,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Lines { buffer: Vec::new(), start: 0, searched: 0, limit, skipping: false, ended: false }
    }

    /// The next line, without its end; none at the end of the connection.
    pub(crate) async fn next<S: Socket>(
        &mut self,
        socket: &Async<S>,
    ) -> Result<Option<String>, Error> {
        loop {
            if let Some(line) = self.take() {
                return line.map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            self.read(socket).await?;
        }
    }

    /// The next line of what was read; none if it is not complete.
    pub(crate) fn take(&mut self) -> Option<Result<String, Error>> {
        while let Some(length) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
            let line = &self.buffer[self.start..self.searched + length];
            self.start = self.searched + length + 1;
            self.searched = self.start;
            if self.skipping {
                self.skipping = false;
            } else if line.len() > self.limit {
                return Some(Err(Error::TooLong(self.limit)));
            } else {
                let text = std::str::from_utf8(line).map(str::to_owned);
                return Some(text.map_err(|_| Error::NotText));
            }
        }
        self.searched = self.buffer.len();
        let rest = self.buffer.len() - self.start;
        let too_long = rest > self.limit && !self.skipping;
        if too_long || self.skipping || self.ended {
            // The rest is no line, or is known to be a bad one.
            self.skipping |= too_long;
            self.buffer.clear();
            (self.start, self.searched) = (0, 0);
        }
        if too_long {
            Some(Err(Error::TooLong(self.limit)))
        } else {
            (self.ended && rest > 0 && !self.skipping).then_some(Err(Error::CutOff))
        }
    }

    async fn read<S: Socket>(&mut self, socket: &Async<S>) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let buffer = &mut self.buffer;
        let read = socket.read_with(|socket| {
            let length = buffer.len();
            buffer.resize(length + CHUNK, 0);
            let read = socket.read(&mut buffer[length..]);
            buffer.truncate(length + *read.as_ref().unwrap_or(&0));
            read
        });
        self.ended = read.await? == 0;
        Ok(())
    }

    /// Reads to the end of the connection, and keeps nothing.
    pub(crate) async fn discard<S: Socket>(&mut self, socket: &Async<S>) -> io::Result<()> {
        while !self.ended {
            self.start = self.buffer.len();
            self.searched = self.start;
            self.read(socket).await?;
        }
        Ok(())
    }
}

/// Lines that go out, from `written` on.
#[derive(Default)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    written: usize,
}

impl Output {
    pub(crate) fn push(&mut self, line: &impl Display) {
        writeln!(self.buffer, "{line}").expect("a vector takes everything");
    }

    /// Bytes that wait to be written.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.written
    }

    pub(crate) async fn flush<S: Socket>(&mut self, socket: &Async<S>) -> io::Result<()> {
        while self.len() > 0 {
            let rest = &self.buffer[self.written..];
            self.written += socket.write_with(|socket| socket.write(rest)).await?;
        }
        self.buffer.clear();
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `chunks` one after the other, then the end; says what was taken.
    fn taken(limit: usize, chunks: &[&[u8]]) -> Vec<Result<String, String>> {
        let mut lines = Lines::new(limit);
        let mut taken = Vec::new();
        for chunk in chunks {
            lines.buffer.extend_from_slice(chunk);
            taken.extend(std::iter::from_fn(|| lines.take()));
            assert!(lines.buffer.len() - lines.start <= limit, "it keeps a line that is too long");
        }
        lines.ended = true;
        taken.extend(std::iter::from_fn(|| lines.take()));
        taken.into_iter().map(|line| line.map_err(|error| error.to_string())).collect()
    }

    fn ok(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = "one\n\ntwo\u{e9}\nthree\n";
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(taken(6, &chunks), [ok("one"), ok(""), ok("two\u{e9}"), ok("three")]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_passed_over() {
        let text = b"four\nfive5\n1234567890\nfour\n";
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            let error = || Err("the line is longer than 4 bytes".to_owned());
            assert_eq!(taken(4, &chunks), [ok("four"), error(), error(), ok("four")], "by {size}");
        }
    }

    #[test]
    fn what_is_not_text_and_what_has_no_end_are_errors() {
        let (text, cut) = ("the line is not UTF-8", "the connection ended in the middle of a line");
        let taken = taken(9, &[b"a\xff\nb\n", b"c"]);
        assert_eq!(taken, [Err(text.to_owned()), ok("b"), Err(cut.to_owned())]);
    }

    #[test]
    fn the_end_of_a_line_that_is_too_long_is_no_second_error() {
        let too_long = "the line is longer than 2 bytes";
        assert_eq!(taken(2, &[b"abc", b"def"]), [Err(too_long.to_owned())]);
    }
}
