//! A running process, seen from outside: what its loops wait for, what is slow, what spins, what
//! hangs.
//!
//! The program opens a socket, with the feature `inspect` and one call, which costs next to nothing
//! while nobody looks:
//!
//! ```no_run
//! # #[cfg(feature = "inspect")] {
//! let _inspector = ioloop::inspect::open()?; // until it is dropped
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Then, in another terminal, as the same user:
//!
//! ```text
//! cargo install --path tools/inspect                        # in the repository of ioloop
//! ioloop-inspect                   # the processes that have opened a socket
//! ioloop-inspect 4242              # one of them, refreshed each second
//! ioloop-inspect 4242 --once       # the same as text, for a log or a bug report
//! ```
//!
//! This is `cargo run -p try --bin inspect`, a program with something to find:
//!
//! ```text
//! inspect (pid 27842), 2 loops, 7 s
//! worker is held up for 1.0 s by a task from examples/try/src/bin/inspect.rs:92:17
//! ┌loops────────────────────────────────────────────────────────────────────────────────────────┐
//! │name   backend  mode state      busy turns/s polls/s calls/s events/s timers/s jobs thread   │
//! │main   async-io own  driven     72 %    273k    273k     1.0     273k      3.0    0 main     │
//! │worker bare     own  busy 1.0 s    -       -       -       -        -        -    0 worker   │
//! └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ┌slowest calls────────────────────────────────────────────────────────────────────────────────┐
//! │longestv average calls/s share loop   kind   from                                            │
//! │  1.00 s       -       -     - worker task   examples/try/src/bin/inspect.rs:92:17           │
//! │ 20.2 ms 20.2 ms     2.0   4 % main   timer  examples/try/src/bin/inspect.rs:54:16           │
//! │   35 us   35 us     1.0   0 % main   timer  examples/try/src/bin/inspect.rs:81:18           │
//! │   18 us  106 ns    273k   3 % main   reader examples/try/src/bin/inspect.rs:63:13           │
//! │    9 us    9 us     1.0   0 % main   task   examples/try/src/bin/inspect.rs:78:21           │
//! │       -       -       -     - worker        not known: it has not answered                  │
//! └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ┌what they wait for───────────────────────────────────────────────────────────────────────────┐
//! │countv change paused loop   kind   from                                                      │
//! │  1000      0      0 main   timer  examples/try/src/bin/inspect.rs:69:17                     │
//! │     7     +1      0 main   task   examples/try/src/bin/inspect.rs:78:21                     │
//! │     1      0      0 main   reader examples/try/src/bin/inspect.rs:41:13                     │
//! │     1      0      0 main   timer  examples/try/src/bin/inspect.rs:54:16                     │
//! │     1      0      0 main   reader examples/try/src/bin/inspect.rs:63:13                     │
//! │     1      0      0 main   timer  examples/try/src/bin/inspect.rs:81:18                     │
//! │     -      -      - worker        not known: it has not answered                            │
//! └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ┌what spins───────────────────────────────────────────────────────────────────────────────────┐
//! │turnsv descriptor loop kind   from                                                           │
//! │  273k          9 main reader examples/try/src/bin/inspect.rs:63:13                          │
//! └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! q ends  p pauses  tab next table  s sorts  r other way  enter one loop  ? keys
//! ```
//!
//! | in the picture | is |
//! |---|---|
//! | the second line | a loop that hangs, with the location that hands in what it hangs in |
//! | `busy` | the share of the time in which the loop did not wait for something to do |
//! | `state` | `driven`; `busy`, if it is held up; `left`, if nobody drives it any longer: an attached loop whose `run` is not awaited, a host that is busy with something else; `never driven`, if nobody has yet |
//! | `slowest calls` | those since you connected; a call that goes on is a row in red, with its time so far |
//! | `share` | the part of the time that the calls from one location took |
//! | `change` | how many more there are than when the loop answered you first: what grows and grows leaks |
//! | `what spins` | a watch that is called in turn after turn, and makes no progress |
//! | `not known` | a loop that has not answered since you connected: it hangs, or nobody drives it |
//! | `no answer for 4 s` | the whole process is silent: it is stopped, or the machine has no time for it; the numbers are old |
//!
//! *How to find* ...
//!
//! - *what makes the program slow*: the first lines of "slowest calls". Press `s` until it is sorted
//!   by `share`, for what takes most in all.
//! - *what takes the processor*: a loop that is busy, and makes tens of thousands of turns each second,
//!   spins. "What spins" names the watch. Its `share` is small, some hundredths beside a `busy` of
//!   60 to 80 %: the rest is the polls between its calls. A callback that queues itself, or a task
//!   that wakes itself, has no row in "what spins": sort "slowest calls" by `calls/s`, it is the first
//!   there.
//! - *what leaks*: "what they wait for", sorted by `change`.
//! - *what a program that does nothing waits for*: the same table. A task that is there, and has no
//!   line in "slowest calls", is not polled: what it awaits never comes.
//! - *what hangs*: the red line, also if you connect after it began.
//!
//! [`crate::inspect`] says who may connect, what is told, what it costs, and the lines of text that
//! a program of your own may read.
//!
//! # What goes wrong, and how one sees it
//!
//! - *"process 4242 has opened no socket in /run/user/1000"*: `open` was not called, its result was
//!   dropped at once (`let _ = open()?` does that), or the process is another user's (root may
//!   connect, and gives the path), or has another `XDG_RUNTIME_DIR`. The message says which one the
//!   view has. Give both sides a path: [`open_at`](crate::inspect::open_at).
//! - *"no terminal; use --once"*: the view's output is a pipe or a file.
//! - *"no answer for 5 s"*: the whole process is stopped (`kill -STOP`, a debugger, a frozen
//!   container), or has no processor. The view goes on when the process does.
//! - *"no peer could connect to that path"*: it is longer than the path of a socket may be.
//! - *"a process listens there"*: two processes, or two calls, want one path.
//! - *A loop is `left` though the program works*: it works elsewhere. Nobody awaits that loop's
//!   [`run`](crate::IOLoop::run), or calls its [`turn`](crate::IOLoop::turn).
//! - *A loop is `busy` in something else each time*: the machine has no time for it. It answers when
//!   it has.
