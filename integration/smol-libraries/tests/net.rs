//! async-net: sockets that async-io's reactor watches, in tasks of a loop on tokio.

mod hosts;

use std::io::ErrorKind;
use std::net::Shutdown;

use async_net::unix::UnixStream;
use async_net::{TcpListener, TcpStream};
use futures_lite::{AsyncReadExt, AsyncWriteExt, future, io};
use hosts::{cancel, everywhere};
use ioloop::deferred;

/// More than any buffer between two ends holds.
const MUCH: usize = 4 << 20;

/// Bytes that show where they belong.
fn pattern() -> Vec<u8> {
    let mut bytes = Vec::from_iter(0..251).repeat(MUCH / 251 + 1);
    bytes.truncate(MUCH);
    bytes
}

#[test]
fn bytes_are_echoed_over_tcp() {
    everywhere(async |io_loop, way| {
        let listener = way.run(io_loop, TcpListener::bind("127.0.0.1:0")).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async move {
            let (stream, _) = listener.accept().await?;
            let echoed = io::copy(stream.clone(), stream.clone()).await?;
            stream.shutdown(Shutdown::Write)?;
            io::Result::Ok(echoed)
        };
        let serving = way.start(io_loop, serving).await;
        let asking = async move {
            let stream = TcpStream::connect(address).await?;
            let (mut reader, mut writer) = (stream.clone(), stream.clone());
            let mut received = Vec::new();
            let sending = async {
                writer.write_all(&pattern()).await?;
                stream.shutdown(Shutdown::Write)
            };
            future::try_zip(sending, reader.read_to_end(&mut received)).await?;
            io::Result::Ok(received)
        };
        let received = way.run(io_loop, asking).await.unwrap();
        assert!(received == pattern(), "{} bytes came, or others", received.len());
        assert_eq!(serving.await.unwrap().unwrap().unwrap(), MUCH as u64);
    });
}

#[test]
fn errors_arrive_as_they_are() {
    everywhere(async |io_loop, way| {
        let listener = way.run(io_loop, TcpListener::bind("127.0.0.1:0")).await.unwrap();
        let taken = TcpListener::bind(listener.local_addr().unwrap());
        let error = way.run(io_loop, taken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let nowhere = UnixStream::connect("/nonexistent/socket");
        let error = way.run(io_loop, nowhere).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_read_that_is_given_up_loses_no_byte() {
    everywhere(async |io_loop, way| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ((begun, begins), (held, dropped)) = (deferred(), deferred::<()>());
        let mut reader = ours.clone();
        let reading = async move {
            let _held = held;
            let mut buffer = [0; 8];
            let mut reading = Box::pin(reader.read(&mut buffer));
            assert!(future::poll_once(reading.as_mut()).await.is_none());
            let _ = begun.resolve(());
            reading.await
        };
        cancel(way.start(io_loop, reading).await, begins).await;
        // A poll that has begun over there runs to its end, and would find the bytes.
        assert!(dropped.await.unwrap_err().is_closed());
        theirs.write_all(b"whole").await.unwrap();
        let mut reader = ours;
        let reading = async move {
            let mut buffer = vec![0; 8];
            let n = reader.read(&mut buffer).await?;
            buffer.truncate(n);
            io::Result::Ok(buffer)
        };
        assert_eq!(way.run(io_loop, reading).await.unwrap(), b"whole");
    });
}

#[test]
fn a_task_that_is_cancelled_closes_its_socket() {
    everywhere(async |io_loop, way| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (begun, begins) = deferred();
        let reading = async move {
            let mut buffer = [0; 8];
            let mut reading = Box::pin(ours.read(&mut buffer));
            assert!(future::poll_once(reading.as_mut()).await.is_none());
            let _ = begun.resolve(());
            reading.await
        };
        cancel(way.start(io_loop, reading).await, begins).await;
        // In smol's own time, where it is polled there.
        let mut rest = Vec::new();
        assert_eq!(theirs.read_to_end(&mut rest).await.unwrap(), 0);
    });
}
