//! Which backend a loop gets: features, and who chooses.
//!
//! Cargo builds a crate once for a whole program, with the features of all that depend on it: what
//! one package turns on is on for every other. So a feature must not choose. Here it adds a
//! backend, and the choice is made where a loop is made, by the first of these:
//!
//! | | an own loop | an attached loop |
//! |---|---|---|
//! | 1 | the backend [named](crate::Builder::backend) or [given](crate::Builder::host) | the same |
//! | 2 | the one that was [configured](crate::IOLoop::configure) for the process | the same |
//! | 3 | of those compiled in: tokio, smol, async-io, bare | tokio, if a tokio runtime is entered; otherwise smol, async-io, tokio |
//!
//! tokio is the first for own loops, since such a loop runs the futures of all of these runtimes,
//! and the others do not: a dependency that turns on one more feature takes nothing away. By row 3
//! you may get another backend than you expect, in a build that has more features than you asked
//! for.
//!
//! # Applications
//!
//! An application that needs one backend says so, in one line. For the whole process, at the
//! beginning of `main`:
//!
//! ```standalone_crate
//! use ioloop::{IOLoop, backends::BackendKind};
//!
//! # #[cfg(feature = "async-io")] {
//! IOLoop::configure(BackendKind::AsyncIo)?; // an error if this build does not have it
//! assert_eq!(IOLoop::new()?.backend_name(), "async-io");
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! or for one loop: `IOLoop::builder().backend(BackendKind::AsyncIo).build()`. And it asks for the
//! features that it names:
//!
//! | you want | `Cargo.toml` | loops |
//! |---|---|---|
//! | what needs no thought, with an executor | `ioloop = "0.1"` | `BackendKind::AsyncIo` |
//! | libraries of tokio's world | `ioloop = { version = "0.1", default-features = false, features = ["tokio"] }` | `IOLoop::new()` is on tokio |
//! | no runtime | `ioloop = { version = "0.1", default-features = false }` | `BackendKind::Bare` |
//!
//! *Whoever embeds a loop with [`turn`](crate::IOLoop::turn)* names
//! [`Bare`](crate::backends::BackendKind::Bare): a loop on tokio
//! [refuses](crate::RunError::NotEmbeddable) it, since its runtime makes progress only in its own
//! `block_on`; and tokio may be compiled in for another package.
//!
//! # Libraries
//!
//! A library takes a [`Reactor`](crate::Reactor) or a [`Handle`](crate::Handle) from its user, and
//! so needs no feature at all. It neither calls `configure` nor makes a loop without a name. If its
//! users want to choose through it, it forwards features, each by its own name, and none by
//! default:
//!
//! ```toml
//! [features]
//! async-io = ["ioloop/async-io"]
//! tokio = ["ioloop/tokio"]
//!
//! [dependencies]
//! ioloop = { version = "0.1", default-features = false }
//! ```
//!
//! Where it needs a loop of its own, on a thread of its own, it names what it needs: `Bare`, or a
//! backend whose feature it turns on itself. `integration/unified` is a build of three packages
//! that ask for different features, and a test that each behaves in it as it does alone.
//!
//! # What goes wrong, and how one sees it
//!
//! - *"there is no reactor running, must be called from the context of a Tokio 1.x runtime"*, a
//!   panic in a callback: the loop is on another backend than you expect. Print
//!   [`backend_name`](crate::IOLoop::backend_name), and name the backend, as above.
//! - *"backend tokio is not compiled in; enable ioloop's feature `tokio`"*: the loop was given a
//!   name that this build does not have.
//! - *"there is no backend `libev`; choose one of bare, async-io, tokio, smol"*: a name from a
//!   configuration file or a command line.
//! - *"no tokio runtime is entered on this thread; attach inside `block_on` or a task, or give the
//!   runtime by its handle: IOLoop::builder().host(TokioBackend::attached(handle))"*: `attach()`
//!   before the runtime, or on a thread of your own.
//! - *"a bare loop has no host to attach to; enable one of ioloop's features `async-io`, `tokio` or
//!   `smol`, or embed the loop with `turn`"*: `default-features = false`, and no other feature.
//! - *"the loop's runtime has to drive it: call `start()` or `run_sync()`, or name the backend of a
//!   loop that is to be embedded: IOLoop::builder().backend(BackendKind::Bare)"*: another package
//!   of the build has turned on the feature `tokio`, and so row 3 of the table gives tokio to a
//!   loop without a name:
//!
//!   ```
//!   # #[cfg(feature = "tokio")] {
//!   use std::time::Duration;
//!   use ioloop::backends::BackendKind;
//!   use ioloop::{IOLoop, RunError};
//!
//!   let unnamed = IOLoop::builder().backend(BackendKind::detect()).build()?;
//!   assert_eq!(unnamed.backend_name(), "tokio"); // in this build
//!   assert!(matches!(unnamed.turn(Some(Duration::ZERO)), Err(RunError::NotEmbeddable)));
//!
//!   let named = IOLoop::builder().backend(BackendKind::Bare).build()?;
//!   named.turn(Some(Duration::ZERO))?;
//!   # }
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *"unresolved import `ioloop::signal`"*, and *"the item is gated behind the `signal` feature"*:
//!   ask for the feature in your own `Cargo.toml`, also where another package has it on.
//! - *A tokio program compiles async-io and its kin*: `default-features = false` is missing, in
//!   your package or in one that you depend on. `cargo tree -e features -i ioloop` says which.
