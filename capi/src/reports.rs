//! Reports and exceptions of a loop, as text.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::rc::Rc;

use ioloop::IOLoop;
use ioloop::observe::Report;

type Handler = Rc<dyn Fn(&CStr)>;

/// Who is told, once C has said who that is.
#[derive(Default)]
pub(crate) struct Reporter(Rc<RefCell<Option<Handler>>>);

impl Reporter {
    /// Has a loop report to this one.
    pub(crate) fn of(io_loop: &IOLoop) -> Reporter {
        let made = Reporter::default();
        let (told, failed) = (Rc::clone(&made.0), Rc::clone(&made.0));
        let name: Rc<str> = io_loop.name().into();
        let same = Rc::clone(&name);
        io_loop.set_report_handler(move |report| tell(&told, &name, words(report)));
        io_loop.set_exception_handler(move |panic| tell(&failed, &same, panic.to_string()));
        made
    }

    pub(crate) fn set(&self, report: impl Fn(&CStr) + 'static) {
        let before = self.0.replace(Some(Rc::new(report)));
        drop(before);
    }

    pub(crate) fn clear(&self) {
        let before = self.0.take();
        drop(before);
    }
}

fn tell(handler: &RefCell<Option<Handler>>, name: &str, words: String) {
    let handler = handler.borrow().clone();
    match handler {
        Some(handler) => handler(&CString::new(words).unwrap_or_default()),
        // A line that cannot be written is lost.
        None => drop(writeln!(io::stderr(), "ioloop: warning: loop {name}: {words}")),
    }
}

/// A report without the place in the code, which is that of this library.
fn words(report: &Report) -> String {
    let mut report = report.clone();
    match &mut report {
        Report::Slow { location, .. }
        | Report::Spinning { location, .. }
        | Report::NeverDriven { location, .. } => *location = None,
        _ => {}
    }
    report.to_string()
}
