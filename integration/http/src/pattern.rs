//! Bytes that tell where in a stream they belong.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The stream repeats itself after so many bytes: a prime, so no two of the pieces that
/// buffers are cut into are the same.
const PERIOD: usize = 65_521;

/// One period, and another, so a piece may begin anywhere.
static TWICE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // Marsaglia's xorshift.
    let mut state: u32 = 2_463_534_242;
    let once = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    });
    let once: Vec<u8> = once.take(PERIOD).collect();
    once.repeat(2)
});

/// At most a period of the stream, from a position on.
fn piece(position: u64, length: usize) -> &'static [u8] {
    let start = (position % PERIOD as u64) as usize;
    &TWICE[start..start + length.min(PERIOD)]
}

/// So many bytes of the stream, as the body of a request or a response.
#[derive(Debug)]
pub struct Pattern {
    position: u64,
    length: u64,
}

impl Pattern {
    /// The first `length` bytes.
    pub fn new(length: u64) -> Pattern {
        Pattern { position: 0, length }
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.length - self.position;
        if left == 0 {
            return Poll::Ready(None);
        }
        let piece = piece(self.position, usize::try_from(left).unwrap_or(usize::MAX));
        self.position += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.position)
    }
}

/// Compares what arrives, however it is cut, with the stream.
#[derive(Debug, Default)]
pub struct Check {
    position: u64,
}

impl Check {
    /// How many bytes have arrived.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next bytes; says whether they are the right ones.
    #[must_use]
    pub fn next(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = piece(self.position, bytes.len());
            let (now, later) = bytes.split_at(expected.len());
            if now != expected {
                return false;
            }
            self.position += now.len() as u64;
            bytes = later;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_accepts_the_stream_in_any_pieces_and_nothing_else() {
        let stream: Vec<u8> = (0..200_000).map(|position| piece(position, 1)[0]).collect();
        for size in [1, 1000, 65_536, 200_000] {
            let mut check = Check::default();
            assert!(stream.chunks(size).all(|chunk| check.next(chunk)), "in pieces of {size}");
            assert_eq!(check.position(), 200_000);
        }
        let mut wrong = stream.clone();
        wrong[100_000] ^= 1;
        assert!(!Check::default().next(&wrong), "a wrong bit");
        let swapped = [&stream[4096..8192], &stream[..4096]].concat();
        assert!(!Check::default().next(&swapped), "two pages in the wrong order");
        assert!(!Check::default().next(&stream[1..]), "a byte too few");
    }
}
