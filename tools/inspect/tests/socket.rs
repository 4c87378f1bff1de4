//! What a program shows by its socket: who may open it, what it says of loops of every kind, and
//! what peers cannot do to the loops.

mod viewer;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;
use std::{iter, thread};

use ioloop::backends::BackendKind;
use ioloop::inspect::open_at;
use ioloop::{IOLoop, Reactor};
use rustix::io::ioctl_fionbio;
use viewer::{Folder, Viewer, bare, end, opened, value};

#[test]
fn the_socket_is_its_users_alone_and_is_gone_with_its_inspector() {
    let (inspector, folder) = opened();
    let file = fs::symlink_metadata(inspector.path()).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o600);
    assert_eq!(file.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(folder.names(), ["socket"]);
    drop(inspector);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn the_socket_of_a_process_that_has_ended_is_replaced_and_no_other() {
    let folder = Folder::new();
    // A listener that is dropped leaves its file, as a process that is killed does.
    drop(UnixListener::bind(folder.path()).unwrap());
    let inspector = open_at(folder.path()).unwrap();
    assert_eq!(open_at(folder.path()).unwrap_err().kind(), ErrorKind::AddrInUse);
    Viewer::new(&inspector).picture();
    drop(inspector);

    fs::write(folder.path(), "precious").unwrap();
    assert_eq!(open_at(folder.path()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.path()).unwrap(), b"precious");
    assert_eq!(folder.names(), ["socket"]);
    let nowhere = folder.0.join("nowhere/socket");
    assert_eq!(open_at(&nowhere).unwrap_err().kind(), ErrorKind::NotFound);
}

/// A listener with as many peers as may wait to be accepted.
fn full(path: &Path) -> (OwnedFd, Vec<OwnedFd>) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
    let socket = || socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let (listener, address) = (socket(), SocketAddrUnix::new(path).unwrap());
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let peers = iter::repeat_with(|| {
        let peer = socket();
        ioctl_fionbio(&peer, true).unwrap();
        connect(&peer, &address).is_ok().then_some(peer)
    });
    (listener, peers.map_while(|peer| peer).collect())
}

#[test]
fn a_process_that_accepts_nobody_held_up_who_wanted_its_path() {
    let folder = Folder::new();
    let _full = full(&folder.path());
    assert_eq!(open_at(folder.path()).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(folder.names(), ["socket"]);
}

#[test]
fn of_many_that_opened_one_path_at_once_some_were_told_that_it_is_no_socket() {
    const THREADS: usize = 8;
    let folder = Folder::new();
    for _ in 0..40 {
        // The first has the socket of a process that has ended to replace.
        drop(UnixListener::bind(folder.path()).unwrap());
        let begun = Barrier::new(THREADS);
        let opened: Vec<_> = thread::scope(|scope| {
            let open = || {
                begun.wait();
                open_at(folder.path())
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refused: Vec<_> = opened.iter().filter_map(|opened| opened.as_ref().err()).collect();
        assert_eq!(refused.len(), THREADS - 1, "{refused:?}");
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::AddrInUse), "{refused:?}");
        let inspector = opened.into_iter().find_map(Result::ok).unwrap();
        Viewer::new(&inspector).picture();
        drop(inspector);
        assert_eq!(folder.names(), [""; 0]);
    }
}

#[test]
fn a_path_that_nobody_could_connect_to_is_refused() {
    let folder = Folder::new();
    let path = |length: usize| {
        let parent = folder.0.to_str().unwrap();
        PathBuf::from(format!("{parent}/{}", "s".repeat(length - parent.len() - 1)))
    };
    for length in [108, 155] {
        let error = open_at(path(length)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("no peer could connect to that path"), "{error}");
    }
    let longest = path(if cfg!(target_os = "linux") { 107 } else { 103 });
    Viewer::new(&open_at(longest).unwrap()).picture();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_viewer_without_a_terminal_says_what_to_do() {
    let (inspector, _folder) = opened();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ioloop-inspect"));
    let output = command.arg(inspector.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("no terminal; use --once"), "{said}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_file_that_took_the_place_of_the_socket_stays() {
    let (inspector, folder) = opened();
    fs::remove_file(folder.path()).unwrap();
    fs::write(folder.path(), "precious").unwrap();
    drop(inspector);
    assert_eq!(fs::read(folder.path()).unwrap(), b"precious");
}

#[test]
fn loops_of_every_backend_and_mode_on_threads_of_their_own_are_shown() {
    let before = bare("made-before");
    let (inspector, _folder) = opened();
    let mut threads = vec![before];
    let own = [
        ("on-bare", BackendKind::Bare),
        ("on-async-io", BackendKind::AsyncIo),
        ("on-tokio", BackendKind::Tokio),
        ("on-smol", BackendKind::Smol),
    ];
    for (name, kind) in own {
        let build = move || IOLoop::builder().backend(kind).name(name).build();
        threads.push(IOLoop::spawn_thread(name, build).unwrap());
    }
    let attached = [
        ("in-async-io", BackendKind::AsyncIo),
        ("in-tokio", BackendKind::Tokio),
        ("in-smol", BackendKind::Smol),
    ];
    let (sender, handles) = channel();
    let hosts: Vec<_> = attached
        .into_iter()
        .map(|(name, kind)| {
            let sender = sender.clone();
            thread::spawn(move || {
                let run = async {
                    let io_loop = IOLoop::builder().backend(kind).name(name).attach().unwrap();
                    sender.send(io_loop.handle()).unwrap();
                    io_loop.run().await.unwrap();
                };
                match kind {
                    BackendKind::Tokio => {
                        let mut builder = tokio::runtime::Builder::new_current_thread();
                        builder.enable_all().build().unwrap().block_on(run);
                    }
                    BackendKind::Smol => smol::block_on(run),
                    _ => async_io::block_on(run),
                }
            })
        })
        .collect();
    let handles: Vec<_> = attached.iter().map(|_| handles.recv().unwrap()).collect();

    let mut viewer = Viewer::new(&inspector);
    let all = own.iter().map(|(name, kind)| (*name, kind, "own"));
    let all = all.chain(attached.iter().map(|(name, kind)| (*name, kind, "attached")));
    for (name, kind, mode) in all.chain([("made-before", &BackendKind::Bare, "own")]) {
        let backend = match kind {
            BackendKind::AsyncIo => "async-io",
            BackendKind::Tokio => "tokio",
            BackendKind::Smol => "smol",
            _ => "bare",
        };
        let pairs = [format!("name={name}"), format!("backend={backend}"), format!("mode={mode}")];
        let [name, backend, mode] = pairs.each_ref().map(String::as_str);
        let line = viewer.line("loop ", &[name, backend, mode, "state=driven", "at="]);
        assert!(value(&line, "turns").parse::<u64>().unwrap() > 0, "{line}");
    }
    handles.iter().for_each(|handle| handle.stop().unwrap());
    hosts.into_iter().for_each(|host| host.join().unwrap());
    threads.into_iter().for_each(end);
}

#[test]
fn what_a_loop_waits_for_is_told_with_its_number_and_location() {
    let (inspector, _folder) = opened();
    let thread = bare("waits");
    let task = thread.handle().call(|| {
        let io_loop = IOLoop::current().unwrap();
        for _ in 0..1000 {
            io_loop.call_later(Duration::from_secs(3600), || ());
        }
        let (reader, writer) = UnixStream::pair().unwrap();
        let watch = io_loop.add_reader(reader, move |_| _ = &writer).unwrap();
        watch.pause();
        io_loop.spawn(std::future::pending::<()>()).detach();
    });
    smol::block_on(task).unwrap();
    let mut viewer = Viewer::new(&inspector);
    let id = format!("loop={}", viewer.number("waits"));
    let from = format!("from={}:", file!());
    for (kind, count, paused) in [("timer", 1000, 0), ("reader", 1, 1), ("task", 1, 0)] {
        let (kind, count) = (format!("kind={kind}"), format!("count={count}"));
        let paused = format!("paused={paused}");
        viewer.line("waits ", &[&id, &kind, &count, &paused, &from]);
    }
    end(thread);
}

#[test]
fn a_watch_that_is_called_for_nothing_is_told() {
    let (inspector, _folder) = opened();
    let thread = bare("spins");
    let (reader, writer) = UnixStream::pair().unwrap();
    let fd = reader.as_fd().as_raw_fd();
    let added = thread.handle().call(move || {
        (&writer).write_all(b"never read").unwrap();
        IOLoop::current().unwrap().add_reader(reader, move |_| _ = &writer).unwrap();
    });
    smol::block_on(added).unwrap();
    let mut viewer = Viewer::new(&inspector);
    let id = format!("loop={}", viewer.number("spins"));
    let (fd, from) = (format!("fd={fd}"), format!("from={}:", file!()));
    viewer.line("spins ", &[&id, "kind=reader", &fd, "turns=", &from]);
    end(thread);
}

#[test]
fn a_loop_that_hangs_is_shown_with_what_it_hangs_in() {
    let (inspector, _folder) = opened();
    let thread = bare("hangs");
    let (release, held) = channel::<()>();
    let (sender, hanging) = channel();
    let hang = line!() + 1;
    thread.handle().add_callback(move || (sender.send(()).unwrap(), _ = held.recv()).0).unwrap();
    hanging.recv().unwrap();
    // It hangs already when somebody comes.
    let mut viewer = Viewer::new(&inspector);
    let from = format!("from={}:{hang}:", file!());
    let line = viewer.line("loop ", &["name=hangs", "state=busy", "since=", &from]);
    assert!(line.contains("runs=\"a callback\""), "{line}");
    release.send(()).unwrap();
    viewer.line("loop ", &["name=hangs", "state=driven"]);
    end(thread);
}

#[test]
fn a_call_that_opened_the_socket_and_hung_was_shown_as_a_loop_that_nobody_drives() {
    let folder = Folder::new();
    let thread = bare("hangs-open");
    let ((release, held), (sender, opened)) = (channel::<()>(), channel());
    let path = folder.path();
    let open = move || {
        sender.send(open_at(path).unwrap()).unwrap();
        let _ = held.recv();
    };
    thread.handle().add_callback(open).unwrap();
    let inspector = opened.recv().unwrap();
    let mut viewer = Viewer::new(&inspector);
    let line = viewer.line("loop ", &["name=hangs-open", "since="]);
    assert_eq!(value(&line, "state"), "busy");
    release.send(()).unwrap();
    viewer.line("loop ", &["name=hangs-open", "state=driven"]);
    end(thread);
}

/// Waits a little, inside of the call that drops it.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_call_that_calls_destructors_was_shown_as_if_it_had_just_begun() {
    let (inspector, _folder) = opened();
    let thread = bare("hangs-inside");
    let (release, held) = channel::<()>();
    let hang = move || {
        let io_loop = IOLoop::current().unwrap();
        while held.try_recv() == Err(TryRecvError::Empty) {
            let slow = Slow;
            io_loop.call_later(Duration::from_secs(60), move || drop(slow)).cancel();
        }
    };
    thread.handle().add_callback(hang).unwrap();
    let mut viewer = Viewer::new(&inspector);
    let busy = ["name=hangs-inside", "state=busy", "kind=callback"];
    let first = viewer.line("loop ", &busy);
    let second = viewer.line("loop ", &busy);
    assert_eq!(value(&first, "since"), value(&second, "since"));
    drop(release);
    viewer.line("loop ", &["name=hangs-inside", "state=driven"]);
    end(thread);
}

#[test]
fn no_hang_begins_after_the_picture_that_shows_it() {
    let (inspector, _folder) = opened();
    let thread = bare("hangs-early");
    let (release, held) = channel::<()>();
    let (sender, hanging) = channel();
    thread.handle().add_callback(move || (sender.send(()).unwrap(), _ = held.recv()).0).unwrap();
    hanging.recv().unwrap();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).name("left-early").build().unwrap();
    let picture = Viewer::new(&inspector).picture();
    let at: f64 = value(&picture[0], "at").parse().unwrap();
    let since = |name| {
        let line = picture.iter().find(|line| line.contains(name)).unwrap();
        value(line, "since").parse::<f64>().unwrap()
    };
    assert!(since("name=hangs-early") <= at && since("name=left-early") <= at, "{picture:?}");
    assert!(picture.iter().any(|line| line.contains("runs=\"a callback\" kind=callback")));
    drop(io_loop);
    release.send(()).unwrap();
    end(thread);
}

#[test]
fn a_watch_that_hangs_is_shown_with_its_descriptor() {
    let (inspector, _folder) = opened();
    let thread = bare("reads");
    let (reader, writer) = UnixStream::pair().unwrap();
    let fd = reader.as_fd().as_raw_fd();
    (&writer).write_all(b"0").unwrap();
    let (sender, hanging) = channel();
    // Its descriptor blocks, and there is one byte to read.
    let read = move |mut reader: &UnixStream| {
        sender.send(()).unwrap();
        let _ = reader.read_exact(&mut [0; 2]);
    };
    let add = move || _ = IOLoop::current().unwrap().add_reader(reader, read).unwrap();
    thread.handle().add_callback(add).unwrap();
    hanging.recv().unwrap();
    let (fd, from) = (format!("fd={fd}"), format!("from={}:", file!()));
    let mut viewer = Viewer::new(&inspector);
    let line = viewer.line("loop ", &["name=reads", "state=busy", &fd, &from]);
    assert!(line.contains("runs=\"a reader\""), "{line}");
    (&writer).write_all(b"1").unwrap();
    viewer.line("loop ", &["name=reads", "state=driven"]);
    thread.handle().stop().unwrap();
    drop(writer);
    thread.join().unwrap();
}

#[test]
fn a_loop_that_nobody_drives_is_shown_and_one_that_is_closed_is_not() {
    let (inspector, _folder) = opened();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).name("undriven").build().unwrap();
    io_loop.call_soon(|| ());
    let mut viewer = Viewer::new(&inspector);
    let line = viewer.line("loop ", &["name=undriven", "backend=bare", "state=left", "since="]);
    assert!(!line.contains("turns="), "{line}");
    let id = format!(" id={} ", value(&line, "id"));
    drop(io_loop);
    while viewer.picture().iter().any(|line| line.contains(&id)) {}
}

#[test]
fn a_loop_that_hung_as_it_was_closed_was_not_shown() {
    let (inspector, _folder) = opened();
    for backend in [BackendKind::Bare, BackendKind::Tokio] {
        let (release, held) = channel::<()>();
        let (sender, hanging) = channel();
        let end = move || (sender.send(()).unwrap(), _ = held.recv()).0;
        let thread = IOLoop::spawn_thread("hangs-closing", move || {
            let io_loop = IOLoop::builder().backend(backend).name("hangs-closing").build()?;
            let ends = Ends(Some(Box::new(end)));
            io_loop.call_later(Duration::from_secs(3600), move || drop(ends));
            Ok(io_loop)
        });
        let thread = thread.unwrap();
        thread.handle().stop().unwrap();
        hanging.recv().unwrap();
        let mut viewer = Viewer::new(&inspector);
        let line = viewer.line("loop ", &["name=hangs-closing", "state=busy"]);
        assert!(line.contains("runs=\"a destructor\""), "{line}");
        release.send(()).unwrap();
        thread.join().unwrap();
        while viewer.picture().iter().any(|line| line.contains("name=hangs-closing")) {}
    }
}

/// Calls what it has when it is dropped.
struct Ends(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|end| end());
    }
}

#[test]
fn nobody_who_inspects_makes_a_loop_that_was_never_driven_say_so() {
    let (inspector, _folder) = opened();
    let io_loop = IOLoop::builder().backend(BackendKind::Bare).name("quiet").build().unwrap();
    let (sender, reports) = channel();
    io_loop.set_report_handler(move |report| sender.send(report.to_string()).unwrap());
    Viewer::new(&inspector).line("loop ", &["name=quiet", "state=left"]);
    drop(io_loop);
    assert!(reports.recv().is_err(), "it had nothing to do");
}

#[test]
fn a_hundred_peers_that_never_read_hold_nobody_up() {
    let (inspector, _folder) = opened();
    let thread = bare("goes-on");
    let mut viewer = Viewer::new(&inspector);
    viewer.picture();
    let idle: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(inspector.path()).unwrap()).collect();
    let calls = |number: u32| {
        for _ in 0..number {
            smol::block_on(thread.handle().call(|| ())).unwrap();
        }
    };
    calls(100);
    viewer.line("loop ", &["name=goes-on", "state=driven"]);
    // Those that there is no room for are told, and sent away.
    let mut refused = 0;
    for peer in idle {
        let mut said = String::new();
        BufReader::new(peer).read_line(&mut said).unwrap();
        refused += usize::from(said.starts_with("error text="));
    }
    assert_eq!(refused, 85);
    calls(100);
    viewer.line("loop ", &["name=goes-on", "state=driven"]);
    end(thread);
}

#[test]
fn what_a_peer_sends_is_not_read() {
    let (inspector, _folder) = opened();
    let thread = bare("unmoved");
    let mut loud = UnixStream::connect(inspector.path()).unwrap();
    loud.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(written) = loud.write(&[0xff; 65536]) {
        sent += written;
    }
    assert!(sent > 0);
    Viewer::new(&inspector).line("loop ", &["name=unmoved", "state=driven"]);
    drop(loud);
    Viewer::new(&inspector).line("loop ", &["name=unmoved", "state=driven"]);
    end(thread);
}

#[test]
fn the_terminal_program_lists_the_process_and_shows_it_as_text() {
    let folder = Folder::new();
    let pid = std::process::id();
    let name = format!("ioloop-{pid}.sock");
    let inspector = open_at(folder.0.join(&name)).unwrap();
    let dead = folder.0.join("ioloop-1.sock");
    drop(UnixListener::bind(&dead).unwrap());
    let thread = bare("shown");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ioloop-inspect"));
        let output = command.env("XDG_RUNTIME_DIR", &folder.0).args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), text, String::from_utf8(output.stderr).unwrap())
    };
    let (done, text, said) = run(&[]);
    assert!(done && text.contains(&name) && text.contains(&pid.to_string()), "{text}{said}");
    assert!(!dead.exists(), "nobody listens there");
    for target in [pid.to_string().as_str(), inspector.path().to_str().unwrap()] {
        let (done, text, said) = run(&[target, "--once", "--width", "150"]);
        assert!(done && text.contains(&format!("(pid {pid})")), "{text}{said}");
        let row = text.lines().find(|line| line.contains("shown")).unwrap();
        assert!(row.contains("bare") && row.contains("own"), "{row}");
    }
    drop(inspector);
    let (done, _, said) = run(&[&pid.to_string(), "--once"]);
    let looked_in = folder.0.to_str().unwrap();
    for text in ["ioloop::inspect::open", &format!("XDG_RUNTIME_DIR is {looked_in}")] {
        assert!(!done && said.contains(text), "{text}: {said}");
    }
    end(thread);
}
