//! What a statement gave: tables, rows and the values in them.

use std::fmt;
use std::rc::Rc;

use crate::error::Error;
use crate::ffi::{RawResult, Status};

/// What a statement gave: rows of columns, or none.
///
/// A clone is another handle of the same. It stays on the loop's thread: what goes to another one are
/// the values, taken out of the rows.
#[derive(Clone)]
pub struct Table(Rc<RawResult>);

impl Table {
    pub(crate) fn new(result: RawResult) -> Table {
        Table(Rc::new(result))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many columns each row has.
    pub fn columns(&self) -> usize {
        self.0.columns()
    }

    /// The name of a column; none if there are fewer, or it is not in UTF-8.
    pub fn name(&self, column: usize) -> Option<&str> {
        self.0.name(column)?.to_str().ok()
    }

    /// The number (`oid`) of a column's type; 0 if there are fewer.
    pub fn type_of(&self, column: usize) -> u32 {
        self.0.kind(column)
    }

    /// The first column of a name, which is written as the server writes it.
    pub fn column(&self, name: &str) -> Option<usize> {
        (0..self.columns()).find(|column| self.name(*column) == Some(name))
    }

    /// A row; none if there are fewer.
    pub fn row(&self, index: usize) -> Option<Row> {
        (index < self.len()).then(|| Row { table: self.clone(), index })
    }

    /// The rows.
    pub fn iter(&self) -> impl Iterator<Item = Row> + use<'_> {
        (0..self.len()).map(|index| Row { table: self.clone(), index })
    }

    /// A value as the server's text, none if it is `NULL`.
    ///
    /// # Panics
    ///
    /// There is no such row or column.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        self.0.value(row, column)
    }

    /// How many rows the statement changed, copied or gave.
    pub fn affected(&self) -> u64 {
        self.0.affected()
    }

    pub(crate) fn status(&self) -> Status {
        self.0.status()
    }

    /// Whether the server says that it rolled back.
    pub(crate) fn is_rollback(&self) -> bool {
        self.0.tag() == "ROLLBACK"
    }

    /// What the server, or libpq, has against it.
    pub(crate) fn error(&self) -> Error {
        match self.0.error() {
            (state, message) if state.is_empty() => Error::Failed(message),
            (state, message) => Error::Server { state, message },
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("rows", &self.len())
            .field("columns", &self.columns())
            .finish_non_exhaustive()
    }
}

/// A row of a [`Table`], which it keeps.
#[derive(Clone, Debug)]
pub struct Row {
    table: Table,
    index: usize,
}

impl Row {
    /// A value, by the number of its column or its name.
    ///
    /// ```no_run
    /// # async fn example(client: ioloop_pq::Client) -> Result<(), ioloop_pq::Error> {
    /// let table = client.query("SELECT 42 AS answer, NULL AS nothing", &[]).await?;
    /// for row in table.iter() {
    ///     let answer: i64 = row.get("answer")?;
    ///     let nothing: Option<String> = row.get(1)?;
    ///     assert_eq!((answer, nothing), (42, None));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Value`]: there is no such column, or what is in it is not a `T`.
    pub fn get<T: FromValue>(&self, column: impl Column) -> Result<T, Error> {
        let Some(at) = column.index(&self.table) else {
            return Err(Error::Value(format!("there is no column {column}")));
        };
        let value = self.table.value(self.index, at);
        T::from_value(value).ok_or_else(|| {
            let found = value.map_or("NULL".into(), String::from_utf8_lossy);
            let wanted = std::any::type_name::<T>();
            Error::Value(format!("column {column} is {found:.100}, and not a {wanted}"))
        })
    }

    /// The server's text of a value, none if it is `NULL`.
    ///
    /// # Panics
    ///
    /// There is no such column.
    pub fn value(&self, column: usize) -> Option<&[u8]> {
        self.table.value(self.index, column)
    }

    /// The table that it is a row of; rows of a stream are of tables of one or a few.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// What a column is found by: its number, from 0 on, or its name.
pub trait Column: fmt::Display {
    /// Its number; none if there is no such column.
    fn index(&self, table: &Table) -> Option<usize>;
}

impl Column for usize {
    fn index(&self, table: &Table) -> Option<usize> {
        (*self < table.columns()).then_some(*self)
    }
}

impl Column for &str {
    fn index(&self, table: &Table) -> Option<usize> {
        table.column(self)
    }
}

/// A value that can be read from what the server sends, which is text.
///
/// It is for integers, floating point numbers, `bool`, `String`, `Vec<u8>` (of a `bytea`), and for
/// an `Option` of any of them, where `NULL` is `None`.
pub trait FromValue: Sized {
    /// Reads a value; none if it is none of this type.
    fn from_value(value: Option<&[u8]>) -> Option<Self>;
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Option<&[u8]>) -> Option<Self> {
        match value {
            None => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Option<&[u8]>) -> Option<Self> {
        String::from_utf8(value?.to_vec()).ok()
    }
}

impl FromValue for bool {
    fn from_value(value: Option<&[u8]>) -> Option<Self> {
        match value? {
            b"t" => Some(true),
            b"f" => Some(false),
            _ => None,
        }
    }
}

/// Of a `bytea` in the server's default format, two digits a byte.
impl FromValue for Vec<u8> {
    fn from_value(value: Option<&[u8]>) -> Option<Self> {
        let digits = value?.strip_prefix(br"\x")?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |pair: &[u8]| match *pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        };
        digits.chunks(2).map(byte).collect()
    }
}

macro_rules! parsed {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: Option<&[u8]>) -> Option<Self> {
                std::str::from_utf8(value?).ok()?.parse().ok()
            }
        }
    )*};
}

// Rust reads `Infinity` and `NaN` too.
parsed!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
