//! The records of a DNS message: as much of it as c-ares leaves to whoever asks.

use std::time::Duration;

/// A server of a service (`SRV`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Srv {
    /// Servers with a lower number come first.
    pub priority: u16,
    /// Among those of one priority, how often to choose this one.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its name.
    pub target: String,
}

/// A mail server (`MX`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mx {
    /// Servers with a lower number come first.
    pub preference: u16,
    /// Its name.
    pub exchange: String,
}

/// The types of records that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    Mx = 15,
    Txt = 16,
    Srv = 33,
}

/// A record's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Srv(Srv),
    Txt(Vec<u8>),
    Mx(Mx),
}

const SOA: u16 = 6;
const IN: u16 = 1;

/// The records of a type, with the time for which they may be kept; none where it is no message.
pub(crate) fn records(message: &[u8], wanted: Type) -> Option<(Vec<Record>, Duration)> {
    let mut found = Vec::new();
    let mut least = u32::MAX;
    let mut reader = Reader { message, at: 0 };
    let (answers, _) = reader.header()?;
    for _ in 0..answers {
        let Section { kind, ttl, mut data, end } = reader.record()?;
        // A `CNAME` on the way bounds the time too.
        least = least.min(ttl);
        if kind == wanted as u16 {
            found.push(data.of(wanted, end)?);
        }
    }
    Some((found, Duration::from_secs(least.into())))
}

/// For how long it may be kept that there is no such name or record; none if nobody says so.
pub(crate) fn negative_ttl(message: &[u8]) -> Option<Duration> {
    let mut reader = Reader { message, at: 0 };
    let (answers, authorities) = reader.header()?;
    for _ in 0..answers {
        reader.record()?;
    }
    for _ in 0..authorities {
        let Section { kind, ttl, mut data, .. } = reader.record()?;
        if kind == SOA {
            data.name()?;
            data.name()?;
            // Serial, refresh, retry and expire come before the minimum.
            data.skip(16)?;
            return Some(Duration::from_secs(ttl.min(data.u32()?).into()));
        }
    }
    None
}

/// One record.
struct Section<'a> {
    kind: u16,
    ttl: u32,
    data: Reader<'a>,
    /// Where its data ends.
    end: usize,
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.bytes(length).map(drop)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    /// Reads up to the first record; how many answers and authorities there are.
    fn header(&mut self) -> Option<(u16, u16)> {
        self.skip(4)?;
        let (questions, answers, authorities) = (self.u16()?, self.u16()?, self.u16()?);
        self.skip(2)?;
        for _ in 0..questions {
            self.name()?;
            self.skip(4)?;
        }
        Some((answers, authorities))
    }

    fn record(&mut self) -> Option<Section<'a>> {
        self.name()?;
        let (kind, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let length = self.u16()?.into();
        let data = *self;
        self.skip(length)?;
        // Another class is of no type that is known. The highest bit makes a time none.
        let kind = if class == IN { kind } else { 0 };
        Some(Section { kind, ttl: if ttl >> 31 == 0 { ttl } else { 0 }, data, end: self.at })
    }

    fn of(&mut self, kind: Type, end: usize) -> Option<Record> {
        Some(match kind {
            Type::Srv => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                Record::Srv(Srv { priority, weight, port, target: self.name()? })
            }
            Type::Mx => Record::Mx(Mx { preference: self.u16()?, exchange: self.name()? }),
            Type::Txt => {
                let mut text = Vec::new();
                while self.at < end {
                    let length = self.bytes(1)?[0].into();
                    text.extend_from_slice(self.bytes(length)?);
                }
                // A string may not reach into the next record.
                (self.at == end).then_some(Record::Txt(text))?
            }
        })
    }

    /// A name, whose rest may stand elsewhere, before it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut reader = *self;
        // Where the name goes on here, once it has jumped.
        let mut after = None;
        loop {
            let start = reader.at;
            let length = reader.bytes(1)?[0];
            match length {
                0 => break,
                1..=63 => {
                    if !name.is_empty() {
                        name.push('.');
                    }
                    for &byte in reader.bytes(length.into())? {
                        match byte {
                            b'.' | b'\\' => name.extend(['\\', byte.into()]),
                            0x21..=0x7e => name.push(byte.into()),
                            _ => name.push_str(&format!("\\{byte:03}")),
                        }
                    }
                }
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(reader.bytes(1)?[0]);
                    after.get_or_insert(reader.at);
                    // Only backwards, so it comes to an end.
                    if target >= start {
                        return None;
                    }
                    reader.at = target;
                }
                _ => return None,
            }
            if name.len() > 4 * 255 {
                return None;
            }
        }
        self.at = after.unwrap_or(reader.at);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with so many answers and authorities, and a question for `a.test`.
    fn message(answers: u8, authorities: u8) -> Vec<u8> {
        let mut message = vec![0, 1, 0x81, 0x80, 0, 1, 0, answers, 0, authorities, 0, 0];
        message.extend(b"\x01a\x04test\0\x00\x21\x00\x01");
        message
    }

    fn record(kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut record = vec![0xc0, 12, 0, kind, 0, 1];
        record.extend(ttl.to_be_bytes());
        record.extend([0, data.len() as u8]);
        record.extend(data);
        record
    }

    #[test]
    fn records_and_the_least_of_their_times() {
        let mut srv = message(3, 0);
        srv.extend(record(5, 30, b"\xc0\x0c"));
        srv.extend(record(33, 60, b"\0\x01\0\x02\x1f\x90\x04host\xc0\x0e"));
        srv.extend(record(33, 50, b"\0\x01\0\x02\x1f\x90\x03a.b\0"));
        let server = |target: &str| {
            let target = target.to_owned();
            Record::Srv(Srv { priority: 1, weight: 2, port: 8080, target })
        };
        let expected = (vec![server("host.test"), server("a\\.b")], Duration::from_secs(30));
        assert_eq!(records(&srv, Type::Srv), Some(expected));

        let mut txt = message(1, 0);
        txt.extend(record(16, 1 << 31, b"\x02ab\x00\x01c"));
        let expected = (vec![Record::Txt(b"abc".into())], Duration::ZERO);
        assert_eq!(records(&txt, Type::Txt), Some(expected));
    }

    #[test]
    fn messages_that_make_no_sense_are_no_messages() {
        let mut whole = message(1, 0);
        whole.extend(record(15, 60, b"\0\x0a\x04mail\xc0\x0e"));
        assert!(records(&whole, Type::Mx).is_some());
        for length in 0..whole.len() {
            assert_eq!(records(&whole[..length], Type::Mx), None, "{length} bytes of it");
        }
        // A name that points to itself, or further on; a string that is longer than its record.
        for name in [b"\0\x0a\xc0\x26".as_slice(), b"\0\x0a\xc0\x30"] {
            let mut message = message(1, 0);
            message.extend(record(15, 60, name));
            assert_eq!(records(&message, Type::Mx), None);
        }
        let mut long = message(2, 0);
        long.extend(record(16, 60, b"\x09ab"));
        long.extend(record(16, 60, b"\x02cd"));
        assert_eq!(records(&long, Type::Txt), None);
    }

    #[test]
    fn the_time_for_which_there_is_nothing() {
        let mut soa = b"\x02ns\xc0\x0e\x04root\xc0\x0e".to_vec();
        for number in [1_u32, 2, 3, 4, 17] {
            soa.extend(number.to_be_bytes());
        }
        let mut nothing = message(0, 1);
        nothing.extend(record(6, 60, &soa));
        assert_eq!(negative_ttl(&nothing), Some(Duration::from_secs(17)));
        assert_eq!(negative_ttl(&message(0, 0)), None);
    }
}
