//! The promises of the loop, of `GlibBackend` and of `GlibReactor`.

use std::rc::Rc;

use glib::{MainContext, MainLoop};
use ioloop::IOLoop;
use ioloop_conformance::{ReactorRig, Rig};
use ioloop_glib::{GlibBackend, GlibReactor};

ioloop_conformance::suite! {
    own {
        own_glib => {
            let backend = GlibBackend::new(&MainContext::new());
            Rig::own(move || IOLoop::builder().host(backend.clone()).build())
        },
    }
    attached {
        attached_to_glib => {
            let backend = GlibBackend::new(&MainContext::new());
            let host = backend.clone();
            Rig::attached(
                move || IOLoop::builder().host(host.clone()).attach(),
                move |future| backend.block_on(future),
            )
        },
    }
    embedded {}
}

mod foreign_reactor {
    use super::*;

    ioloop_conformance::reactor_suite! {
        glib_reactor => {
            let context = MainContext::new();
            let main_loop = MainLoop::new(Some(&context), false);
            let run = main_loop.clone();
            let reactor = GlibReactor::new(&context);
            let closed = reactor.clone();
            ReactorRig::new(
                Rc::new(reactor),
                move || run.run(),
                move || main_loop.quit(),
                move || closed.close(),
            )
        },
    }
}
