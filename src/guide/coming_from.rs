//! From Tornado and asyncio: every method of their loops, its name here, and what differs. And what
//! users of libuv look for first.
//!
//! Three things differ throughout:
//!
//! - *A loop stays on its thread*, and callbacks are `!Send`. What other threads may do is on its
//!   [`Handle`](crate::Handle).
//! - *Sources are owned*: what is watched is given to the loop, and cannot be closed, or its number
//!   used again, while it is watched. Share it in an `Rc`, or lend it with [`Lent`](crate::Lent).
//! - *Errors are values*. A panic in a callback is caught, reported once, and does not end the
//!   loop.
//!
//! # Tornado: `IOLoop`
//!
//! | Tornado | here | what differs |
//! |---|---|---|
//! | `IOLoop.current` | [`IOLoop::current`](crate::IOLoop::current) | only inside callbacks, tasks and `enter`; never makes one |
//! | `IOLoop.make_current`, `clear_current` | [`IOLoop::enter`](crate::IOLoop::enter) | for the length of a closure, so it is always undone |
//! | `IOLoop.instance`, `install`, `clear_instance` | [`Handle::installed`](crate::Handle::installed), [`install`](crate::Handle::install), [`uninstall`](crate::Handle::uninstall) | of a handle, since a loop stays on its thread; none is made by itself |
//! | `IOLoop.configure`, `configurable_base`, `configurable_default` | [`IOLoop::configure`](crate::IOLoop::configure), [`Builder`](crate::Builder) | an enum of backends; a given one wins |
//! | `start` | [`start`](crate::IOLoop::start); attached: [`run`](crate::IOLoop::run) | an error, not a deadlock, when it runs already |
//! | `stop` | [`stop`](crate::IOLoop::stop), [`Handle::stop`](crate::Handle::stop) | one before the start makes it a single pass |
//! | `run_sync` | [`run_sync`](crate::IOLoop::run_sync), [`timeout`](crate::timeout()); attached: [`run_until`](crate::IOLoop::run_until) | takes the future itself; a time-out drops it |
//! | `close` | [`close`](crate::IOLoop::close) | `all_fds` is not needed: owned sources are closed |
//! | `add_callback` | [`call_soon`](crate::Reactor::call_soon); other threads: [`Handle::add_callback`](crate::Handle::add_callback) | can be cancelled |
//! | `add_callback_from_signal` | [`IOLoop::add_signal_handler`](crate::IOLoop#method.add_signal_handler) (feature `signal`) | the handler is an ordinary callback |
//! | `spawn_callback` | [`spawn_logged`](crate::IOLoop::spawn_logged), [`spawn`](crate::IOLoop::spawn) | give a [`Task`](crate::Task); only the first reports an `Err` |
//! | `add_future` | [`add_future`](crate::IOLoop::add_future) | gives the value, not the future |
//! | `Process.kill`, `terminate`, `send_signal` | [`ChildHandle`](crate::process::ChildHandle) | from the future and from callbacks |
//! | `run_in_executor`, `set_default_executor` | [`run_in_executor`](crate::IOLoop::run_in_executor), [`set_default_executor`](crate::IOLoop::set_default_executor) | the default is the runtime's own pool |
//! | `add_timeout` | [`call_later`](crate::Reactor::call_later), [`call_at`](crate::Reactor::call_at) | a `Duration` or an `Instant`; for a time of the wall clock there is [`instant_at`](crate::Reactor::instant_at) |
//! | `call_later`, `call_at` | the same | |
//! | `remove_timeout` | [`TimerHandle::cancel`](crate::TimerHandle::cancel) | frees at once; [`reset`](crate::TimerHandle::reset) moves a deadline |
//! | `time` | [`now`](crate::Reactor::now) | monotonic |
//! | `add_handler`, `update_handler`, `remove_handler` | [`add_handler`](crate::Reactor::add_handler), [`update_handler`](crate::IOLoop::update_handler), [`remove_handler`](crate::IOLoop::remove_handler) | [`Interest`](crate::Interest) and [`Events`](crate::Events); an interest in nothing pauses |
//! | `READ`, `WRITE`, `ERROR` | [`Events`](crate::Events) | and `HANGUP`, `PRIORITY` |
//! | `handle_callback_exception` | [`set_exception_handler`](crate::IOLoop::set_exception_handler) | |
//! | `set_blocking_log_threshold` | [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold) | measured around each callback, and told once it has returned |
//! | `set_blocking_signal_threshold`, `log_stack` | [`set_watchdog`](crate::IOLoop::set_watchdog) | tells while the callback hangs, from a thread of its own and without a signal: where it was handed to the loop, not the stack |
//! | `close_fd`, `split_fd`, `initialize` | not ported | internals of its subclasses |
//! | `fileno` | [`descriptor`](crate::IOLoop::descriptor) | readable when there is something to do |
//!
//! # Tornado: `PeriodicCallback`
//!
//! | Tornado | here | what differs |
//! |---|---|---|
//! | `PeriodicCallback(callback, callback_time, jitter)` | [`PeriodicCallback::new`](crate::PeriodicCallback::new), [`new_async`](crate::PeriodicCallback::new_async), [`with_jitter`](crate::PeriodicCallback::with_jitter) | async calls never overlap |
//! | `start`, `stop`, `is_running` | the same | dropping stops |
//!
//! # Tornado: `tornado.platform.asyncio`
//!
//! | Tornado | here |
//! |---|---|
//! | `AsyncIOMainLoop` | [`IOLoop::attach`](crate::IOLoop::attach): the loop that is the running runtime |
//! | `AsyncIOLoop` | [`IOLoop::new`](crate::IOLoop::new): a loop of its own |
//! | `to_tornado_future`, `to_asyncio_future` | [`bridge`](crate::bridge): `in_tokio`, `to_tokio`, `to_smol`, `to_executor`, `to_loop`, `to` |
//! | `AnyThreadEventLoopPolicy` | not needed: any thread may make a loop |
//! | `AddThreadSelectorEventLoop`, `SelectorThread` | not needed: every loop watches descriptors |
//!
//! # asyncio: running and stopping
//!
//! | asyncio | here | what differs |
//! |---|---|---|
//! | `run_forever`, `run_until_complete` | [`start`](crate::IOLoop::start), [`run_sync`](crate::IOLoop::run_sync) | |
//! | `stop`, `is_running`, `is_closed`, `close` | the same | |
//! | `get_running_loop`, `get_event_loop`, `new_event_loop`, `set_event_loop` | [`IOLoop::current`](crate::IOLoop::current), [`IOLoop::new`](crate::IOLoop::new), [`enter`](crate::IOLoop::enter) | |
//! | `shutdown_asyncgens` | not needed | a future that is dropped runs its destructors |
//! | `shutdown_default_executor` | [`shutdown_default_executor`](crate::IOLoop::shutdown_default_executor); of everything: [`shutdown`](crate::IOLoop::shutdown) | |
//!
//! # asyncio: callbacks, futures and tasks
//!
//! | asyncio | here | what differs |
//! |---|---|---|
//! | `call_soon`, `call_later`, `call_at`, `time` | [`call_soon`](crate::Reactor::call_soon), [`call_later`](crate::Reactor::call_later), [`call_at`](crate::Reactor::call_at), [`now`](crate::Reactor::now) | a clock for tests: [`ManualClock`](crate::ManualClock) |
//! | `call_soon_threadsafe` | [`Handle::add_callback`](crate::Handle::add_callback); with an answer: [`Handle::call`](crate::Handle::call) | |
//! | `Handle.cancel`, `cancelled`, `TimerHandle.when` | [`CallbackHandle::cancel`](crate::CallbackHandle::cancel), [`is_cancelled`](crate::TimerHandle::is_cancelled), [`deadline`](crate::TimerHandle::deadline) | |
//! | `create_future` | [`deferred`](crate::deferred()) | one side resolves, from any thread, the other awaits |
//! | `create_task` | [`spawn`](crate::IOLoop::spawn); other threads: [`Handle::spawn`](crate::Handle::spawn) | begins in the next turn, never at once |
//! | `set_task_factory`, `get_task_factory` | not ported | wrap the future |
//! | `asyncio.sleep`, `wait_for`, `timeout` | [`sleep`](crate::sleep), [`timeout`](crate::timeout) | |
//! | `all_tasks` | [`listing`](crate::IOLoop::listing) | |
//!
//! # asyncio: descriptors, sockets and pipes
//!
//! | asyncio | here | what differs |
//! |---|---|---|
//! | `add_reader`, `remove_reader`, `add_writer`, `remove_writer` | [`add_reader`](crate::Reactor::add_reader), [`remove_reader`](crate::Reactor::remove_reader), [`add_writer`](crate::Reactor::add_writer), [`remove_writer`](crate::Reactor::remove_writer) | sources are owned |
//! | `sock_connect`, `sock_accept` | [`Async`](crate::Async)`::<TcpStream>::connect`, `Async::<TcpListener>::accept` | UDP and Unix sockets too |
//! | `sock_recv`, `sock_recv_into`, `sock_sendall` | futures-io's `AsyncRead` and `AsyncWrite` of [`Async`](crate::Async) | |
//! | `sock_recvfrom`, `sock_recvfrom_into`, `sock_sendto` | `Async::<UdpSocket>::recv_from`, `send_to` | |
//! | `sock_sendfile`, `sendfile` | [`Async::write_with`](crate::Async::write_with) around `rustix::fs::sendfile` | |
//! | `create_connection`, `create_unix_connection`, `create_datagram_endpoint`, `connect_accepted_socket` | [`Async`](crate::Async), or the runtime's own sockets | no transports and protocols: a task that reads and writes |
//! | `create_server`, `create_unix_server` and the `Server` object's `start_serving`, `serve_forever`, `is_serving`, `wait_closed`, `sockets`, `close_clients`, `abort_clients`, `get_loop` | a task that calls `Async::<TcpListener>::accept` and spawns | dropping its task ends it |
//! | `start_tls` | not ported | TLS crates wrap `AsyncRead` and `AsyncWrite` |
//! | `connect_read_pipe`, `connect_write_pipe` | [`Async::new`](crate::Async::new) of a file made from the pipe | |
//! | `getaddrinfo`, `getnameinfo` | [`run_in_executor`](crate::IOLoop::run_in_executor) around `ToSocketAddrs`, or a resolver of your choice | |
//!
//! # asyncio: signals, processes, executors
//!
//! | asyncio | here | what differs |
//! |---|---|---|
//! | `add_signal_handler`, `remove_signal_handler` | [`IOLoop::add_signal_handler`](crate::IOLoop#method.add_signal_handler) (feature `signal`), [`Watch::remove`](crate::Watch::remove) | any number of handlers, on any thread |
//! | `subprocess_exec`, `subprocess_shell`, child watchers | `std::process::Command`, then [`process::wait`](crate::process::wait) or [`on_exit`](crate::process::on_exit) | without `SIGCHLD`; its pipes: `Async` |
//! | `run_in_executor`, `set_default_executor` | [`run_in_executor`](crate::IOLoop::run_in_executor), [`set_default_executor`](crate::IOLoop::set_default_executor) | an executor is a closure that takes jobs |
//!
//! # asyncio: errors and debugging
//!
//! | asyncio | here | what differs |
//! |---|---|---|
//! | `set_exception_handler`, `get_exception_handler`, `default_exception_handler`, `call_exception_handler` | [`set_exception_handler`](crate::IOLoop::set_exception_handler), [`reset_exception_handler`](crate::IOLoop::reset_exception_handler) | the default tells `tracing`, `log` or standard error |
//! | `set_debug`, `get_debug` | not needed | each thing by itself: locations are always known, [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold), [`set_spin_limit`](crate::IOLoop::set_spin_limit), [`listing`](crate::IOLoop::listing) |
//! | `slow_callback_duration` | [`set_slow_callback_threshold`](crate::IOLoop::set_slow_callback_threshold) | off at first |
//!
//! # libuv, Node, libevent
//!
//! | there | here | what differs |
//! |---|---|---|
//! | `uv_run(UV_RUN_DEFAULT)`, the end of a Node program, `event_base_dispatch` | [`start_until_empty`](crate::IOLoop::start_until_empty); attached: [`run_until_empty`](crate::IOLoop::run_until_empty) | signals, triggers and handles of other threads do not keep it running, nor does a paused watch |
//! | `uv_run(UV_RUN_ONCE)`, `UV_RUN_NOWAIT` | [`turn`](crate::IOLoop::turn) | takes a time-out |
//! | `uv_loop_alive` | [`is_empty`](crate::IOLoop::is_empty) | the opposite |
//! | `uv_unref`, `ref`, `unref` | [`Watcher::uncounted`](crate::reactor::Watcher::uncounted) | for watches; a timer or a task is ended instead |
//! | `uv_async_t`, `uv_timer_t` | [`Trigger`](crate::Trigger), [`Timer`](crate::Timer) | |
//! | `uv_prepare_t`, `uv_check_t`, `uv_idle_t` | [`before_sleep`](crate::IOLoop::before_sleep), [`after_wake`](crate::IOLoop::after_wake), [`on_idle`](crate::IOLoop::on_idle) | |
//! | `uv_poll_t` | [`add_handler`](crate::Reactor::add_handler) | |
//!
//! # What none of them has
//!
//! [`metrics`](crate::IOLoop::metrics); hooks [before a sleep](crate::IOLoop::before_sleep) and
//! [after it](crate::IOLoop::after_wake); [idle callbacks](crate::IOLoop::on_idle);
//! [`turn`](crate::IOLoop::turn), to embed a loop in a foreign one; the suite of promises,
//! `ioloop-conformance`, for those who write a backend.
//!
//! # What goes wrong, and how one sees it
//!
//! Reports and exceptions without a handler are lines on standard error, or events of `tracing` or
//! `log`. Each has the name of its loop, and the place where the code was handed in. [Watching a
//! loop](super::watching) says how to have more of them.
//!
//! - *"the loop is running already: inside of it `spawn` the future, or `stop` the loop and wait
//!   until it has returned"*: `run_sync`, `start` or `close` in a callback. Spawn instead.
//! - *"called `Option::unwrap()` on a `None` value"* at
//!   [`IOLoop::current`](crate::IOLoop::current): this is no callback, task or
//!   [`enter`](crate::IOLoop::enter) of a loop. Tornado makes a loop there; here one is passed on.
//! - *Something never runs*: what it belongs to was dropped in the same statement. A
//!   [`PeriodicCallback`](crate::PeriodicCallback) that is dropped is stopped, and a guard that is
//!   dropped ends what it holds. The compiler warns of an unused guard, but not of this:
//!
//!   ```
//!   use std::{cell::Cell, rc::Rc, time::Duration};
//!   use ioloop::{IOLoop, PeriodicCallback, sleep};
//!
//!   let io_loop = IOLoop::new()?;
//!   let ticks = Rc::new(Cell::new(0));
//!   let count = |ticks: &Rc<Cell<i32>>| {
//!       let ticks = Rc::clone(ticks);
//!       move || ticks.set(ticks.get() + 1)
//!   };
//!   let millisecond = Duration::from_millis(1);
//!   // As in Tornado; it ends with the statement.
//!   PeriodicCallback::new(&io_loop, millisecond, count(&ticks))?.start();
//!   io_loop.run_sync(sleep(&io_loop, 3 * millisecond))??;
//!   assert_eq!(ticks.get(), 0);
//!
//!   let kept = PeriodicCallback::new(&io_loop, millisecond, count(&ticks))?;
//!   kept.start();
//!   io_loop.run_sync(sleep(&io_loop, 3 * millisecond))??;
//!   assert!(ticks.get() > 0);
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//! - *A task fails, and nothing is said*: an `Err` is the value of its [`Task`](crate::Task), which
//!   was dropped. [`spawn_logged`](crate::IOLoop::spawn_logged) reports it: *"a task failed: no
//!   answer"*.
//! - *A descriptor is silent after a panic*: *"a reader, which was removed, panicked: index out of
//!   bounds"*. Otherwise it would panic in each turn. Catch what may fail, and add it anew.
//! - *Everything stands still in a reader*: it reads until "would block", from a descriptor that
//!   blocks. asyncio's transports set that, `add_reader` does not. The
//!   [watchdog](crate::IOLoop::set_watchdog) says so: *"a reader has held the loop up for 5s on
//!   thread main, and has not returned, from src/main.rs:9:21; its descriptor 7 blocks: set
//!   O_NONBLOCK"*.
//! - *A program that does nothing*: an attached loop whose `run` is not awaited. Its report, when a
//!   task is awaited or the loop is dropped: *"a task is awaited, and nobody has ever driven the
//!   loop: 1 thing to do"*.
