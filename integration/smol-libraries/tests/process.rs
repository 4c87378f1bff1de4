//! async-process: child processes and their pipes, in tasks of a loop on tokio.

mod hosts;

use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

use async_process::{Command, Stdio};
use futures_lite::{AsyncWriteExt, future};
use hosts::{cancel, everywhere};
use ioloop::{Async, deferred};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn the_output_and_the_status_of_a_child_arrive() {
    everywhere(async |io_loop, way| {
        // More than a pipe holds, in both directions.
        let input: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
        let expected = input.clone();
        let running = async move {
            let mut command = shell("cat; echo complaint >&2; exit 3");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            let mut stdin = child.stdin.take().expect("it is piped");
            let feeding = async move { stdin.write_all(&input).await };
            let ((), output) = future::try_zip(feeding, child.output()).await?;
            io::Result::Ok(output)
        };
        let output = way.run(io_loop, running).await.unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(output.stdout == expected, "{} bytes came, or others", output.stdout.len());
        assert_eq!(output.stderr, b"complaint\n");
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    everywhere(async |io_loop, way| {
        let running = async { Command::new("/nonexistent/program").status().await };
        let error = way.run(io_loop, running).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_child_that_is_killed_says_by_what() {
    everywhere(async |io_loop, way| {
        let running = async {
            let mut child = shell("exec sleep 1000").spawn()?;
            assert!(future::poll_once(child.status()).await.is_none(), "it sleeps");
            child.kill()?;
            child.status().await
        };
        let status = way.run(io_loop, running).await.unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(9)));
    });
}

#[test]
fn a_task_that_is_cancelled_kills_its_child() {
    everywhere(async |io_loop, way| {
        // The child holds the other end as long as it lives.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(io_loop, ours).unwrap();
        let (begun, begins) = deferred();
        let running = async move {
            let mut command = shell("echo started; exec sleep 1000");
            command.stdout(OwnedFd::from(theirs)).kill_on_drop(true);
            let mut child = command.spawn()?;
            drop(command);
            let mut status = Box::pin(child.status());
            assert!(future::poll_once(status.as_mut()).await.is_none());
            let _ = begun.resolve(());
            status.await
        };
        let task = way.start(io_loop, running).await;
        let mut buffer = [0; 16];
        let n = ours.read_with(|mut ours| ours.read(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..n], b"started\n");
        cancel(task, begins).await;
        let n = ours.read_with(|mut ours| ours.read(&mut buffer)).await.unwrap();
        assert_eq!(n, 0, "the child is gone");
    });
}
