//! Bytes that come in pieces, as lines.

use crate::LONGEST_LINE;

/// What has come of a line so far.
#[derive(Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

/// A line was longer than is allowed, or is no text.
pub(crate) struct Unreadable;

impl Lines {
    /// Takes what has come, and hands on each line that is whole with it.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end])?;
            let line = std::mem::take(&mut self.pending);
            each(std::str::from_utf8(&line).map_err(|_| Unreadable)?)?;
            bytes = &bytes[end + 1..];
        }
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        if self.pending.len() + bytes.len() > LONGEST_LINE {
            return Err(Unreadable);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Result<Vec<String>, Unreadable> {
        let (mut lines, mut whole) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.take(piece, |line| {
                whole.push(line.to_owned());
                Ok(())
            })?;
        }
        Ok(whole)
    }

    #[test]
    fn pieces_become_lines() {
        let whole = lines(&[b"on", b"e\n\ntw", b"o\nthr"]).ok().unwrap();
        assert_eq!(whole, ["one", "", "two"]);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        assert!(lines(&[&[b'x'; LONGEST_LINE], b"\n"]).is_ok());
        assert!(lines(&[&[b'x'; LONGEST_LINE], b"x"]).is_err());
        assert!(lines(&[b"\xff\n"]).is_err());
    }
}
