//! Alone in its process, since the next file has to get the number that was closed.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use ioloop::{IOLoop, Reactor};
use ioloop_hiredis::{Connection, Error};

use testkit::server::redis::Server;

#[test]
fn a_socket_whose_number_is_another_files_by_now_is_left_alone() {
    let Some(mut server) = Server::start_or_skip() else { return };
    let io_loop = IOLoop::new().unwrap();
    let redis = io_loop.run_sync(Connection::connect(io_loop.clone(), server.socket())).unwrap();
    let redis = redis.unwrap();
    let is_socket = |link: &std::path::Path| link.to_string_lossy().starts_with("socket:");
    let sockets = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let is_socket = |path| std::fs::read_link(path).is_ok_and(|link| is_socket(&link));
        let sockets = entries.filter(|entry| is_socket(entry.path()));
        let number = |name: std::ffi::OsString| name.to_string_lossy().parse::<i32>().unwrap();
        sockets.map(|entry| number(entry.file_name())).collect::<Vec<_>>()
    };
    let before = sockets();
    server.kill().unwrap();
    assert!(matches!(io_loop.run_sync(redis.ended()).unwrap(), Error::Lost(_)));
    let closed: Vec<_> = before.into_iter().filter(|number| !sockets().contains(number)).collect();
    let [closed] = closed[..] else { panic!("{closed:?}") };

    let (ours, mut theirs) = UnixStream::pair().unwrap();
    assert!([ours.as_raw_fd(), theirs.as_raw_fd()].contains(&closed), "the lowest free number");
    let read = Rc::new(Cell::new(0));
    let count = Rc::clone(&read);
    io_loop
        .add_reader(ours, move |mut socket: &UnixStream| {
            count.set(count.get() + socket.read(&mut [0; 8]).unwrap());
            IOLoop::current().unwrap().stop();
        })
        .unwrap();
    // What is left of the connection is used, and dropped.
    assert!(matches!(io_loop.run_sync(redis.command(["PING"])).unwrap(), Err(Error::Lost(_))));
    drop(redis);
    theirs.write_all(b"x").unwrap();
    io_loop.start().unwrap();
    assert_eq!((read.get(), io_loop.metrics().watches), (1, 1));
}
