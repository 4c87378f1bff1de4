//! What the programs share: the choice of a loop, by two options of the command line, and a line
//! that shows how far something is.
//!
//! `--backend NAME` is `async-io` (the default), `tokio`, `smol` or `bare`; `--mode MODE` is `own`,
//! a loop that makes its runtime, or `attached`, one that runs inside a runtime that is there. What
//! is compiled is `async-io`; `--all-features` in front of the `--` brings the others.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, PeriodicCallback};
use lexopt::ValueExt;

/// What an example returns.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "\
--backend NAME   async-io, tokio, smol or bare; what is compiled is async-io, and with
                 `cargo run --all-features` all of them
--mode MODE      own: the loop makes its runtime; attached: it runs inside one that is there

The head of the program's file in examples/try/src/bin says what other words it takes.";

struct Options {
    backend: BackendKind,
    attached: bool,
    rest: Vec<String>,
}

/// Runs an example, with the words of the command line that are not options, on the loop that is
/// asked for.
pub fn on_a_loop(example: impl AsyncFnOnce(&IOLoop, Vec<String>) -> Result) -> ExitCode {
    let ran = options().and_then(|Options { backend, attached, rest }| {
        if attached {
            return attach(backend, async |io_loop| {
                io_loop.run_until(example(&io_loop, rest)).await?
            });
        }
        let io_loop = IOLoop::builder().backend(backend).build()?;
        io_loop.run_sync(example(&io_loop, rest))?
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options { backend: BackendKind::detect(), attached: false, rest: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("backend") => options.backend = parser.value()?.parse()?,
            lexopt::Arg::Long("mode") => {
                options.attached = match parser.value()?.string()?.as_str() {
                    "own" => false,
                    "attached" => true,
                    other => return Err(format!("--mode is own or attached, not {other}").into()),
                };
            }
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                println!("{HELP}");
                std::process::exit(0);
            }
            lexopt::Arg::Value(word) => options.rest.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// Shows how far something is, until it is dropped: on a terminal in one line, which is written
/// anew ten times a second, and elsewhere in a line a second. The last one shows the end.
pub struct LiveLine {
    text: Rc<dyn Fn() -> String>,
    periodic: PeriodicCallback,
}

impl LiveLine {
    /// Begins to show `text`.
    pub fn start(io_loop: &IOLoop, text: impl Fn() -> String + 'static) -> io::Result<Self> {
        let is_terminal = io::stdout().is_terminal();
        let period = Duration::from_millis(if is_terminal { 100 } else { 1000 });
        let text: Rc<dyn Fn() -> String> = Rc::new(text);
        let shown = Rc::clone(&text);
        let show = move || write_line(&shown(), if is_terminal { "" } else { "\n" });
        let periodic = PeriodicCallback::new(io_loop, period, show)?;
        periodic.start();
        Ok(LiveLine { text, periodic })
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.periodic.stop();
        write_line(&(self.text)(), "\n");
    }
}

/// Over the line before, if that has no end: back to its beginning, and all of it deleted.
fn write_line(text: &str, end: &str) {
    let over = if io::stdout().is_terminal() { "\r\x1b[K" } else { "" };
    let mut stdout = io::stdout().lock();
    // Whoever reads it may have gone.
    let _ = write!(stdout, "{over}{text}{end}").and_then(|()| stdout.flush());
}

/// `1,234,567`
pub fn grouped(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Runs inside a runtime that is not the loop's.
fn attach(backend: BackendKind, run: impl AsyncFnOnce(IOLoop) -> Result) -> Result {
    let attached = async { run(IOLoop::builder().backend(backend).attach()?).await };
    match backend {
        #[cfg(feature = "tokio")]
        BackendKind::Tokio => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(attached)
        }
        #[cfg(feature = "smol")]
        BackendKind::Smol => smol::block_on(attached),
        #[cfg(feature = "async-io")]
        BackendKind::AsyncIo => async_io::block_on(attached),
        other => Err(format!("nothing to attach a loop on {other:?} to").into()),
    }
}
