//! With other software: what there is already, by what one wants to use.
//!
//! Two kinds of help. A *crate* is added to your project and used. A folder under `integration/` of
//! the repository is software of others on every kind of loop, tested; its README says what it
//! shows, how to run it, and what to copy from it.
//!
//! # Servers to talk to
//!
//! | you want | take | without tokio and its kin, or with them |
//! |---|---|---|
//! | HTTP, as a client | [`ioloop-curl`](https://docs.rs/ioloop-curl): libcurl, with TLS, redirects, proxies | [`ioloop-hyper`](https://docs.rs/ioloop-hyper) on any loop; hyper-util's client and reqwest: `integration/http` |
//! | HTTP, as a server | [`ioloop-hyper`](https://docs.rs/ioloop-hyper) | hyper on tokio's sockets: `integration/http` |
//! | WebSocket | [async-tungstenite](https://docs.rs/async-tungstenite) over [`Async`](crate::Async) | |
//! | PostgreSQL | [`ioloop-pq`](https://docs.rs/ioloop-pq): libpq | tokio-postgres: `integration/postgres` |
//! | Redis | [`ioloop-hiredis`](https://docs.rs/ioloop-hiredis): hiredis | |
//! | DNS | [`ioloop-c-ares`](https://docs.rs/ioloop-c-ares): c-ares | |
//! | D-Bus | [`ioloop-dbus`](https://docs.rs/ioloop-dbus): libdbus | |
//! | several of them at once | `integration/one-loop`: a program of less than 60 lines | |
//! | a Wayland compositor | `integration/wayland`: a client to copy | |
//!
//! # Loops to live with
//!
//! | the other loop | a loop of this crate inside it | it inside a loop of this crate |
//! |---|---|---|
//! | GLib, GTK | [`ioloop-glib`](https://docs.rs/ioloop-glib), which also makes a [`Reactor`](crate::Reactor) of it | the same |
//! | calloop | [`ioloop-calloop`](https://docs.rs/ioloop-calloop) | the same |
//! | libuv | as any loop: [embedding](super::embedding) | `integration/libuv` |
//! | Python's asyncio | `integration/asyncio` | the same |
//! | a loop in C or C++ | `capi`: `make install`, then `ioloop.h` and `-lioloop` | [C libraries](super::c_libraries) |
//!
//! # Libraries of another runtime
//!
//! | you have | see |
//! |---|---|
//! | a library that needs tokio, and a loop on tokio | nothing to do: callbacks and tasks are in tokio's context |
//! | the same, and a loop on anything else | [`bridge`](crate::bridge); `integration/http` and `integration/postgres` do it |
//! | a library of smol's world | nothing to do on any loop: `integration/smol-libraries` |
//! | tokio, smol and loops in one process | `integration/three-runtimes` |
//! | a runtime that is not here | [backends](super::backends); `integration/compio` is one on completions |
//! | packages that ask for different features | [features](super::features); `integration/unified` |
//!
//! # Programs to begin from
//!
//! | you want to write | see |
//! |---|---|
//! | a library for all of these | `integration/line-protocol`: client and server, and the list of loops to test on |
//! | a server with thousands of connections | `integration/chat`: the same one with callbacks and with futures, and its load |
//! | something small first | `examples/try`: each program is one file |
//!
//! # What goes wrong, and how one sees it
//!
//! - *"there is no reactor running, must be called from the context of a Tokio 1.x runtime"*, as a
//!   panic: a future of tokio's was made or polled where no tokio runtime is entered. Attach the
//!   loop to the runtime, or wrap the future in [`bridge::in_tokio`](crate::bridge::in_tokio).
//!
//!   ```
//!   # #[cfg(feature = "tokio")] {
//!   use std::time::Duration;
//!   use ioloop::backends::BackendKind;
//!   use ioloop::{IOLoop, bridge};
//!
//!   let io_loop = IOLoop::builder().backend(BackendKind::Bare).build()?;
//!   let nap = async || tokio::time::sleep(Duration::from_millis(1)).await;
//!   let alone = io_loop.spawn(nap());
//!   let error = io_loop.run_sync(alone)?.unwrap_err();
//!   assert!(error.to_string().starts_with("the task panicked: there is no reactor running"));
//!
//!   let tokio = tokio::runtime::Runtime::new()?; // with threads that drive it
//!   io_loop.run_sync(bridge::in_tokio(tokio.handle(), nap()))?;
//!   # }
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *A future under `in_tokio` never ends, and nothing is said*: its runtime is a current-thread
//!   one that nobody drives, so nobody tells it that its socket is ready. Use a multi-thread
//!   runtime, which drives itself, or attach the loop.
//! - *"the watch of descriptor 7 has ended: another watch of the same descriptor and direction has
//!   replaced it; share one `Async` in an `Rc`"*: a library and your own code read the same
//!   descriptor of one loop. With [`add_handler`](crate::Reactor::add_handler) the second is
//!   refused instead: *"cannot watch descriptor 7: it is watched already, and a handler shares its
//!   descriptor with nobody; remove the one there first"*.
//! - *One thread is at 100 %, and nothing gets on*: a library does not take what its descriptor
//!   offers. [`set_spin_limit`](crate::IOLoop::set_spin_limit) names it: *"a reader of descriptor 7
//!   was called in 1000 turns in a row without progress, from src/main.rs:9:21"*.
//! - *"unable to find library -luv"*, or `-lwayland-client`, when it is linked: the C library's
//!   development package is missing. Each folder names it in its file `debian-packages`.
