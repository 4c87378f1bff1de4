//! Requests and replies as lines.

use std::fmt;
use std::str::FromStr;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The value of a key.
    Get(String),
    /// Gives a key, which has no space, a value.
    Set(String, String),
    /// Forgets a key.
    Delete(String),
    /// The same text back.
    Echo(String),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The value.
    Data(String),
    /// There is no such key.
    Missing,
    /// It was not done, for this reason.
    Error(String),
}

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRequest {
    /// There is no such command.
    UnknownCommand,
    /// The command needs a key, which has no space.
    NoKey,
    /// The command needs a value, or text, behind another space; it may be empty.
    NoValue,
    /// It would be more than one line.
    SeveralLines,
}

impl Request {
    /// The line that says this.
    pub(crate) fn to_line(&self) -> Result<String, BadRequest> {
        let line = self.to_string();
        if line.contains('\n') {
            return Err(BadRequest::SeveralLines);
        }
        match line.parse::<Request>()? == *self {
            true => Ok(line),
            // It has a space somewhere.
            false => Err(BadRequest::NoKey),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Get(key) => write!(f, "GET {key}"),
            Request::Set(key, value) => write!(f, "SET {key} {value}"),
            Request::Delete(key) => write!(f, "DELETE {key}"),
            Request::Echo(text) => write!(f, "ECHO {text}"),
        }
    }
}

impl FromStr for Request {
    type Err = BadRequest;

    fn from_str(line: &str) -> Result<Self, BadRequest> {
        let (command, rest) = match line.split_once(' ') {
            Some((command, rest)) => (command, Some(rest)),
            None => (line, None),
        };
        let key = |text: Option<&str>| match text {
            Some(key) if !key.is_empty() && !key.contains(' ') => Ok(key.to_owned()),
            _ => Err(BadRequest::NoKey),
        };
        match command {
            "GET" => Ok(Request::Get(key(rest)?)),
            "DELETE" => Ok(Request::Delete(key(rest)?)),
            "SET" => match rest.and_then(|rest| rest.split_once(' ')) {
                Some((name, value)) => Ok(Request::Set(key(Some(name))?, value.to_owned())),
                None => Err(key(rest).err().unwrap_or(BadRequest::NoValue)),
            },
            "ECHO" => Ok(Request::Echo(rest.ok_or(BadRequest::NoValue)?.to_owned())),
            _ => Err(BadRequest::UnknownCommand),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Done => f.write_str("OK"),
            Reply::Data(value) => write!(f, "DATA {value}"),
            Reply::Missing => f.write_str("NONE"),
            Reply::Error(reason) => write!(f, "ERROR {reason}"),
        }
    }
}

impl Reply {
    /// None if the line is no reply.
    pub(crate) fn from_line(line: &str) -> Option<Reply> {
        match line.split_once(' ') {
            None if line == "OK" => Some(Reply::Done),
            None if line == "NONE" => Some(Reply::Missing),
            Some(("DATA", value)) => Some(Reply::Data(value.to_owned())),
            Some(("ERROR", reason)) => Some(Reply::Error(reason.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadRequest::UnknownCommand => {
                "there is no such command; there are GET, SET, DELETE, ECHO"
            }
            BadRequest::NoKey => "it needs a key, which has no space",
            BadRequest::NoValue => "it needs a value, behind a space",
            BadRequest::SeveralLines => "it would be more than one line",
        })
    }
}

impl std::error::Error for BadRequest {}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Request {
        Request::Set(key.to_owned(), value.to_owned())
    }

    #[test]
    fn requests_are_read_as_what_they_were_written() {
        let echo = |text: &str| Request::Echo(text.to_owned());
        let get = Request::Get("key".to_owned());
        let delete = Request::Delete("key".to_owned());
        for request in [get, delete, set("a", "b c"), set("a", ""), echo(""), echo(" GET x ")] {
            assert_eq!(request.to_line().unwrap().parse(), Ok(request));
        }
    }

    #[test]
    fn requests_that_would_be_read_as_others_are_refused() {
        let get = |key: &str| Request::Get(key.to_owned()).to_line().unwrap_err();
        assert_eq!(get(""), BadRequest::NoKey);
        assert_eq!(get("two words"), BadRequest::NoKey);
        assert_eq!(get("two\nlines"), BadRequest::SeveralLines);
        assert_eq!(set("two words", "value").to_line(), Err(BadRequest::NoKey));
        assert_eq!(set("", "value").to_line(), Err(BadRequest::NoKey));
    }

    #[test]
    fn lines_that_are_no_request_say_why() {
        let cases = [
            ("", BadRequest::UnknownCommand),
            ("get key", BadRequest::UnknownCommand),
            ("GETkey", BadRequest::UnknownCommand),
            ("GET", BadRequest::NoKey),
            ("GET ", BadRequest::NoKey),
            ("GET a b", BadRequest::NoKey),
            ("SET", BadRequest::NoKey),
            ("SET key", BadRequest::NoValue),
            ("SET  value", BadRequest::NoKey),
            ("ECHO", BadRequest::NoValue),
        ];
        for (line, reason) in cases {
            assert_eq!(line.parse::<Request>(), Err(reason), "{line:?}");
        }
    }

    #[test]
    fn replies_are_read_as_what_they_were_written() {
        let data = |text: &str| Reply::Data(text.to_owned());
        let error = Reply::Error("no such thing".to_owned());
        for reply in [Reply::Done, Reply::Missing, data("a b"), data(""), error] {
            assert_eq!(Reply::from_line(&reply.to_string()), Some(reply));
        }
        for line in ["", "DATA", "OK then", "none"] {
            assert_eq!(Reply::from_line(line), None, "{line:?}");
        }
    }
}
