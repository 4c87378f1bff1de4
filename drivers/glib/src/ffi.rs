//! A source of GLib's that is called before each poll and after it, which glib's safe types do not
//! have. All that is unsafe is here.
#![expect(unsafe_code, reason = "a source of one's own is a table of C functions")]

use std::cell::RefCell;
use std::ffi::c_int;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use glib::ffi::{
    G_SOURCE_CONTINUE, GFALSE, GSource, GSourceFunc, GSourceFuncs, g_source_new,
    g_source_set_priority, gboolean, gpointer,
};
use glib::translate::from_glib_full;
use glib::{MainContext, Source};

/// Who is called. Neither may panic: GLib is above them on the stack.
pub(crate) trait AroundPoll {
    /// Called before each poll; true if that is not to wait.
    fn before(&self) -> bool;

    /// Called after each poll, before anything is dispatched.
    fn after(&self);
}

/// Has a context call back around each of its polls, until it is dropped.
///
/// Where another thread iterates the context, nothing is called.
pub(crate) struct PollSource {
    source: Source,
    bound: Arc<Bound>,
    /// Not `Send`: it is dropped on the thread that made it.
    _local: PhantomData<Rc<()>>,
}

/// What GLib has until it frees the source, on whatever thread.
struct Bound {
    thread: ThreadId,
    /// Only used on that thread, and empty once the [`PollSource`] was dropped.
    around: RefCell<Option<Weak<dyn AroundPoll>>>,
}

/// GLib's source, and behind it a reference of an `Arc`.
#[repr(C)]
struct Raw {
    source: GSource,
    bound: *const Bound,
}

static FUNCTIONS: GSourceFuncs = GSourceFuncs {
    prepare: Some(prepare),
    check: Some(check),
    dispatch: Some(dispatch),
    finalize: Some(finalize),
    closure_callback: None,
    closure_marshal: None,
};

impl PollSource {
    pub(crate) fn new(context: &MainContext, around: Weak<dyn AroundPoll>) -> Self {
        let bound = Bound { thread: thread::current().id(), around: RefCell::new(Some(around)) };
        // It crosses threads by GLib alone, which what `Bound` says makes sound.
        #[expect(clippy::arc_with_non_send_sync, reason = "its count does, its contents do not")]
        let bound = Arc::new(bound);
        // SAFETY: the functions are static, and GLib never writes to them. What it allocates has
        // room for a `Raw`, the source in front; the reference behind it is set before the source
        // is attached, and given back in `finalize`. The source is given to `Source` as a whole.
        let source: Source = unsafe {
            let size = mem::size_of::<Raw>() as u32;
            let raw = g_source_new((&raw const FUNCTIONS).cast_mut(), size);
            (*raw.cast::<Raw>()).bound = Arc::into_raw(Arc::clone(&bound));
            // Before all others: it is never dispatched, so it holds up none of them.
            g_source_set_priority(raw, c_int::MIN);
            from_glib_full(raw)
        };
        source.attach(Some(context));
        PollSource { source, bound, _local: PhantomData }
    }
}

impl Drop for PollSource {
    fn drop(&mut self) {
        self.source.destroy();
        self.bound.around.take();
    }
}

impl fmt::Debug for PollSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollSource").finish_non_exhaustive()
    }
}

/// Who is to be called, on its own thread.
///
/// # Safety
///
/// It is a source of [`PollSource::new`]'s, which GLib has not freed.
unsafe fn around(source: *mut GSource) -> Option<Rc<dyn AroundPoll>> {
    // SAFETY: the source has a reference of its own, until it is freed.
    let bound = unsafe { &*(*source.cast::<Raw>()).bound };
    // On another thread nothing more is looked at.
    if bound.thread != thread::current().id() {
        return None;
    }
    bound.around.borrow().as_ref().and_then(Weak::upgrade)
}

unsafe extern "C" fn prepare(source: *mut GSource, timeout: *mut c_int) -> gboolean {
    // SAFETY: GLib calls this with a source of these functions, which it holds meanwhile.
    let stays = unsafe { around(source) }.is_some_and(|around| around.before());
    // SAFETY: GLib passes a place for it.
    unsafe { *timeout = if stays { 0 } else { -1 } };
    // Were it ready, `check` would not be called.
    GFALSE
}

unsafe extern "C" fn check(source: *mut GSource) -> gboolean {
    // SAFETY: as above.
    if let Some(around) = unsafe { around(source) } {
        around.after();
    }
    GFALSE
}

/// Never called: the source is never ready. GLib refuses one without it.
unsafe extern "C" fn dispatch(_: *mut GSource, _: GSourceFunc, _: gpointer) -> gboolean {
    G_SOURCE_CONTINUE
}

unsafe extern "C" fn finalize(source: *mut GSource) {
    // SAFETY: it is called once, with the reference that `new` gave. What this may drop, on another
    // thread, is a cell that was emptied: a `PollSource` holds both the source and its `Arc`, and
    // empties the cell before it drops them.
    drop(unsafe { Arc::from_raw((*source.cast::<Raw>()).bound) });
}
