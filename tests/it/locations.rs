//! Whatever is handed to a loop is listed by the line of the program that did it, and not by a line
//! of the library.

use std::future::pending;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use futures_lite::{StreamExt, future};
use ioloop::hooks::BeforeSleep;
use ioloop::{
    Async, IOLoop, Interest, PeriodicCallback, Reactor, Timer, Trigger, deferred, interval, sleep,
    timeout,
};
use testkit::ways::every_way;

const HOUR: Duration = Duration::from_secs(3600);

/// Asserts that each line of the listing is of this file.
fn all_are_here(io_loop: &IOLoop, least: usize) {
    let listing = io_loop.listing();
    assert!(listing.entries.len() >= least, "{least} of\n{listing}");
    for pending in &listing.entries {
        let location = pending.location.unwrap_or_else(|| panic!("{pending:?}\n{listing}"));
        assert_eq!(location.file(), file!(), "{pending:?}\n{listing}");
    }
}

#[test]
fn callbacks_timers_hooks_and_watches_are_listed_by_the_line_that_made_them() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let pair = || UnixStream::pair().unwrap();
        let held = [pair(), pair(), pair(), pair()].map(|(ours, theirs)| {
            (&theirs).write_all(b"0").unwrap();
            (ours, theirs)
        });
        let ours = |index: usize| held[index].0.try_clone().unwrap();
        io_loop.add_reader(ours(0), |_| ()).unwrap();
        io_loop.add_writer(ours(1), |_| ()).unwrap();
        io_loop.add_handler(ours(2), Interest::READ, |_, _| ()).unwrap();
        let weak = io_loop.downgrade();
        weak.add_reader(ours(3), |_| ()).unwrap();
        let _trigger = Trigger::new(&io_loop, || ()).unwrap();
        io_loop.call_soon(|| ());
        weak.call_later(HOUR, || ());
        io_loop.call_at(io_loop.now() + HOUR, || ());
        let timer = Timer::new(&io_loop, || ());
        timer.set(HOUR);
        let periodic = PeriodicCallback::new(&io_loop, HOUR, || ()).unwrap();
        periodic.start();
        let _hooks = [
            io_loop.before_sleep(|| BeforeSleep::Sleep),
            io_loop.after_wake(|| ()),
            io_loop.on_idle(|| ()),
        ];
        io_loop.handle().add_callback(|| ()).unwrap();
        all_are_here(&io_loop, 13);
    });
}

#[test]
fn tasks_and_what_they_wait_for_are_listed_by_the_line_that_made_them() {
    every_way(|way| {
        let io_loop = way.io_loop();
        let weak = io_loop.downgrade();
        io_loop.spawn(pending::<()>()).detach();
        ioloop::spawn(&weak, pending::<()>()).detach();
        io_loop.spawn_logged(pending::<Result<(), String>>()).detach();
        io_loop.add_future(pending::<()>(), |_| ()).detach();
        let (_resolver, mut answer) = deferred::<()>();
        answer.add_done_callback(&io_loop, |_| ());
        io_loop.handle().spawn(pending::<()>).detach();
        let each = PeriodicCallback::new_async(&io_loop, Duration::from_nanos(1), pending).unwrap();
        each.start();
        let waits = weak.clone();
        io_loop
            .spawn(async move {
                let mut ticks = interval(&waits, HOUR).unwrap();
                let late = timeout(&waits, HOUR, pending::<()>());
                let _ = future::zip(sleep(&waits, HOUR), future::zip(late, ticks.next())).await;
            })
            .detach();
        let folder = std::env::temp_dir().join(format!("locations-{}", std::process::id()));
        let _ = std::fs::remove_file(&folder);
        let _sockets = way.run(&io_loop, async {
            let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:0").unwrap();
            let address = listener.get_ref().local_addr().unwrap();
            let connecting = Async::<TcpStream>::connect(&io_loop, address);
            let tcp = future::zip(listener.accept(&io_loop), connecting).await;
            let unix = Async::<UnixListener>::bind(&io_loop, &folder).unwrap();
            let connecting = Async::<UnixStream>::connect(&io_loop, &folder);
            let accepted = future::zip(unix.accept(&io_loop), connecting).await;
            let udp = Async::<UdpSocket>::bind(&io_loop, "127.0.0.1:0").unwrap();
            let tcp = (tcp.0.unwrap(), tcp.1.unwrap());
            (listener, tcp, unix, (accepted.0.unwrap(), accepted.1.unwrap()), udp)
        });
        std::fs::remove_file(&folder).unwrap();
        all_are_here(&io_loop, 8 + 3 + 14);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_waits_for_room_is_listed_by_the_line_that_connects() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    every_way(|way| {
        let io_loop = way.io_loop();
        let path = std::env::temp_dir().join(format!("locations-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        let mut connecting = Box::pin(Async::<UnixStream>::connect(&io_loop, &path));
        let connected = way.run(&io_loop, future::poll_once(&mut connecting));
        assert!(connected.is_none(), "there is room");
        all_are_here(&io_loop, 1);
        std::fs::remove_file(&path).unwrap();
    });
}
