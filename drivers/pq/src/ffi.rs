//! libpq's connections and results as safe types that never wait: all that is unsafe about this
//! crate is in this file.
//!
//! The functions are those of `pq-sys`, but for two kinds. Those that return an enumeration are
//! declared here with an integer: a later libpq may return a number that `pq-sys` has no name for,
//! which would be undefined behaviour in an `enum`. Those of libpq 17 are looked up while the
//! program runs ([`Late`]), so it links and works with libpq 14 too.
#![expect(unsafe_code, reason = "libpq is a C library")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::RawFd;
use std::process;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::OnceLock;

use ioloop::Lent;
use ioloop::reactor::Direction;
use pq_sys::{
    PGcancel, PGcancelConn, PGconn, PGresult, PQcancel, PQclear, PQcmdStatus, PQcmdTuples,
    PQconnectStart, PQconsumeInput, PQenterPipelineMode, PQerrorMessage, PQexitPipelineMode,
    PQfinish, PQflush, PQfname, PQfreeCancel, PQfreemem, PQftype, PQgetCancel, PQgetCopyData,
    PQgetResult, PQgetisnull, PQgetlength, PQgetvalue, PQisBusy, PQnfields, PQnotifies, PQntuples,
    PQpipelineSync, PQputCopyData, PQputCopyEnd, PQresultErrorField, PQresultErrorMessage,
    PQsendPrepare, PQsendQuery, PQsendQueryParams, PQsendQueryPrepared, PQsetNoticeProcessor,
    PQsetSingleRowMode, PQsetnonblocking, PQsocket,
};

use crate::params::{Arrays, Params};

/// What comes next while a connection is made.
#[derive(Debug)]
pub(crate) enum Polling {
    /// To poll once the socket is ready.
    Wait(Direction),
    Done,
    Failed,
}

impl Polling {
    fn of(answer: c_uint) -> Polling {
        match answer {
            1 => Polling::Wait(Direction::Read),
            2 => Polling::Wait(Direction::Write),
            3 => Polling::Done,
            _ => Polling::Failed,
        }
    }
}

/// Whether the socket takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The rest waits in libpq, or what was given was not taken.
    Blocked,
    Failed,
}

impl Sent {
    fn of(answer: c_int) -> Sent {
        match answer {
            1 => Sent::All,
            0 => Sent::Blocked,
            _ => Sent::Failed,
        }
    }
}

/// What `COPY` gives.
#[derive(Debug)]
pub(crate) enum Copied {
    Row(Vec<u8>),
    /// There is none yet.
    Blocked,
    /// What follows is a result.
    Done,
}

/// What is sent to the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command<'a> {
    /// A statement with its parameters.
    Query(&'a CStr, &'a Params),
    /// Its name, and its text.
    Prepare(&'a CStr, &'a CStr),
    /// One that was prepared, by its name.
    Prepared(&'a CStr, &'a Params),
    /// Any number of statements without parameters.
    Script(&'a CStr),
}

/// What a connection was told through `LISTEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// The name given to `NOTIFY`.
    pub channel: String,
    /// The text given to it; empty if there was none.
    pub payload: String,
    /// The process at the server that sent it.
    pub process: i32,
}

/// A socket of libpq's, to be watched.
///
/// The callers keep the promise of [`Lent::new`]: libpq closes its socket only inside of a call, and
/// each call is followed by the removal of the watches if it did (`Link::call`), or comes after
/// their end (`opening`).
pub(crate) fn lend(fd: RawFd) -> Lent {
    // SAFETY: as above.
    unsafe { Lent::new(fd) }
}

/// A text of libpq's, copied; empty if there is none.
///
/// # Safety
///
/// It is null, or a string that lives for the length of this call.
unsafe fn copied(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller says that it is a string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A connection; dropped in the process that made it, it is closed.
#[derive(Debug)]
pub(crate) struct Conn {
    pointer: NonNull<PGconn>,
    process: u32,
    /// What the parameters of a command are handed over in.
    arrays: Arrays,
    /// The socket may be one that can be corked.
    corks: bool,
}

impl Conn {
    /// Begins to connect; none without memory. Whether it failed at once is in `poll`.
    pub(crate) fn start(conninfo: &CStr) -> Option<Conn> {
        // SAFETY: it is a string, which libpq copies.
        let pointer = NonNull::new(unsafe { PQconnectStart(conninfo.as_ptr()) })?;
        let corks = Late::get().send_pipeline_sync.is_none();
        let arrays = Arrays::default();
        let conn = Conn { pointer, process: process::id(), arrays, corks };
        // SAFETY: the connection is alive, and the function ignores its argument.
        unsafe { PQsetNoticeProcessor(conn.pointer.as_ptr(), Some(ignore), ptr::null_mut()) };
        Some(conn)
    }

    /// Goes on connecting.
    pub(crate) fn poll(&mut self) -> Polling {
        // SAFETY: the connection is alive, as in all of these.
        Polling::of(unsafe { PQconnectPoll(self.pointer.as_ptr()) })
    }

    /// Has sending never wait.
    pub(crate) fn set_nonblocking(&mut self) -> bool {
        // SAFETY: as above.
        unsafe { PQsetnonblocking(self.pointer.as_ptr(), 1) == 0 }
    }

    /// The socket's number, which each call may change.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        // SAFETY: as above.
        let fd = unsafe { PQsocket(self.pointer.as_ptr()) };
        (fd >= 0).then_some(fd)
    }

    /// What went wrong last.
    pub(crate) fn error(&self) -> String {
        // SAFETY: as above. It is a string, which is copied before the next call.
        unsafe { copied(PQerrorMessage(self.pointer.as_ptr())) }
    }

    /// Whether the server is in a transaction of this connection's, as far as is known.
    pub(crate) fn is_in_transaction(&self) -> bool {
        const IDLE: c_uint = 0;
        // SAFETY: as above.
        unsafe { PQtransactionStatus(self.pointer.as_ptr()) != IDLE }
    }

    /// Begins a command; false if it cannot be sent.
    pub(crate) fn send(&mut self, command: Command<'_>) -> bool {
        let Conn { pointer, arrays, .. } = self;
        let conn = pointer.as_ptr();
        let sent = match command {
            Command::Query(sql, params) => {
                let Ok(count) = c_int::try_from(params.len()) else { return false };
                params.fill(arrays);
                // SAFETY: as above. There are `count` of each, and libpq copies what they say. A
                // text ends with a zero byte, which is in the buffer that the values point into.
                unsafe {
                    PQsendQueryParams(
                        conn,
                        sql.as_ptr(),
                        count,
                        ptr::null(),
                        arrays.values.as_ptr().cast(),
                        arrays.lengths.as_ptr(),
                        arrays.formats.as_ptr(),
                        0,
                    )
                }
            }
            Command::Prepare(name, sql) => {
                // SAFETY: as above. They are strings, which libpq copies.
                unsafe { PQsendPrepare(conn, name.as_ptr(), sql.as_ptr(), 0, ptr::null()) }
            }
            Command::Prepared(name, params) => {
                let Ok(count) = c_int::try_from(params.len()) else { return false };
                params.fill(arrays);
                // SAFETY: as for `Query`.
                unsafe {
                    PQsendQueryPrepared(
                        conn,
                        name.as_ptr(),
                        count,
                        arrays.values.as_ptr().cast(),
                        arrays.lengths.as_ptr(),
                        arrays.formats.as_ptr(),
                        0,
                    )
                }
            }
            // SAFETY: as above. It is a string, which libpq copies.
            Command::Script(sql) => unsafe { PQsendQuery(conn, sql.as_ptr()) },
        };
        sent == 1
    }

    /// Has the rows of the command that was just sent come a few at a time: so many where libpq can,
    /// one otherwise.
    pub(crate) fn set_few_rows(&mut self, rows: c_int) -> bool {
        // SAFETY: as above.
        unsafe {
            match Late::get().set_chunked_rows {
                Some(set) => set(self.pointer.as_ptr(), rows) == 1,
                None => PQsetSingleRowMode(self.pointer.as_ptr()) == 1,
            }
        }
    }

    /// Begins or ends to send commands before the answers of others have come.
    pub(crate) fn set_pipelined(&mut self, pipelined: bool) -> bool {
        // SAFETY: as above.
        unsafe {
            match pipelined {
                true => PQenterPipelineMode(self.pointer.as_ptr()) == 1,
                false => PQexitPipelineMode(self.pointer.as_ptr()) == 1,
            }
        }
    }

    /// Ends a group of commands: what fails ends with it.
    pub(crate) fn sync(&mut self) -> bool {
        // SAFETY: as above.
        unsafe {
            match Late::get().send_pipeline_sync {
                // Does not send at once, so many groups go in one piece.
                Some(sync) => sync(self.pointer.as_ptr()) == 1,
                None => PQpipelineSync(self.pointer.as_ptr()) == 1,
            }
        }
    }

    /// Has the kernel keep what is sent, or send what it has kept: before version 17 libpq writes each
    /// group to the socket by itself, and each write would be a packet. Does nothing where that is
    /// not so, and where the socket is not TCP's.
    pub(crate) fn set_corked(&mut self, corked: bool) {
        let Some(fd) = self.socket().filter(|_| self.corks) else { return };
        self.corks = cork(fd, corked);
    }

    /// Sends what libpq has kept.
    pub(crate) fn flush(&mut self) -> Sent {
        // SAFETY: as above. It does not wait, since the connection is non-blocking.
        match unsafe { PQflush(self.pointer.as_ptr()) } {
            0 => Sent::All,
            1 => Sent::Blocked,
            _ => Sent::Failed,
        }
    }

    /// Reads what has come; false if the connection is broken.
    pub(crate) fn consume_input(&mut self) -> bool {
        // SAFETY: as above.
        unsafe { PQconsumeInput(self.pointer.as_ptr()) == 1 }
    }

    /// The next result, or that there is none any more; none if it has not come yet.
    pub(crate) fn result(&mut self) -> Option<Option<RawResult>> {
        // SAFETY: as above. It does not wait, since the connection is not busy, or has no socket to
        // wait for.
        unsafe {
            if PQisBusy(self.pointer.as_ptr()) == 1 && self.socket().is_some() {
                return None;
            }
            Some(NonNull::new(PQgetResult(self.pointer.as_ptr())).map(RawResult))
        }
    }

    /// Gives `COPY` some bytes.
    pub(crate) fn put_copy_data(&mut self, bytes: &[u8]) -> Sent {
        let Ok(length) = c_int::try_from(bytes.len()) else { return Sent::Failed };
        // SAFETY: as above. They are so many bytes, which libpq copies.
        Sent::of(unsafe { PQputCopyData(self.pointer.as_ptr(), bytes.as_ptr().cast(), length) })
    }

    /// Ends `COPY`, as an error of the server's if there is a reason.
    pub(crate) fn put_copy_end(&mut self, reason: Option<&CStr>) -> Sent {
        let reason = reason.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: as above. It is a string or null.
        Sent::of(unsafe { PQputCopyEnd(self.pointer.as_ptr(), reason) })
    }

    /// The next row of `COPY`.
    pub(crate) fn get_copy_data(&mut self) -> Copied {
        let mut buffer = ptr::null_mut();
        // SAFETY: as above. It does not wait, since it is told so.
        let length = unsafe { PQgetCopyData(self.pointer.as_ptr(), &mut buffer, 1) };
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
        let notify = NonNull::new(unsafe { PQnotifies(self.pointer.as_ptr()) })?;
        // SAFETY: it is ours until it is freed below, with the strings in it.
        let notification = unsafe {
            let &pq_sys::PGnotify { relname, be_pid, extra, .. } = notify.as_ref();
            Notification { channel: copied(relname), payload: copied(extra), process: be_pid }
        };
        // SAFETY: as above.
        unsafe { PQfreemem(notify.as_ptr().cast()) };
        Some(notification)
    }

    /// What it takes to cancel from elsewhere.
    pub(crate) fn cancel(&self) -> Option<Cancel> {
        let conn = self.pointer.as_ptr();
        if let Some(late) = Late::get().cancel {
            // SAFETY: as above.
            let cancel = NonNull::new(unsafe { (late.create)(conn) })?;
            return Some(Cancel::Polled(PolledCancel(cancel, late)));
        }
        // SAFETY: as above.
        NonNull::new(unsafe { PQgetCancel(conn) }).map(|it| Cancel::Blocking(BlockingCancel(it)))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // In a forked child libpq would say goodbye to the server, and so end the parent's session.
        // What libpq holds stays in the child.
        if self.process != process::id() {
            return;
        }
        // SAFETY: nobody uses it afterwards.
        unsafe { PQfinish(self.pointer.as_ptr()) };
    }
}

/// Cancels what a connection does.
#[derive(Debug)]
pub(crate) enum Cancel {
    /// From libpq 17 on.
    Polled(PolledCancel),
    Blocking(BlockingCancel),
}

/// Cancels by a connection that is made as others are.
#[derive(Debug)]
pub(crate) struct PolledCancel(NonNull<PGcancelConn>, LateCancel);

impl PolledCancel {
    pub(crate) fn start(&mut self) -> bool {
        // SAFETY: it is alive, as in all of these.
        unsafe { (self.1.start)(self.0.as_ptr()) == 1 }
    }

    pub(crate) fn poll(&mut self) -> Polling {
        // SAFETY: as above.
        Polling::of(unsafe { (self.1.poll)(self.0.as_ptr()) })
    }

    pub(crate) fn socket(&self) -> Option<RawFd> {
        // SAFETY: as above.
        let fd = unsafe { (self.1.socket)(self.0.as_ptr()) };
        (fd >= 0).then_some(fd)
    }

    pub(crate) fn error(&self) -> String {
        // SAFETY: as above. It is a string, which is copied before the next call.
        unsafe { copied((self.1.error)(self.0.as_ptr())) }
    }
}

impl Drop for PolledCancel {
    fn drop(&mut self) {
        // SAFETY: nobody uses it afterwards.
        unsafe { (self.1.finish)(self.0.as_ptr()) };
    }
}

/// Cancels by a call that waits.
#[derive(Debug)]
pub(crate) struct BlockingCancel(NonNull<PGcancel>);

// SAFETY: it is a copy of the server's address and of a key, which no other thread knows of.
unsafe impl Send for BlockingCancel {}

impl BlockingCancel {
    /// Asks the server to cancel, and waits until it has heard; else why not.
    pub(crate) fn wait(&mut self) -> Result<(), String> {
        let mut reason = [0; 256];
        let (start, size) = (reason.as_mut_ptr(), reason.len() as c_int);
        // SAFETY: it is alive. libpq writes a string of at most that size.
        if unsafe { PQcancel(self.0.as_ptr(), start, size) } == 1 {
            return Ok(());
        }
        // SAFETY: as above.
        Err(unsafe { copied(start) })
    }
}

impl Drop for BlockingCancel {
    fn drop(&mut self) {
        // SAFETY: nobody uses it afterwards.
        unsafe { PQfreeCancel(self.0.as_ptr()) };
    }
}

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done, with all rows that there are.
    Done,
    /// Some rows of more.
    Rows,
    CopyIn,
    CopyOut,
    /// It replicates.
    CopyBoth,
    /// All commands of a group of a pipeline are done.
    Sync,
    /// Not done, since an earlier one of its group failed.
    Skipped,
    Failed,
}

/// What a command gave: rows of columns, or none.
#[derive(Debug)]
pub(crate) struct RawResult(NonNull<PGresult>);

impl RawResult {
    pub(crate) fn rows(&self) -> usize {
        // SAFETY: the result is alive, as in all of these.
        unsafe { PQntuples(self.0.as_ptr()) }.try_into().unwrap_or_default()
    }

    pub(crate) fn columns(&self) -> usize {
        // SAFETY: as above.
        unsafe { PQnfields(self.0.as_ptr()) }.try_into().unwrap_or_default()
    }

    /// The name of a column; none if there is no such column.
    pub(crate) fn name(&self, column: usize) -> Option<&CStr> {
        // SAFETY: as above. It is null, or a string that lives as long as the result.
        unsafe {
            let name = PQfname(self.0.as_ptr(), column.try_into().ok()?);
            (!name.is_null()).then(|| CStr::from_ptr(name))
        }
    }

    /// The number of the type of a column; 0 if there is no such column.
    pub(crate) fn kind(&self, column: usize) -> u32 {
        let Ok(column) = column.try_into() else { return 0 };
        // SAFETY: as above.
        unsafe { PQftype(self.0.as_ptr(), column) }
    }

    /// A value as text, none if it is `NULL`.
    pub(crate) fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
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

    /// How many rows the command changed, copied or gave.
    pub(crate) fn affected(&self) -> u64 {
        // SAFETY: as above. It is a string in the result.
        let count = unsafe { copied(PQcmdTuples(self.0.as_ptr())) };
        count.parse().unwrap_or_default()
    }

    /// The server's name for what was done.
    pub(crate) fn tag(&self) -> String {
        // SAFETY: as above. It is a string in the result.
        unsafe { copied(PQcmdStatus(self.0.as_ptr())) }
    }

    pub(crate) fn status(&self) -> Status {
        // SAFETY: as above. The numbers are those of `ExecStatusType` in `libpq-fe.h`.
        match unsafe { PQresultStatus(self.0.as_ptr()) } {
            0..=2 => Status::Done,
            3 => Status::CopyOut,
            4 => Status::CopyIn,
            8 => Status::CopyBoth,
            9 | 12 => Status::Rows,
            10 => Status::Sync,
            11 => Status::Skipped,
            _ => Status::Failed,
        }
    }

    /// The state and the message of an error; no state if it is libpq's own.
    pub(crate) fn error(&self) -> (String, String) {
        let result = self.0.as_ptr();
        // SAFETY: as above. Where they are not null, they are strings in the result.
        unsafe {
            let state = PQresultErrorField(result, pq_sys::PG_DIAG_SQLSTATE.into());
            (copied(state), copied(PQresultErrorMessage(result)))
        }
    }
}

impl Drop for RawResult {
    fn drop(&mut self) {
        // SAFETY: nobody uses it afterwards.
        unsafe { PQclear(self.0.as_ptr()) };
    }
}

/// Whether the kernel keeps what is sent to the socket, or sends it, as told.
#[cfg(target_os = "linux")]
fn cork(fd: RawFd, corked: bool) -> bool {
    let corked = c_int::from(corked);
    let (value, size) = (ptr::from_ref(&corked).cast(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the option is a number of this size.
    unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CORK, value, size) == 0 }
}

/// Elsewhere there is no such option, or to end it does not send.
#[cfg(not(target_os = "linux"))]
fn cork(_: RawFd, _: bool) -> bool {
    false
}

/// libpq prints notices otherwise.
unsafe extern "C" fn ignore(_: *mut c_void, _: *const c_char) {}

// As in `libpq-fe.h`, whose enumerations are numbers here.
unsafe extern "C" {
    fn PQconnectPoll(conn: *mut PGconn) -> c_uint;
    fn PQresultStatus(result: *const PGresult) -> c_uint;
    fn PQtransactionStatus(conn: *const PGconn) -> c_uint;
}

type OfConn = unsafe extern "C" fn(*mut PGconn) -> c_int;
type OfCancel<T> = unsafe extern "C" fn(*mut PGcancelConn) -> T;

/// What libpq has from version 17 on, where it has it.
struct Late {
    set_chunked_rows: Option<unsafe extern "C" fn(*mut PGconn, c_int) -> c_int>,
    send_pipeline_sync: Option<OfConn>,
    cancel: Option<LateCancel>,
}

#[derive(Clone, Copy, Debug)]
struct LateCancel {
    create: unsafe extern "C" fn(*mut PGconn) -> *mut PGcancelConn,
    start: OfCancel<c_int>,
    poll: OfCancel<c_uint>,
    socket: OfCancel<c_int>,
    error: OfCancel<*const c_char>,
    finish: OfCancel<()>,
}

/// A function that libpq has from version 17 on. A libpq that is built in is linked statically, and
/// `dlsym` finds nothing in it: its functions are named.
macro_rules! late {
    ($name:ident) => {{
        #[cfg(feature = "bundled")]
        let found = pq_sys::$name as *mut c_void;
        #[cfg(not(feature = "bundled"))]
        let found =
            libc::dlsym(libc::RTLD_DEFAULT, concat!(stringify!($name), "\0").as_ptr().cast());
        function(found)
    }};
}

impl Late {
    fn get() -> &'static Late {
        static LATE: OnceLock<Late> = OnceLock::new();
        // SAFETY: the functions have these types in `libpq-fe.h`.
        LATE.get_or_init(|| unsafe {
            Late {
                set_chunked_rows: late!(PQsetChunkedRowsMode),
                send_pipeline_sync: late!(PQsendPipelineSync),
                cancel: Late::cancel(),
            }
        })
    }

    /// # Safety
    ///
    /// As for [`function`].
    unsafe fn cancel() -> Option<LateCancel> {
        // SAFETY: as the caller says.
        unsafe {
            Some(LateCancel {
                create: late!(PQcancelCreate)?,
                start: late!(PQcancelStart)?,
                poll: late!(PQcancelPoll)?,
                socket: late!(PQcancelSocket)?,
                error: late!(PQcancelErrorMessage)?,
                finish: late!(PQcancelFinish)?,
            })
        }
    }
}

/// What was found, as a function; none if it is null.
///
/// # Safety
///
/// `F` is a pointer to a function of that function's type.
unsafe fn function<F: Copy>(found: *mut c_void) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: it is not null; the sizes are equal, and the caller says that the type is right.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
}
