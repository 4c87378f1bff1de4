//! Pipes, sockets and eventfds: what each tells a reader and a writer, on every backend.

use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use ioloop::backends::BackendKind;
use ioloop::{IOLoop, Reactor};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};

/// Runs `test` with an own loop of every backend; one that hangs is stopped, and misses what it
/// waits for.
fn on_each(mut test: impl FnMut(&IOLoop)) {
    for kind in BackendKind::ALL {
        if kind.is_compiled() {
            let io_loop = IOLoop::builder().backend(kind).build().unwrap();
            io_loop.call_later(Duration::from_secs(60), stop);
            test(&io_loop);
        }
    }
}

fn stop() {
    IOLoop::current().unwrap().stop();
}

/// One turn, which does not wait.
fn pass(io_loop: &IOLoop) {
    io_loop.stop();
    io_loop.start().unwrap();
}

fn pipe() -> (File, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    (reader.into(), writer.into())
}

fn fill(mut file: &File) {
    while file.write(&[0; 4096]).is_ok() {}
}

type Log = Rc<RefCell<Vec<String>>>;

#[test]
fn a_writer_that_waits_on_a_full_pipe_is_woken_when_the_read_end_closes() {
    on_each(|io_loop| {
        let (reader, writer) = pipe();
        fill(&writer);
        let log = Log::default();
        let errors = Rc::clone(&log);
        io_loop
            .add_writer(writer, move |mut writer| {
                let error = writer.write(&[0]).unwrap_err();
                errors.borrow_mut().push(format!("{:?}", error.kind()));
                stop();
            })
            .unwrap();
        pass(io_loop);
        assert!(log.borrow().is_empty(), "there is no room");
        drop(reader);
        io_loop.start().unwrap();
        assert_eq!(*log.borrow(), [format!("{:?}", ErrorKind::BrokenPipe)]);
    });
}

#[test]
fn a_pipe_that_was_read_from_has_room_again() {
    on_each(|io_loop| {
        let (mut reader, writer) = pipe();
        fill(&writer);
        let log = Log::default();
        let calls = Rc::clone(&log);
        io_loop
            .add_writer(writer, move |mut writer| {
                calls.borrow_mut().push(format!("{:?}", writer.write(&[0])));
                stop();
            })
            .unwrap();
        pass(io_loop);
        assert!(log.borrow().is_empty(), "there is no room");
        reader.read_exact(&mut [0; 8192]).unwrap();
        io_loop.start().unwrap();
        assert_eq!(*log.borrow(), ["Ok(1)"]);
    });
}

#[test]
fn the_end_of_a_pipe_wakes_its_reader_after_the_last_byte() {
    on_each(|io_loop| {
        let (reader, mut writer) = pipe();
        let log = Log::default();
        let reads = Rc::clone(&log);
        io_loop
            .add_reader(reader, move |mut reader| {
                let n = reader.read(&mut [0]).unwrap();
                reads.borrow_mut().push(n.to_string());
                if n == 0 {
                    stop();
                }
            })
            .unwrap();
        writer.write_all(b"ab").unwrap();
        drop(writer);
        io_loop.start().unwrap();
        assert_eq!(*log.borrow(), ["1", "1", "0"]);
    });
}

#[test]
fn an_eventfd_is_readable_while_it_counts() {
    on_each(|io_loop| {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let counter: Rc<OwnedFd> = Rc::new(counter.unwrap());
        let log = Log::default();
        let reads = Rc::clone(&log);
        io_loop
            .add_reader(Rc::clone(&counter), move |counter| {
                let mut count = [0; 8];
                rustix::io::read(counter, &mut count).unwrap();
                reads.borrow_mut().push(u64::from_ne_bytes(count).to_string());
            })
            .unwrap();
        pass(io_loop);
        assert!(log.borrow().is_empty());
        for _ in 0..2 {
            rustix::io::write(&counter, &3_u64.to_ne_bytes()).unwrap();
        }
        pass(io_loop);
        pass(io_loop);
        assert_eq!(*log.borrow(), ["6"]);
    });
}

#[test]
fn a_connection_that_was_refused_wakes_both_directions() {
    on_each(|io_loop| {
        // A port that is taken, but that nobody listens on.
        let new = || rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let deaf = new();
        rustix::net::bind(&deaf, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = rustix::net::getsockname(&deaf).unwrap();
        let socket = new();
        fcntl_setfl(&socket, OFlags::NONBLOCK).unwrap();
        // It may be refused at once, over loopback; the socket remembers.
        let _ = rustix::net::connect(&socket, &address);
        let stream = Rc::new(TcpStream::from(socket));
        let log = Log::default();
        let (reads, writes) = (Rc::clone(&log), Rc::clone(&log));
        io_loop
            .add_reader(Rc::clone(&stream), move |stream| {
                reads.borrow_mut().push("reader".to_owned());
                IOLoop::current().unwrap().remove_reader(stream);
            })
            .unwrap();
        io_loop
            .add_writer(stream, move |stream| {
                writes.borrow_mut().push("writer".to_owned());
                IOLoop::current().unwrap().remove_writer(stream);
                stop();
            })
            .unwrap();
        io_loop.start().unwrap();
        assert_eq!(*log.borrow(), ["reader", "writer"]);
    });
}

#[test]
fn watching_changes_no_flag_of_any_descriptor() {
    on_each(|io_loop| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (nonblocking, _) = pipe();
        let descriptors: [OwnedFd; 5] =
            [reader, writer, udp.into(), tcp.into(), nonblocking.into()];
        for descriptor in descriptors {
            let descriptor = Rc::new(descriptor);
            let before = fcntl_getfl(&descriptor).unwrap();
            let shared = || Rc::clone(&descriptor);
            let reader = io_loop.add_reader(shared(), |_| ()).unwrap();
            let writer = io_loop.add_writer(shared(), |_| ()).unwrap();
            pass(io_loop);
            assert_eq!(fcntl_getfl(descriptor.as_fd()).unwrap(), before);
            assert!(reader.remove() && writer.remove());
            assert_eq!(fcntl_getfl(descriptor.as_fd()).unwrap(), before);
        }
    });
}

/// `depth` epoll files, each in the next one.
fn nested(depth: usize) -> Vec<OwnedFd> {
    let mut nest: Vec<OwnedFd> = Vec::new();
    for _ in 0..depth {
        let outer = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        if let Some(inner) = nest.last() {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&outer, inner, data, epoll::EventFlags::IN).unwrap();
        }
        nest.push(outer);
    }
    nest
}

/// The loop's own set is one more level, and a host's another one.
#[test]
fn a_nest_that_the_host_refused_was_too_many_symbolic_links() {
    let mut refused = Vec::new();
    for depth in 1..=4 {
        on_each(|io_loop| {
            let mut nest = nested(depth);
            io_loop.add_reader(nest.pop().unwrap(), |_| ()).unwrap();
            io_loop.call_soon(stop);
            // Asleep for a moment, so a host is asked.
            io_loop.call_later(Duration::from_millis(1), stop);
            if let Err(error) = io_loop.start().and_then(|()| io_loop.start()) {
                let io = std::io::Error::from(error);
                assert_eq!(io.kind(), ErrorKind::InvalidInput);
                assert!(io.to_string().contains("BackendKind::Bare"), "{io}");
                assert_eq!(ioloop::os_error(&io), Some(rustix::io::Errno::LOOP.raw_os_error()));
                refused.push((depth, io_loop.backend_name().to_owned()));
            }
        });
    }
    let bare = refused.iter().find(|(_, backend)| backend == "bare");
    assert_eq!(bare, None, "it has no host");
    let tokio = refused.iter().filter(|(_, backend)| backend == "tokio").count();
    assert_eq!(tokio, usize::from(BackendKind::Tokio.is_compiled()), "{refused:?}");
}
