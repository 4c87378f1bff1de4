//! What is said on a connection: a request names itself and how long its answer is to be.
//!
//! A request is 12 bytes, its number and the length of the answer. The answer repeats them, and as
//! many bytes follow that can be told from the number. The number's upper half is that of the
//! connection, the lower one counts.

/// A request; and the beginning of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The connection's number above, the request's below.
    pub id: u64,
    /// Bytes that follow the head of the answer.
    pub len: u32,
}

impl Request {
    /// Bytes of a request.
    pub const SIZE: usize = 12;

    /// The `n`th request of a connection.
    pub fn new(connection: usize, n: u32, len: u32) -> Request {
        Request { id: (connection as u64) << 32 | u64::from(n), len }
    }

    /// As it is sent.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.id.to_be_bytes());
        bytes[8..].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// As it came.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Request {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Request {
            id: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            len: u32::from_be_bytes([i, j, k, l]),
        }
    }

    /// The number of the connection.
    pub fn connection(self) -> usize {
        (self.id >> 32) as usize
    }

    /// Bytes of the whole answer.
    pub fn answer_len(self) -> usize {
        Self::SIZE + self.len as usize
    }

    /// Fills `room` with the answer from its byte `at` on; says how much there was.
    pub fn answer(self, at: usize, room: &mut [u8]) -> usize {
        let len = room.len().min(self.answer_len() - at);
        let head = self.encode();
        for (byte, place) in room[..len].iter_mut().zip(at..) {
            *byte = head.get(place).copied().unwrap_or_else(|| self.body(place));
        }
        len
    }

    fn body(self, place: usize) -> u8 {
        (self.id ^ (self.id >> 32)).wrapping_add(place as u64) as u8
    }

    /// Whether these are the bytes of the answer after its head.
    pub fn is_body(self, body: &[u8]) -> bool {
        body.len() == self.len as usize
            && body.iter().zip(Self::SIZE..).all(|(byte, place)| *byte == self.body(place))
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends some requests at a time, and reads the answers.
    Steady,
    /// Resets the connection in the middle of an answer, and comes again.
    Resets,
    /// Asks for much, and reads nothing for a long time.
    Stalls,
    /// Asks, closes its half, reads the answers to the end, and comes again.
    HalfCloses,
    /// Sends a byte at a time, with a second in between.
    Trickles,
    /// Says nothing between its first request and its last.
    Idles,
}

impl Kind {
    /// The behaviour of a connection, by its number: nine of ten are steady.
    pub fn of(connection: usize) -> Kind {
        match connection % 50 {
            1 => Kind::Resets,
            2 => Kind::Stalls,
            3 => Kind::HalfCloses,
            4 => Kind::Trickles,
            5 => Kind::Idles,
            _ => Kind::Steady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_in_one_piece_and_in_many() {
        let request = Request::new(3, 9, 50);
        let mut whole = [0; 100];
        assert_eq!(request.answer(0, &mut whole), 62);
        let mut pieces = [0; 62];
        for (at, room) in (0..).step_by(7).zip(pieces.chunks_mut(7)) {
            request.answer(at, room);
        }
        assert_eq!(whole[..62], pieces);
        assert_eq!(Request::decode(whole[..12].try_into().unwrap()), request);
        assert!(request.is_body(&whole[12..62]));
        whole[40] ^= 1;
        assert!(!request.is_body(&whole[12..62]));
        assert!(!request.is_body(&whole[12..61]));
    }
}
