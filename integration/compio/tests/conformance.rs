//! The promises of the loop, on compio.

use compio_runtime::Runtime;
use ioloop::IOLoop;
use ioloop_conformance::Rig;
use ioloop_with_compio::CompioBackend;

ioloop_conformance::suite! {
    own {
        own_compio => Rig::own(|| IOLoop::builder().host(CompioBackend::own()?).build()),
    }
    attached {
        attached_to_compio => {
            let runtime = Runtime::new().unwrap();
            let host = runtime.clone();
            Rig::attached(
                move || IOLoop::builder().host(CompioBackend::attached(&host)).attach(),
                move |future| runtime.block_on(future),
            )
        },
    }
    embedded {}
}
