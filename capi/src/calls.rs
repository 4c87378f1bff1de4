//! The callbacks and the pointers that C gives.
//!
//! What the safety arguments rest on is said in the header: pointers are good for what they are
//! given for, and callbacks return.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::NonNull;

use crate::status::{Refusal, Status};

/// The number of a loop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopNumber {
    pub(crate) number: u64,
}

/// The number of something on a loop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub(crate) number: u64,
}

// As C gives them: each may be NULL.
pub(crate) type Disposal = Option<unsafe extern "C" fn(data: *mut c_void)>;
pub(crate) type Callback = Option<unsafe extern "C" fn(LoopNumber, *mut c_void)>;
pub(crate) type Ready = Option<unsafe extern "C" fn(LoopNumber, c_int, c_uint, *mut c_void)>;
pub(crate) type Signalled = Option<unsafe extern "C" fn(LoopNumber, c_int, *mut c_void)>;
pub(crate) type Before = Option<unsafe extern "C" fn(LoopNumber, *mut c_void) -> c_int>;
pub(crate) type Reporter = Option<unsafe extern "C" fn(LoopNumber, *const c_char, *mut c_void)>;

/// A pointer that C gave, disposed of when this is dropped.
pub(crate) struct Data {
    pointer: *mut c_void,
    dispose: Disposal,
}

// SAFETY: the header says on which threads data is used: that of a post on the loop's, or where the
// post is refused.
unsafe impl Send for Data {}

impl Data {
    pub(crate) fn new(pointer: *mut c_void, dispose: Disposal) -> Data {
        Data { pointer, dispose }
    }

    /// With the function that it is for, and the loop that this is called on. A function that is NULL
    /// is refused, and the data disposed of.
    pub(crate) fn with<F>(
        self,
        function: Option<F>,
        name: &str,
        io_loop: LoopNumber,
    ) -> Result<Call<F>, Refusal> {
        let function = given(function, name)?;
        Ok(Call { function, io_loop, data: self })
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(dispose) = self.dispose {
            // SAFETY: the function came with the pointer, for this, and it is called once: here.
            unsafe { dispose(self.pointer) };
        }
    }
}

/// A callback of C's, and what it is called with.
pub(crate) struct Call<F> {
    function: F,
    io_loop: LoopNumber,
    data: Data,
}

impl Call<unsafe extern "C" fn(LoopNumber, *mut c_void)> {
    pub(crate) fn call(&self) {
        // SAFETY: the function came with the pointer, which is not disposed of yet.
        unsafe { (self.function)(self.io_loop, self.data.pointer) };
    }
}

impl Call<unsafe extern "C" fn(LoopNumber, c_int, c_uint, *mut c_void)> {
    pub(crate) fn call(&self, fd: c_int, events: c_uint) {
        // SAFETY: as above.
        unsafe { (self.function)(self.io_loop, fd, events, self.data.pointer) };
    }
}

impl Call<unsafe extern "C" fn(LoopNumber, c_int, *mut c_void)> {
    pub(crate) fn call(&self, signal: c_int) {
        // SAFETY: as above.
        unsafe { (self.function)(self.io_loop, signal, self.data.pointer) };
    }
}

impl Call<unsafe extern "C" fn(LoopNumber, *mut c_void) -> c_int> {
    pub(crate) fn call(&self) -> c_int {
        // SAFETY: as above.
        unsafe { (self.function)(self.io_loop, self.data.pointer) }
    }
}

impl Call<unsafe extern "C" fn(LoopNumber, *const c_char, *mut c_void)> {
    pub(crate) fn call(&self, text: &CStr) {
        // SAFETY: as above; the string outlives the call, which may use it no longer.
        unsafe { (self.function)(self.io_loop, text.as_ptr(), self.data.pointer) };
    }
}

/// A pointer that must not be NULL.
fn given<T>(pointer: Option<T>, name: &str) -> Result<T, Refusal> {
    pointer.ok_or_else(|| Refusal::new(Status::Invalid, format!("{name} is NULL")))
}

/// Where a result goes.
pub(crate) struct Place<T>(Option<NonNull<T>>);

impl<T> Place<T> {
    /// # Safety
    ///
    /// The pointer is NULL, or good for a write as long as this is there.
    pub(crate) unsafe fn new(pointer: *mut T) -> Place<T> {
        Place(NonNull::new(pointer))
    }

    /// Refused if it is NULL.
    pub(crate) fn required(self, name: &str) -> Result<Place<T>, Refusal> {
        given(self.0, name).map(|pointer| Place(Some(pointer)))
    }

    /// Writes the result, unless the pointer is NULL.
    pub(crate) fn put(self, value: T) {
        if let Some(pointer) = self.0 {
            // SAFETY: whoever made this has promised it.
            unsafe { pointer.write(value) };
        }
    }
}

/// A string of C's; none if it is NULL.
///
/// # Safety
///
/// The pointer is NULL, or that of a string.
pub(crate) unsafe fn string(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller's word.
    let string = (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) });
    string.map(|string| string.to_string_lossy().into_owned())
}
