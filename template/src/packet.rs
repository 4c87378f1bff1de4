//! The bytes of SNTP. Nothing here knows of a loop.

use std::time::{Duration, SystemTime};

/// The length of a packet, in bytes.
pub(crate) const LENGTH: usize = 48;

/// Version 4, from a client.
const REQUEST: u8 = 4 << 3 | 3;
/// Version 4, from a server.
const REPLY: u8 = 4 << 3 | 4;

/// From 1900, when the protocol's time begins, to 1970.
const EPOCHS_APART: u64 = 2_208_988_800;

/// A moment as the protocol has it: in units of 2⁻³² seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn of(time: SystemTime) -> Stamp {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        // The seconds overflow each 136 years, and differences stay right.
        Stamp((since.as_secs() + EPOCHS_APART) << 32 | fraction)
    }

    fn read(packet: &[u8; LENGTH], at: usize) -> Stamp {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&packet[at..at + 8]);
        Stamp(u64::from_be_bytes(bytes))
    }

    fn write(self, packet: &mut [u8; LENGTH], at: usize) {
        packet[at..at + 8].copy_from_slice(&self.0.to_be_bytes());
    }

    /// The seconds from `earlier` to this.
    fn since(self, earlier: Stamp) -> f64 {
        self.0.wrapping_sub(earlier.0) as i64 as f64 / 4_294_967_296.0
    }
}

/// What a client sends at `sent`.
pub(crate) fn request(sent: Stamp) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = REQUEST;
    sent.write(&mut packet, 40);
    packet
}

/// What a server whose clock shows `now` answers; none to what is no request.
pub(crate) fn reply(request: &[u8], now: Stamp) -> Option<[u8; LENGTH]> {
    let request: &[u8; LENGTH] = request.get(..LENGTH)?.try_into().ok()?;
    if request[0] & 7 != REQUEST & 7 {
        return None;
    }
    let mut packet = [0; LENGTH];
    packet[..2].copy_from_slice(&[REPLY, 1]);
    Stamp::read(request, 40).write(&mut packet, 24);
    now.write(&mut packet, 32);
    now.write(&mut packet, 40);
    Some(packet)
}

/// A reply, as it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reply {
    Time {
        stratum: u8,
        offset: f64,
        round_trip: f64,
    },
    /// The server wants to be left alone; its reason, in four letters.
    GoAway([u8; 4]),
}

/// What arrived at `arrived` says; none if it is no reply to the request that was sent at `sent`.
pub(crate) fn read_reply(packet: &[u8], sent: Stamp, arrived: Stamp) -> Option<Reply> {
    let packet: &[u8; LENGTH] = packet.get(..LENGTH)?.try_into().ok()?;
    if packet[0] & 7 != REPLY & 7 || Stamp::read(packet, 24) != sent {
        return None;
    }
    if packet[1] == 0 {
        return Some(Reply::GoAway([packet[12], packet[13], packet[14], packet[15]]));
    }
    let (received, answered) = (Stamp::read(packet, 32), Stamp::read(packet, 40));
    Some(Reply::Time {
        stratum: packet[1],
        offset: (received.since(sent) + answered.since(arrived)) / 2.0,
        round_trip: arrived.since(sent) - answered.since(received),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn a_reply_says_how_far_the_clocks_are_apart() {
        let packet = reply(&request(at(100)), at(111)).unwrap();
        // Two seconds under way, one of them there: the server's clock is ten ahead.
        let read = read_reply(&packet, at(100), at(102));
        assert_eq!(read, Some(Reply::Time { stratum: 1, offset: 10.0, round_trip: 2.0 }));
    }

    #[test]
    fn what_is_no_reply_to_the_request_is_none() {
        let packet = reply(&request(at(100)), at(111)).unwrap();
        assert_eq!(read_reply(&packet, at(99), at(102)), None, "it is to another request");
        assert_eq!(read_reply(&packet[1..], at(100), at(102)), None, "it is too short");
        assert_eq!(read_reply(&request(at(100)), at(100), at(102)), None, "it is a request");
        assert_eq!(reply(&packet, at(111)), None, "it is a reply");
    }

    #[test]
    fn a_server_may_want_to_be_left_alone() {
        let mut packet = reply(&request(at(100)), at(111)).unwrap();
        packet[1] = 0;
        packet[12..16].copy_from_slice(b"RATE");
        assert_eq!(read_reply(&packet, at(100), at(102)), Some(Reply::GoAway(*b"RATE")));
    }
}
