//! In a default build what nobody handles is a line on standard error, and one that cannot be
//! written changes nothing.
//!
//! Each test runs again in a child process, whose standard error it chooses.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{self, resume_unwind};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::hooks::BeforeSleep;
use ioloop::{IOLoop, Interest, Reactor, sleep};
use rustix::pipe::{PipeFlags, pipe_with};
use testkit::alone;
use testkit::ways::{Way, every_way};

const MS: Duration = Duration::from_millis(1);

/// Whether this is the child that is to run the test called `name`, which must not hang.
fn is_child(name: &str) -> bool {
    let is_child = alone::is_child(module_path!(), name);
    if is_child {
        alone::end_a_hang();
    }
    is_child
}

/// Runs the test called `name` in a child process with this standard error, and returns what it
/// wrote there, if that is a pipe to here.
fn in_child(name: &str, stderr: Stdio) -> String {
    let mut command = alone::again_by(None, module_path!(), name);
    command.stdout(Stdio::piped()).stderr(stderr);
    let output = command.spawn().and_then(|child| child.wait_with_output()).unwrap();
    alone::assert_ran_one(&output, name);
    alone::assert_passed(&output);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A flood of reports, and of panics, of all kinds of callbacks.
fn all_kinds(way: &Way) {
    let io_loop = way.io_loop();
    io_loop.set_slow_callback_threshold(Some(Duration::ZERO));
    io_loop.set_spin_limit(Some(2));
    let calls: Rc<[Cell<u32>; 7]> = Rc::default();
    let count = |kind: usize| {
        let calls = Rc::clone(&calls);
        move || calls[kind].set(calls[kind].get() + 1)
    };
    let (reader, mut to_reader) = UnixStream::pair().unwrap();
    let (handler, mut to_handler) = UnixStream::pair().unwrap();
    let (spinning, mut to_spinning) = UnixStream::pair().unwrap();
    to_spinning.write_all(b"x").unwrap();
    let (read, handled, spins) = (count(0), count(1), count(2));
    io_loop
        .add_reader(reader, move |mut stream| {
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            read();
        })
        .unwrap();
    io_loop
        .add_handler(handler, Interest::READ, move |mut stream, _| {
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            handled();
        })
        .unwrap();
    io_loop.add_reader(spinning, move |_| spins()).unwrap();
    io_loop.before_sleep(|| BeforeSleep::Sleep);
    for _ in 0..3 {
        to_reader.write_all(b"x").unwrap();
        to_handler.write_all(b"x").unwrap();
        io_loop.call_soon(count(3));
        io_loop.call_later(Duration::ZERO, count(4));
        let polled = count(5);
        io_loop.spawn(async move { polled() });
        let panics = count(6);
        io_loop.call_later(Duration::ZERO, move || {
            panics();
            panic!("this cannot be written either");
        });
    }
    for _ in 0..2 {
        way.run(&io_loop, sleep(&io_loop, MS)).unwrap();
    }
    let spun = calls[2].replace(3);
    assert!(spun > 3, "{spun}");
    assert!(calls.iter().all(|calls| calls.get() == 3), "{calls:?}");
    assert_eq!((io_loop.metrics().watches, io_loop.metrics().timers), (3, 0));
}

// B267
#[test]
fn a_report_on_a_broken_standard_error_unwound_out_of_the_loop() {
    const NAME: &str = "a_report_on_a_broken_standard_error_unwound_out_of_the_loop";
    if is_child(NAME) {
        return every_way(all_kinds);
    }
    // Its reader is gone.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    drop(reader);
    in_child(NAME, writer.into());
    // It is full, and does not block.
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
    assert!(rustix::io::write(&writer, b"x").is_err());
    in_child(NAME, writer.into());
    // The disk is full.
    if cfg!(target_os = "linux") {
        in_child(NAME, OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    }
    // It is open for reading only, which a write takes for closed.
    in_child(NAME, std::fs::File::open("/dev/null").unwrap().into());
}

// B281
#[test]
fn a_watch_that_was_removed_after_a_panic_was_not_announced() {
    const NAME: &str = "a_watch_that_was_removed_after_a_panic_was_not_announced";
    const LINE: u32 = line!() + 7;
    if is_child(NAME) {
        // What is left is what the library writes.
        panic::set_hook(Box::new(|_| ()));
        let io_loop = IOLoop::builder().backend(BackendKind::Bare).name("default").build().unwrap();
        let (stream, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"x").unwrap();
        io_loop.add_reader(stream, |_| panic!("of\n  two lines")).unwrap();
        io_loop.call_soon(|| resume_unwind(Box::new(7)));
        io_loop.set_slow_callback_threshold(Some(Duration::from_secs(3600)));
        for _ in 0..999 {
            io_loop.call_later(Duration::ZERO, || panic!("again"));
        }
        io_loop.stop();
        io_loop.start().unwrap();
        return;
    }
    let written = in_child(NAME, Stdio::piped());
    let lines: Vec<&str> = written.lines().collect();
    let place = |line: u32| format!(", from {}:{line}:", file!());
    let begins = |line: &str, text: &str, place: &str| {
        let start = format!("ioloop: error: loop default: {text}{place}");
        assert!(line.starts_with(&start), "{start} in {line}");
    };
    begins(lines[0], "a callback panicked: (no message)", &place(LINE + 1));
    begins(lines[1], "a reader, which was removed, panicked: of two lines", &place(LINE));
    begins(lines[2], "a timer panicked: again", &place(LINE + 4));
    // 16, then 32, 64, 128, 256, 512.
    assert_eq!(lines.len(), 16 + 5, "{written}");
}
