//! libpq's connections and results as safe types that never wait: all that is unsafe about it is in
//! this file.
#![expect(unsafe_code, reason = "libpq is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::slice;

use ioloop::reactor::Direction;

/// What comes next while a connection is made.
pub(crate) enum Polling {
    /// To poll once the socket is ready.
    Wait(Direction),
    Connected,
    Failed,
}

/// Whether the socket takes more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The rest waits in libpq, or what was given was not taken.
    Blocked,
    Failed,
}

/// What `COPY` gives.
pub(crate) enum Copied {
    Row(Vec<u8>),
    /// There is none yet.
    Blocked,
    /// What follows is a result.
    Done,
}

/// What a connection was told through `LISTEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The name given to `NOTIFY`.
    pub channel: String,
    /// The text given to it.
    pub payload: String,
}

/// A connection; dropped, it is closed.
pub(crate) struct Conn(NonNull<PGconn>);

impl Conn {
    /// Begins to connect; none without memory. Whether it failed at once is in `poll`.
    pub(crate) fn start(conninfo: &CStr) -> Option<Conn> {
        // SAFETY: it is a string, which libpq copies.
        let conn = Conn(NonNull::new(unsafe { PQconnectStart(conninfo.as_ptr()) })?);
        // SAFETY: the connection is alive, and the function ignores its argument.
        unsafe { PQsetNoticeProcessor(conn.0.as_ptr(), ignore, ptr::null_mut()) };
        Some(conn)
    }

    /// Goes on connecting.
    pub(crate) fn poll(&mut self) -> Polling {
        // SAFETY: the connection is alive, as in all of these.
        match unsafe { PQconnectPoll(self.0.as_ptr()) } {
            PGRES_POLLING_READING => Polling::Wait(Direction::Read),
            PGRES_POLLING_WRITING => Polling::Wait(Direction::Write),
            PGRES_POLLING_OK => Polling::Connected,
            _ => Polling::Failed,
        }
    }

    /// Has sending never wait.
    pub(crate) fn set_nonblocking(&mut self) -> bool {
        // SAFETY: as above.
        unsafe { PQsetnonblocking(self.0.as_ptr(), 1) == 0 }
    }

    /// The socket's number, which each call may change.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        // SAFETY: as above.
        let fd = unsafe { PQsocket(self.0.as_ptr()) };
        (fd >= 0).then_some(fd)
    }

    /// What went wrong last.
    pub(crate) fn error(&self) -> String {
        // SAFETY: as above. It is a string, which is copied before the next call.
        let text = unsafe { CStr::from_ptr(PQerrorMessage(self.0.as_ptr())) };
        text.to_string_lossy().into_owned()
    }

    /// Begins a statement, with parameters as text; in single-row mode, a result each row.
    pub(crate) fn send(
        &mut self,
        sql: &CStr,
        parameters: &[Option<CString>],
        single: bool,
    ) -> bool {
        let Ok(count) = c_int::try_from(parameters.len()) else { return false };
        let pointer = |value: &Option<CString>| value.as_ref().map_or(ptr::null(), |v| v.as_ptr());
        let values: Vec<_> = parameters.iter().map(pointer).collect();
        let (types, lengths, formats) = (ptr::null(), ptr::null(), ptr::null());
        let (conn, sql, values) = (self.0.as_ptr(), sql.as_ptr(), values.as_ptr());
        // SAFETY: as above. There are `count` strings, which libpq copies; without types, lengths
        // and formats each is a text of a type that the server finds out.
        unsafe {
            PQsendQueryParams(conn, sql, count, types, values, lengths, formats, 0) == 1
                && (!single || PQsetSingleRowMode(conn) == 1)
        }
    }

    /// Sends what libpq has kept.
    pub(crate) fn flush(&mut self) -> Sent {
        // SAFETY: as above. It does not wait, since the connection is non-blocking.
        match unsafe { PQflush(self.0.as_ptr()) } {
            0 => Sent::All,
            1 => Sent::Blocked,
            _ => Sent::Failed,
        }
    }

    /// Reads what has come; false if the connection is broken.
    pub(crate) fn consume_input(&mut self) -> bool {
        // SAFETY: as above.
        unsafe { PQconsumeInput(self.0.as_ptr()) == 1 }
    }

    /// The next result, or that there is none any more; none if it has not come yet.
    pub(crate) fn result(&mut self) -> Option<Option<Table>> {
        // SAFETY: as above. It does not wait, since the connection is not busy.
        unsafe {
            if PQisBusy(self.0.as_ptr()) == 1 {
                return None;
            }
            Some(NonNull::new(PQgetResult(self.0.as_ptr())).map(Table))
        }
    }

    /// Gives `COPY` some bytes.
    pub(crate) fn put_copy_data(&mut self, bytes: &[u8]) -> Sent {
        let Ok(length) = c_int::try_from(bytes.len()) else { return Sent::Failed };
        // SAFETY: as above. They are so many bytes, which libpq copies.
        sent(unsafe { PQputCopyData(self.0.as_ptr(), bytes.as_ptr().cast(), length) })
    }

    /// Ends `COPY`, as an error of the server's if there is a reason.
    pub(crate) fn put_copy_end(&mut self, reason: Option<&CStr>) -> Sent {
        let reason = reason.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: as above. It is a string or null.
        sent(unsafe { PQputCopyEnd(self.0.as_ptr(), reason) })
    }

    /// The next row of `COPY`.
    pub(crate) fn get_copy_data(&mut self) -> Copied {
        let mut buffer = ptr::null_mut();
        // SAFETY: as above. It does not wait, since it is told so.
        let length = unsafe { PQgetCopyData(self.0.as_ptr(), &mut buffer, 1) };
        match usize::try_from(length) {
            Ok(0) => Copied::Blocked,
            Ok(length) => {
                // SAFETY: libpq made a buffer of so many bytes, which is ours to free.
                let row = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), length) }.to_vec();
                // SAFETY: as above; it is not used any more.
                unsafe { PQfreemem(buffer.cast()) };
                Copied::Row(row)
            }
            // -1: it is done. -2: it failed, and the result says why.
            Err(_) => Copied::Done,
        }
    }

    /// The next notification that has come.
    pub(crate) fn notification(&mut self) -> Option<Notification> {
        // SAFETY: as above.
        let notify = NonNull::new(unsafe { PQnotifies(self.0.as_ptr()) })?;
        // SAFETY: it is ours until it is freed below, with the strings in it, which are not null.
        let text = |text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: as above.
        let (name, extra) = unsafe { (notify.as_ref().relname, notify.as_ref().extra) };
        let notification = Notification { channel: text(name), payload: text(extra) };
        // SAFETY: as above.
        unsafe { PQfreemem(notify.as_ptr().cast()) };
        Some(notification)
    }

    /// What it takes to cancel from elsewhere.
    pub(crate) fn cancel(&self) -> Option<Cancel> {
        // SAFETY: as above.
        NonNull::new(unsafe { PQgetCancel(self.0.as_ptr()) }).map(Cancel)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // SAFETY: nobody uses it afterwards.
        unsafe { PQfinish(self.0.as_ptr()) };
    }
}

fn sent(answer: c_int) -> Sent {
    match answer {
        1 => Sent::All,
        0 => Sent::Blocked,
        _ => Sent::Failed,
    }
}

/// Cancels what a connection does.
pub(crate) struct Cancel(NonNull<PGcancel>);

// SAFETY: it is a copy of the server's address and of a key, which no other thread knows of.
unsafe impl Send for Cancel {}

impl Cancel {
    /// Asks the server to cancel, and waits until it has heard; else why not.
    pub(crate) fn wait(&mut self) -> Result<(), String> {
        let mut reason = [0; 256];
        let (start, size) = (reason.as_mut_ptr(), reason.len() as c_int);
        // SAFETY: it is alive. libpq writes a string of at most that size.
        if unsafe { PQcancel(self.0.as_ptr(), start, size) } == 1 {
            return Ok(());
        }
        // SAFETY: as above.
        Err(unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned())
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        // SAFETY: nobody uses it afterwards.
        unsafe { PQfreeCancel(self.0.as_ptr()) };
    }
}

/// What a result is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done, with all rows that there are.
    Done,
    /// One row of several.
    Row,
    CopyIn,
    CopyOut,
    Failed,
}

/// What a statement gave: rows of columns, or none.
pub struct Table(NonNull<PGresult>);

impl Table {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        // SAFETY: the result is alive, as in all of these.
        unsafe { PQntuples(self.0.as_ptr()) }.try_into().unwrap_or_default()
    }

    /// How many columns each has.
    pub fn columns(&self) -> usize {
        // SAFETY: as above.
        unsafe { PQnfields(self.0.as_ptr()) }.try_into().unwrap_or_default()
    }

    /// A value as text, none if it is `NULL`.
    ///
    /// # Panics
    ///
    /// There is no such row or column.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        assert!(row < self.rows() && column < self.columns(), "row {row}, column {column}");
        let (result, row, column) = (self.0.as_ptr(), row as c_int, column as c_int);
        // SAFETY: as above. Row and column exist; the value has so many bytes, and lives as long as
        // the result.
        unsafe {
            if PQgetisnull(result, row, column) == 1 {
                return None;
            }
            let length = PQgetlength(result, row, column).try_into().unwrap_or_default();
            Some(slice::from_raw_parts(PQgetvalue(result, row, column).cast(), length))
        }
    }

    /// How many rows the statement changed, copied or gave.
    pub fn affected(&self) -> u64 {
        // SAFETY: as above. It is a string in the result.
        let count = unsafe { CStr::from_ptr(PQcmdTuples(self.0.as_ptr())) };
        count.to_str().ok().and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Status {
        // SAFETY: as above.
        match unsafe { PQresultStatus(self.0.as_ptr()) } {
            PGRES_EMPTY_QUERY | PGRES_COMMAND_OK | PGRES_TUPLES_OK => Status::Done,
            PGRES_SINGLE_TUPLE => Status::Row,
            PGRES_COPY_IN => Status::CopyIn,
            PGRES_COPY_OUT => Status::CopyOut,
            _ => Status::Failed,
        }
    }

    /// The state and the message of an error; no state if it is libpq's own.
    pub(crate) fn error(&self) -> (Option<String>, String) {
        let text = |text: *const c_char| {
            // SAFETY: as above. Where it is not null, it is a string in the result.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
            text.map(|text| text.to_string_lossy().into_owned())
        };
        // SAFETY: as above.
        let (state, message) = unsafe {
            let result = self.0.as_ptr();
            (PQresultErrorField(result, PG_DIAG_SQLSTATE), PQresultErrorMessage(result))
        };
        (text(state), text(message).unwrap_or_default())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: nobody uses it afterwards.
        unsafe { PQclear(self.0.as_ptr()) };
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("rows", &self.rows())
            .field("columns", &self.columns())
            .finish_non_exhaustive()
    }
}

/// libpq prints notices otherwise.
extern "C" fn ignore(_: *mut c_void, _: *const c_char) {}

const PGRES_POLLING_READING: c_uint = 1;
const PGRES_POLLING_WRITING: c_uint = 2;
const PGRES_POLLING_OK: c_uint = 3;

const PGRES_EMPTY_QUERY: c_uint = 0;
const PGRES_COMMAND_OK: c_uint = 1;
const PGRES_TUPLES_OK: c_uint = 2;
const PGRES_COPY_OUT: c_uint = 3;
const PGRES_COPY_IN: c_uint = 4;
const PGRES_SINGLE_TUPLE: c_uint = 9;

const PG_DIAG_SQLSTATE: c_int = b'C' as c_int;

/// Of unknown size, and not to be moved or sent.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        #[repr(C)]
        struct $name {
            opaque: [u8; 0],
            unsendable: PhantomData<(*mut u8, PhantomPinned)>,
        }
    )*};
}

opaque!(PGconn, PGresult, PGcancel);

/// The part of it that is public.
#[repr(C)]
struct PGnotify {
    relname: *const c_char,
    be_pid: c_int,
    extra: *const c_char,
}

type NoticeProcessor = extern "C" fn(*mut c_void, *const c_char);

// `libpq-fe.h`
#[link(name = "pq")]
unsafe extern "C" {
    fn PQconnectStart(conninfo: *const c_char) -> *mut PGconn;
    fn PQconnectPoll(conn: *mut PGconn) -> c_uint;
    fn PQfinish(conn: *mut PGconn);
    fn PQsetNoticeProcessor(
        conn: *mut PGconn,
        process: NoticeProcessor,
        arg: *mut c_void,
    ) -> Option<NoticeProcessor>;
    fn PQsetnonblocking(conn: *mut PGconn, nonblocking: c_int) -> c_int;
    fn PQsocket(conn: *const PGconn) -> c_int;
    fn PQerrorMessage(conn: *const PGconn) -> *const c_char;
    fn PQsendQueryParams(
        conn: *mut PGconn,
        command: *const c_char,
        count: c_int,
        types: *const c_uint,
        values: *const *const c_char,
        lengths: *const c_int,
        formats: *const c_int,
        result_format: c_int,
    ) -> c_int;
    fn PQsetSingleRowMode(conn: *mut PGconn) -> c_int;
    fn PQflush(conn: *mut PGconn) -> c_int;
    fn PQconsumeInput(conn: *mut PGconn) -> c_int;
    fn PQisBusy(conn: *mut PGconn) -> c_int;
    fn PQgetResult(conn: *mut PGconn) -> *mut PGresult;
    fn PQputCopyData(conn: *mut PGconn, buffer: *const c_char, length: c_int) -> c_int;
    fn PQputCopyEnd(conn: *mut PGconn, reason: *const c_char) -> c_int;
    fn PQgetCopyData(conn: *mut PGconn, buffer: *mut *mut c_char, nowait: c_int) -> c_int;
    fn PQnotifies(conn: *mut PGconn) -> *mut PGnotify;
    fn PQfreemem(pointer: *mut c_void);
    fn PQgetCancel(conn: *const PGconn) -> *mut PGcancel;
    fn PQcancel(cancel: *mut PGcancel, reason: *mut c_char, size: c_int) -> c_int;
    fn PQfreeCancel(cancel: *mut PGcancel);
    fn PQntuples(result: *const PGresult) -> c_int;
    fn PQnfields(result: *const PGresult) -> c_int;
    fn PQgetisnull(result: *const PGresult, row: c_int, column: c_int) -> c_int;
    fn PQgetlength(result: *const PGresult, row: c_int, column: c_int) -> c_int;
    fn PQgetvalue(result: *const PGresult, row: c_int, column: c_int) -> *const c_char;
    fn PQcmdTuples(result: *mut PGresult) -> *const c_char;
    fn PQresultStatus(result: *const PGresult) -> c_uint;
    fn PQresultErrorField(result: *const PGresult, field: c_int) -> *const c_char;
    fn PQresultErrorMessage(result: *const PGresult) -> *const c_char;
    fn PQclear(result: *mut PGresult);
}
