//! Replies as the types of those who ask.

use std::any::type_name;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::error::Error;
use crate::reply::Reply;

/// A type that a reply can be had as.
///
/// | type | of which replies |
/// |---|---|
/// | [`Reply`], `()` | any |
/// | integers | an integer; digits |
/// | `f64` | a number; its digits |
/// | `bool` | a boolean; 0 and 1; the status `OK` |
/// | `String` | a value that is UTF-8; a status; a number |
/// | `Vec<u8>` | a value; a status |
/// | `Option<T>` | nothing is `None` |
/// | `Vec<T>`, sets, tuples | several replies; keys with their values as pairs |
/// | maps | keys with their values; an array in which they alternate, or of pairs |
/// | `Result<T, Error>` | any: so an error among several replies does not hide the others |
///
/// ```
/// use ioloop_hiredis::{Error, FromReply, Reply};
///
/// struct Celsius(f64);
///
/// impl FromReply for Celsius {
///     fn from_reply(reply: Reply) -> Result<Self, Error> {
///         reply.get().map(Celsius)
///     }
/// }
///
/// assert_eq!(Reply::Bytes(b"21.5".into()).get::<Celsius>()?.0, 21.5);
/// # Ok::<(), Error>(())
/// ```
pub trait FromReply: Sized {
    /// Makes it of a reply.
    ///
    /// # Errors
    ///
    /// [`Error::Conversion`], or what the reply itself says.
    fn from_reply(reply: Reply) -> Result<Self, Error>;
}

/// Why a reply is not of a type.
fn not<T>(reply: Reply) -> Error {
    match reply {
        Reply::Error(text) => Error::Server(text),
        reply => {
            let got = match reply {
                Reply::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                reply => format!("{reply:?}"),
            };
            Error::Conversion { wanted: type_name::<T>(), got: got.chars().take(60).collect() }
        }
    }
}

/// Text that is a number, or the reply back.
fn parse<T: std::str::FromStr>(reply: Reply) -> Result<T, Error> {
    let text = match &reply {
        Reply::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        Reply::Status(text) | Reply::BigNumber(text) => text,
        _ => "",
    };
    text.parse().map_err(|_| not::<T>(reply))
}

/// Several replies as one list.
fn list<T>(reply: Reply) -> Result<Vec<Reply>, Error> {
    match reply {
        Reply::Array(parts) | Reply::Set(parts) | Reply::Push(parts) => Ok(parts),
        Reply::Map(pairs) => {
            Ok(pairs.into_iter().map(|(key, value)| Reply::Array(vec![key, value])).collect())
        }
        reply => Err(not::<T>(reply)),
    }
}

/// Keys with their values.
fn pairs<T, K: FromReply, V: FromReply>(reply: Reply) -> Result<Vec<(K, V)>, Error> {
    match reply {
        Reply::Map(pairs) => {
            pairs.into_iter().map(|(key, value)| Ok((key.get()?, value.get()?))).collect()
        }
        Reply::Array(parts) if !matches!(parts.first(), Some(Reply::Array(_))) => {
            if parts.len() % 2 != 0 {
                return Err(not::<T>(Reply::Array(parts)));
            }
            let mut parts = parts.into_iter();
            let mut pairs = Vec::with_capacity(parts.len() / 2);
            while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                pairs.push((key.get()?, value.get()?));
            }
            Ok(pairs)
        }
        reply => reply.get(),
    }
}

impl FromReply for Reply {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        Ok(reply)
    }
}

impl FromReply for () {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        match reply {
            Reply::Error(text) => Err(Error::Server(text)),
            _ => Ok(()),
        }
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl FromReply for $type {
            fn from_reply(reply: Reply) -> Result<Self, Error> {
                match reply {
                    Reply::Integer(number) => {
                        number.try_into().map_err(|_| not::<Self>(Reply::Integer(number)))
                    }
                    reply => parse(reply),
                }
            }
        }
    )*};
}

// Not `u8`: a `Vec` of those is a value.
integers!(i16 u16 i32 u32 i64 u64 i128 u128 isize usize);

impl FromReply for f64 {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        match reply {
            Reply::Double(number) => Ok(number),
            Reply::Integer(number) => Ok(number as f64),
            reply => parse(reply),
        }
    }
}

impl FromReply for bool {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        match reply {
            Reply::Boolean(value) => Ok(value),
            Reply::Integer(0) => Ok(false),
            Reply::Integer(1) => Ok(true),
            Reply::Status(text) if text == "OK" => Ok(true),
            reply => Err(not::<Self>(reply)),
        }
    }
}

impl FromReply for String {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        match reply {
            Reply::Status(text) | Reply::BigNumber(text) => Ok(text),
            Reply::Bytes(bytes) => String::from_utf8(bytes)
                .map_err(|error| not::<Self>(Reply::Bytes(error.into_bytes()))),
            Reply::Integer(number) => Ok(number.to_string()),
            Reply::Double(number) => Ok(number.to_string()),
            reply => Err(not::<Self>(reply)),
        }
    }
}

impl FromReply for Vec<u8> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        match reply {
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Status(text) => Ok(text.into()),
            reply => Err(not::<Self>(reply)),
        }
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        match reply {
            Reply::Nil => Ok(None),
            reply => reply.get().map(Some),
        }
    }
}

impl<T: FromReply> FromReply for Result<T, Error> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        Ok(match reply {
            Reply::Error(text) => Err(Error::Server(text)),
            reply => reply.get(),
        })
    }
}

impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        list::<Self>(reply)?.into_iter().map(Reply::get).collect()
    }
}

impl<T: FromReply + Eq + Hash, S: BuildHasher + Default> FromReply for HashSet<T, S> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        list::<Self>(reply)?.into_iter().map(Reply::get).collect()
    }
}

impl<T: FromReply + Ord> FromReply for BTreeSet<T> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        list::<Self>(reply)?.into_iter().map(Reply::get).collect()
    }
}

impl<K, V, S> FromReply for HashMap<K, V, S>
where
    K: FromReply + Eq + Hash,
    V: FromReply,
    S: BuildHasher + Default,
{
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        Ok(pairs::<Self, K, V>(reply)?.into_iter().collect())
    }
}

impl<K: FromReply + Ord, V: FromReply> FromReply for BTreeMap<K, V> {
    fn from_reply(reply: Reply) -> Result<Self, Error> {
        Ok(pairs::<Self, K, V>(reply)?.into_iter().collect())
    }
}

macro_rules! tuples {
    ($($count:literal $($type:ident)*;)*) => {$(
        impl<$($type: FromReply),*> FromReply for ($($type,)*) {
            fn from_reply(reply: Reply) -> Result<Self, Error> {
                let parts = list::<Self>(reply)?;
                if parts.len() != $count {
                    return Err(not::<Self>(Reply::Array(parts)));
                }
                let mut parts = parts.into_iter();
                Ok(($(parts.next().unwrap_or(Reply::Nil).get::<$type>()?,)*))
            }
        }
    )*};
}

tuples! {
    1 A;
    2 A B;
    3 A B C;
    4 A B C D;
    5 A B C D E;
    6 A B C D E F;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.into())
    }

    #[test]
    fn maps_of_either_protocol() {
        let flat = Reply::Array(vec![bytes("a"), bytes("1"), bytes("b"), bytes("2")]);
        let pair = |key, value| Reply::Array(vec![bytes(key), bytes(value)]);
        let pairs = Reply::Array(vec![pair("a", "1"), pair("b", "2")]);
        let map = Reply::Map(vec![(bytes("a"), bytes("1")), (bytes("b"), bytes("2"))]);
        let expected = BTreeMap::from([("a".to_owned(), 1_i64), ("b".to_owned(), 2)]);
        for reply in [flat, pairs.clone(), map.clone()] {
            assert_eq!(reply.get::<BTreeMap<String, i64>>().unwrap(), expected);
        }
        for reply in [pairs, map] {
            let list = reply.get::<Vec<(String, i64)>>().unwrap();
            assert_eq!(list, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        }
        let odd = Reply::Array(vec![bytes("a"), bytes("1"), bytes("b")]);
        assert!(matches!(odd.get::<HashMap<String, i64>>(), Err(Error::Conversion { .. })));
        assert_eq!(Reply::Array(Vec::new()).get::<HashMap<String, i64>>().unwrap().len(), 0);
    }

    #[test]
    fn numbers_that_do_not_fit_are_errors() {
        assert_eq!(Reply::Integer(-1).get::<i64>(), Ok(-1));
        assert!(Reply::Integer(-1).get::<u64>().is_err());
        assert!(Reply::Integer(1 << 40).get::<i32>().is_err());
        assert_eq!(bytes("18446744073709551615").get::<u64>(), Ok(u64::MAX));
        assert!(bytes("12x").get::<i64>().is_err());
        assert!(Reply::Nil.get::<i64>().is_err());
        assert_eq!(Reply::Nil.get::<Option<i64>>(), Ok(None));
        assert_eq!(bytes("2.5").get::<f64>(), Ok(2.5));
    }

    #[test]
    fn an_error_among_replies_is_the_servers() {
        let replies = || Reply::Array(vec![Reply::Integer(1), Reply::Error("ERR no".into())]);
        let error = Error::Server("ERR no".into());
        assert_eq!(replies().get::<Vec<i64>>(), Err(error.clone()));
        assert_eq!(replies().get::<Vec<()>>(), Err(error.clone()));
        assert_eq!(replies().get::<Vec<Result<i64, Error>>>(), Ok(vec![Ok(1), Err(error)]));
        assert!(replies().get::<(i64, Reply)>().is_ok());
        assert!(replies().get::<(i64,)>().is_err(), "one is left over");
    }
}
