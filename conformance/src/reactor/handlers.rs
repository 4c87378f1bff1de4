//! Handlers of any reactor that has them.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::super::tools::{Drops, Log};
use super::{ENOUGH, ReactorRig, pair};
use ioloop::{Events, Interest, Reactor};

/// Whether a reactor has handlers: one that has none says so, and keeps nothing.
fn has_handlers(rig: &ReactorRig) -> bool {
    let (drops, (ours, _theirs)) = (Drops::new(), pair());
    let item = drops.item();
    let added = rig.reactor().add_handler(ours, Interest::READ, move |_, _| _ = &item);
    match added {
        Ok(watch) => assert!(watch.remove()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
    }
    assert_eq!(drops.count(), 1);
    rig.reactor().add_handler(pair().0, Interest::empty(), |_, _| ()).is_ok()
}

pub(in super::super) fn a_handler_is_told_what_came_of_what_it_asks_for(rig: &ReactorRig) {
    if !has_handlers(rig) {
        return;
    }
    let log = Log::new();
    let (ours, mut theirs) = pair();
    let came = log.clone();
    let watch = rig.reactor().add_handler(ours, Interest::empty(), move |_, events| {
        came.push(events);
    });
    let watch = watch.unwrap();
    theirs.write_all(b"x").unwrap();
    rig.turns(ENOUGH);
    assert_eq!(log.len(), 0, "it begins paused");
    for (interest, events) in [
        (Interest::READ, Events::READ),
        (Interest::WRITE, Events::WRITE),
        (Interest::READ | Interest::WRITE, Events::READ | Events::WRITE),
    ] {
        assert!(watch.set_interest(interest).unwrap());
        rig.turns(ENOUGH);
        let came = log.take();
        assert!(!came.is_empty() && came.iter().all(|came| *came == events), "{came:?}");
    }
    assert!(watch.set_interest(Interest::empty()).unwrap());
    log.take();
    rig.turns(ENOUGH);
    assert_eq!(log.len(), 0, "it is paused");
    assert!(watch.remove());
    assert!(!watch.set_interest(Interest::READ).unwrap(), "it has ended");
}

pub(in super::super) fn a_handler_never_takes_the_place_of_another_watch(rig: &ReactorRig) {
    if !has_handlers(rig) {
        return;
    }
    let (ours, mut theirs) = pair();
    let (ours, reads) = (Rc::new(ours), Log::new());
    let (read, own) = (reads.clone(), Rc::new(RefCell::new(None)));
    let inside = Rc::clone(&own);
    let reader = rig.reactor().add_reader(Rc::clone(&ours), move |_| {
        read.push("read");
        inside.take();
    });
    own.replace(Some(reader.unwrap().remove_on_drop()));
    let add = || rig.reactor().add_handler(Rc::clone(&ours), Interest::WRITE, |_, _| ());
    assert_eq!(add().unwrap_err().kind(), ErrorKind::AlreadyExists);
    theirs.write_all(b"x").unwrap();
    rig.turns(ENOUGH);
    assert_eq!(reads.take(), ["read"], "the reader goes on, until it has removed itself");
    let handler = add().unwrap();
    assert_eq!(add().unwrap_err().kind(), ErrorKind::AlreadyExists);
    if let Some(number) = handler.descriptor() {
        assert_eq!(number, ours.as_raw_fd());
    }
    assert!(handler.remove());
    assert_eq!(handler.descriptor(), None);
    assert!(add().unwrap().remove());
}
