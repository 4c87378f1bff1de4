//! What a server says before the body, and how long it took.

use std::fmt;
use std::time::Duration;

/// The version of HTTP that a server answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// How long the steps of a request took, each since the request began.
///
/// libcurl measures them; a step that was not taken is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Until the name was resolved.
    pub name_lookup: Duration,
    /// Until the connection was made; zero for one that is used again.
    pub connect: Duration,
    /// Until TLS was agreed on.
    pub tls: Duration,
    /// Until the request was about to be sent.
    pub pre_transfer: Duration,
    /// Until the first byte of the response arrived.
    pub first_byte: Duration,
    /// What was spent on redirects before the last request.
    pub redirect: Duration,
    /// Until now, or until the end of the body.
    pub total: Duration,
}

/// What a server says before the body: status and headers.
#[derive(Clone, Debug)]
pub struct Head {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) effective_url: String,
    pub(crate) timings: Timings,
}

impl Head {
    /// The status, such as 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is one of 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The version of HTTP that the server answered in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first header of that name, in whatever case; `None` where there is none, or where it is
    /// not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// All headers of the last response, in its order: names as they were sent, and bytes.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Where the response came from, after redirects.
    pub fn effective_url(&self) -> &str {
        &self.effective_url
    }

    /// How long it took until here: until the headers, or, for what
    /// [`send`](crate::Request::send) hands over, until the end of the body.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

/// A response whose headers are arriving.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    status: Option<(u16, Version)>,
    headers: Vec<(String, Vec<u8>)>,
}

/// What a line of it says about the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// More of them follow.
    More,
    /// That was the last one.
    End,
    /// That was the last one, but libcurl may send another request because of it, and then another
    /// response follows.
    Provisional,
}

impl Arriving {
    /// Takes the next line, as libcurl hands it out.
    pub(crate) fn line(&mut self, line: &[u8], follows: bool) -> Line {
        if let Some(rest) = line.strip_prefix(b"HTTP/") {
            // Of whatever came before, such as a redirect, this is the successor.
            *self = Arriving { status: status(rest), headers: Vec::new() };
            return Line::More;
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            self.header(line, text);
            return Line::More;
        }
        let status = self.status.map_or(0, |(status, _)| status);
        let leads_on = follows && self.headers.iter().any(|(name, _)| is_location(name));
        match status {
            // Continue, early hints: the response is yet to come.
            0 | 100 | 102..=199 => {
                *self = Arriving::default();
                Line::More
            }
            300..=399 if leads_on => Line::Provisional,
            // libcurl asks again where it was given credentials.
            401 | 407 => Line::Provisional,
            _ => Line::End,
        }
    }

    fn header(&mut self, line: &[u8], text: &[u8]) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // An old server may go on with a value on the next line.
            if let Some((_, value)) = self.headers.last_mut() {
                value.push(b' ');
                value.extend_from_slice(text);
            }
            return;
        }
        let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let name = String::from_utf8_lossy(&text[..colon]).into_owned();
        let value = text.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec();
        self.headers.push((name, value));
    }

    /// What has arrived, if there is a status.
    pub(crate) fn take(&mut self) -> Option<Head> {
        let (status, version) = self.status.take()?;
        Some(Head {
            status,
            version,
            headers: std::mem::take(&mut self.headers),
            effective_url: String::new(),
            timings: Timings::default(),
        })
    }
}

fn is_location(name: &str) -> bool {
    name.eq_ignore_ascii_case("location")
}

/// Reads `1.1 200 OK`.
fn status(line: &[u8]) -> Option<(u16, Version)> {
    let mut words = line.split(|byte| byte.is_ascii_whitespace());
    let version = match words.next()? {
        b"1.0" => Version::Http10,
        b"2" | b"2.0" => Version::Http2,
        b"3" | b"3.0" => Version::Http3,
        _ => Version::Http11,
    };
    let status = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    Some((status, version))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
            Version::Http3 => "HTTP/3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Arriving, Line, Version};

    fn lines(text: &str, follows: bool) -> (Vec<Line>, Arriving) {
        let mut arriving = Arriving::default();
        let ends = text.split_inclusive('\n').map(|line| arriving.line(line.as_bytes(), follows));
        (ends.filter(|line| *line != Line::More).collect(), arriving)
    }

    #[test]
    fn a_response_before_the_response_is_passed_over() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                    HTTP/2 204 \r\nA: b\r\n\r\n";
        let (ends, mut arriving) = lines(text, true);
        assert_eq!(ends, [Line::End]);
        let head = arriving.take().unwrap();
        assert_eq!((head.status, head.version), (204, Version::Http2));
        assert_eq!(head.headers, [("A".to_owned(), b"b".to_vec())]);
    }

    #[test]
    fn a_redirect_is_the_response_only_where_it_is_not_followed() {
        let text = "HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n";
        assert_eq!(lines(text, true).0, [Line::Provisional]);
        assert_eq!(lines(text, false).0, [Line::End]);
        // One without a place to go to.
        assert_eq!(lines("HTTP/1.1 304 Not Modified\r\n\r\n", true).0, [Line::End]);
    }

    #[test]
    fn a_value_on_two_lines_is_one() {
        let (_, arriving) = lines("HTTP/1.0 200 OK\r\nA: b\r\n\tc\r\nempty:\r\n\r\n", true);
        let expected = [("A".to_owned(), b"b c".to_vec()), ("empty".to_owned(), Vec::new())];
        assert_eq!(arriving.headers, expected);
    }
}
