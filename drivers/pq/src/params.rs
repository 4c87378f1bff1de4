//! The parameters of a statement, as libpq takes them.

use std::ffi::{c_char, c_int};
use std::ptr;

use crate::error::Error;

/// How a parameter was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// It is `NULL`, and nothing was written.
    Null,
    /// As the text that the server's type reads.
    Text,
    /// As the bytes of the server's binary format, such as those of a `bytea`.
    Binary,
}

/// A value that a statement takes as `$1`, `$2` and so on.
///
/// It is for integers, floating point numbers, `bool`, texts, bytes (`bytea`), and for an `Option`
/// of any of them, where `None` is `NULL`. What is passed as a text is read by the server as the
/// type that the statement wants there, so a text will do for dates, numbers and JSON too.
///
/// ```
/// use std::net::Ipv4Addr;
/// use ioloop_pq::{Format, ToParam};
///
/// struct Host(Ipv4Addr);
///
/// impl ToParam for Host {
///     fn write(&self, buffer: &mut Vec<u8>) -> Format {
///         self.0.to_string().write(buffer)
///     }
/// }
/// ```
pub trait ToParam {
    /// Appends the value to a buffer, and says in which format.
    fn write(&self, buffer: &mut Vec<u8>) -> Format;
}

impl<T: ToParam + ?Sized> ToParam for &T {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        (**self).write(buffer)
    }
}

impl<T: ToParam> ToParam for Option<T> {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        match self {
            Some(value) => value.write(buffer),
            None => Format::Null,
        }
    }
}

impl ToParam for str {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        buffer.extend_from_slice(self.as_bytes());
        Format::Text
    }
}

impl ToParam for String {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        self.as_str().write(buffer)
    }
}

impl ToParam for [u8] {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        buffer.extend_from_slice(self);
        Format::Binary
    }
}

impl ToParam for Vec<u8> {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        self.as_slice().write(buffer)
    }
}

macro_rules! as_displayed {
    ($($type:ty),*) => {$(
        impl ToParam for $type {
            fn write(&self, buffer: &mut Vec<u8>) -> Format {
                use std::io::Write;
                let _ = write!(buffer, "{self}"); // a `Vec` takes all
                Format::Text
            }
        }
    )*};
}

// The server reads `inf`, `-inf` and `NaN` too.
as_displayed!(bool, i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

/// Parameters that were written, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Params {
    buffer: Vec<u8>,
    each: Vec<(Format, usize, usize)>,
}

/// Parameters as libpq takes them: a pointer, a length and a format for each. Kept for the next
/// command, so none of them makes its own.
#[derive(Debug, Default)]
pub(crate) struct Arrays {
    pub(crate) values: Vec<*const c_char>,
    pub(crate) lengths: Vec<c_int>,
    pub(crate) formats: Vec<c_int>,
}

impl Params {
    pub(crate) fn new(values: &[&dyn ToParam]) -> Result<Params, Error> {
        if values.len() > usize::from(u16::MAX) {
            return Err(Error::Unexpected("a statement has at most 65,535 parameters"));
        }
        // Room for a number each; a text may need more.
        let buffer = Vec::with_capacity(24 * values.len());
        let mut params = Params { buffer, each: Vec::with_capacity(values.len()) };
        for value in values {
            let start = params.buffer.len();
            let format = value.write(&mut params.buffer);
            let written = &params.buffer[start..];
            if format == Format::Text && written.contains(&0) {
                return Err(Error::Unexpected("a parameter's text has a zero byte in it"));
            }
            params.each.push((format, start, written.len()));
            params.buffer.push(0);
        }
        Ok(params)
    }

    /// Whether the server takes them in one message, with a statement of so many bytes.
    ///
    /// Otherwise it ends the connection; and what is larger than libpq's buffer can be, no
    /// connection ever sends.
    pub(crate) fn check_size(&self, statement: usize) -> Result<(), Error> {
        // The server's `MaxAllocSize`, less the few bytes that a message has beside these.
        const LARGEST: usize = 0x3fff_ffff - 1024;
        // Of each, its length and its format.
        match statement + self.buffer.len() + 6 * self.each.len() <= LARGEST {
            true => Ok(()),
            false => Err(Error::Unexpected("the server takes no more than a gigabyte at once")),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.each.len()
    }

    /// Writes them into the arrays; the pointers are into this.
    pub(crate) fn fill(&self, arrays: &mut Arrays) {
        let Arrays { values, lengths, formats } = arrays;
        values.clear();
        lengths.clear();
        formats.clear();
        for &(format, start, length) in &self.each {
            values.push(match format {
                Format::Null => ptr::null(),
                Format::Text | Format::Binary => self.buffer[start..].as_ptr().cast(),
            });
            lengths.push(length as c_int);
            formats.push(c_int::from(format == Format::Binary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_larger_than_the_buffer_of_libpq_was_tried_on_one_connection_after_another() {
        let params = Params::new(&[&"a"]).unwrap();
        assert_eq!(params.check_size(1_000_000_000), Ok(()));
        assert!(matches!(params.check_size(1 << 30), Err(Error::Unexpected(_))));
    }
}
