#![doc = include_str!("../README.md")]

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::{EventLoop, EventSource, Interest, Mode, Poll, PostAction, Readiness};
use calloop::{Token, TokenFactory};
use ioloop::backends::Descriptor;
use ioloop::embed::Turn;
use ioloop::{IOLoop, Reactor, RunError, Watch, WeakIOLoop};

/// A loop as a source: calloop watches its descriptor, and has it run a turn when that is readable.
///
/// The source's callback is told of each turn, and what of it calloop should do. It keeps the
/// descriptor, but not the loop: one that is closed is removed.
///
/// A turn that fails otherwise is the error of calloop's `dispatch`. One that a callback of the loop
/// panics in does not: the loop reports it, and goes on.
#[derive(Debug)]
pub struct IOLoopSource {
    io_loop: WeakIOLoop,
    descriptor: Generic<Descriptor>,
}

impl IOLoopSource {
    /// A source for a loop that is nobody else's to drive.
    ///
    /// # Errors
    ///
    /// The loop is closed.
    pub fn new(io_loop: &IOLoop) -> io::Result<IOLoopSource> {
        let descriptor = watched(io_loop.descriptor()?);
        Ok(IOLoopSource { io_loop: io_loop.downgrade(), descriptor })
    }
}

fn watched(descriptor: Descriptor) -> Generic<Descriptor> {
    Generic::new(descriptor, Interest::READ, Mode::Level)
}

impl EventSource for IOLoopSource {
    type Event = Turn;
    type Metadata = ();
    type Ret = PostAction;
    type Error = io::Error;

    fn process_events<C>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: C,
    ) -> io::Result<PostAction>
    where
        C: FnMut(Turn, &mut ()) -> PostAction,
    {
        let io_loop = &self.io_loop;
        self.descriptor.process_events(readiness, token, |_, _| {
            let turned = match io_loop.upgrade() {
                Some(io_loop) => io_loop.turn(Some(Duration::ZERO)),
                None => Err(RunError::Closed),
            };
            match turned {
                Ok(turn) => Ok(match callback(turn, &mut ()) {
                    // The loop has another descriptor now.
                    PostAction::Continue if turn.renewed => PostAction::Reregister,
                    action => action,
                }),
                // By another callback of the same batch.
                Err(RunError::Closed) => Ok(PostAction::Remove),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.descriptor.register(poll, tokens)
    }

    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.unregister(poll)?;
        self.register(poll, tokens)
    }

    fn unregister(&mut self, _: &mut Poll) -> calloop::Result<()> {
        // The old one leaves calloop's epoll as it is dropped. The next one is asked for now: the
        // loop may have made its set anew. Of one that is closed there is none, and the old one
        // stays as quiet as it is.
        let descriptor = self.io_loop.upgrade().and_then(|io_loop| io_loop.descriptor().ok());
        self.descriptor = watched(descriptor.unwrap_or_else(|| self.descriptor.get_ref().clone()));
        Ok(())
    }
}

/// Has a loop drive calloop, whose callbacks get `data`, until the watch is removed; a source that
/// fails goes to `on_error`.
///
/// Sources with a descriptor, channels and pings work. calloop's timers do not by themselves: they
/// are in no descriptor, and when the next one is due is not told. Set them on the loop instead.
///
/// # Errors
///
/// Those of [`Reactor::add_reader`].
pub fn add_calloop<D: 'static>(
    io_loop: &IOLoop,
    mut event_loop: EventLoop<'static, D>,
    mut data: D,
    mut on_error: impl FnMut(calloop::Error) + 'static,
) -> io::Result<Watch> {
    let descriptor = event_loop.as_fd().try_clone_to_owned()?;
    io_loop.add_reader(descriptor, move |_| {
        if let Err(error) = event_loop.dispatch(Duration::ZERO, &mut data) {
            on_error(error);
        }
    })
}
