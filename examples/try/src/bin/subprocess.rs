//! Child processes: their pipes, a terminal of their own, their end, a time-out, and one that has
//! to be killed.
//!
//!     cargo run -p try --bin subprocess

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use futures_lite::future::zip;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::{Async, IOLoop, process, timeout};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use try_it::on_a_loop;

fn main() -> ExitCode {
    on_a_loop(async |io_loop, _| {
        let text = "a line for a child\n".repeat(10_000);
        let loud =
            through(io_loop, Command::new("tr").args(["a-z", "A-Z"]), text.as_bytes()).await?;
        if loud != text.to_uppercase().into_bytes() {
            return Err("tr has changed something else".into());
        }
        println!(
            "on {}: {} bytes through a child, every one right",
            io_loop.backend_name(),
            loud.len()
        );

        let said = on_a_terminal(
            io_loop,
            Command::new("sh").args(["-c", "test -t 1 && read name && echo hello $name"]),
            "Ada\n",
        )
        .await?;
        // The line is there twice: a terminal echoes.
        if said != "Ada\r\nhello Ada\r\n" {
            return Err(format!("another one has talked to the terminal: {said:?}").into());
        }
        println!("one that sees a terminal says {:?}", said.lines().last().unwrap_or_default());

        // One that does not end by itself is asked to, and then made to.
        let child = Command::new("sh").args(["-c", "trap '' TERM; exec sleep 1000"]).spawn()?;
        let exit = process::wait(io_loop, child)?;
        let handle = exit.handle();
        let mut exit = std::pin::pin!(exit);
        let patience = Duration::from_millis(100);
        if let Ok(ended) = timeout(io_loop, patience, exit.as_mut()).await {
            return Err(format!("it ended by itself: {}", ended?).into());
        }
        handle.terminate()?;
        let status = match timeout(io_loop, patience, exit.as_mut()).await {
            Ok(status) => status?,
            Err(_) => {
                handle.kill()?;
                exit.await?
            }
        };
        println!("the other one was made to end: {status}");
        Ok(())
    })
}

/// Writes all of `input` to a child, and reads all that it writes, at the same time: a pipe holds
/// 64 KiB, and one after the other would wait for each other.
async fn through(io_loop: &IOLoop, command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut stdin = pipe(io_loop, stdin.map(OwnedFd::from))?;
    let mut stdout = pipe(io_loop, stdout.map(OwnedFd::from))?;
    let exit = process::wait(io_loop, child)?;
    let writing = async {
        stdin.write_all(input).await?;
        drop(stdin); // the child reads the end
        io::Result::Ok(())
    };
    let mut output = Vec::new();
    let (written, read) = zip(writing, stdout.read_to_end(&mut output)).await;
    written.and(read)?;
    let status = exit.await?;
    match status.success() {
        true => Ok(output),
        false => Err(io::Error::other(format!("the child has failed: {status}"))),
    }
}

/// Types `input` on a terminal that a child has for its own, and reads what appears there.
async fn on_a_terminal(io_loop: &IOLoop, command: &mut Command, input: &str) -> io::Result<String> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = OsString::from_vec(ptsname(&ours, Vec::new())?.into_bytes());
    let theirs = File::options().read(true).write(true).open(name)?;
    command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
    let exit = process::wait(io_loop, command.spawn()?)?;
    // The child's end: the terminal has its own end when nobody holds it any more.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());

    let mut terminal = Async::new(io_loop, File::from(ours))?;
    terminal.write_all(input.as_bytes()).await?;
    let (mut screen, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        match terminal.read(&mut chunk).await {
            Ok(length) if length > 0 => screen.extend_from_slice(&chunk[..length]),
            // So Linux says that the other end was closed.
            Err(error) if error.raw_os_error() != Some(Errno::IO.raw_os_error()) => {
                return Err(error);
            }
            Ok(_) | Err(_) => break,
        }
    }
    match exit.await? {
        status if status.success() => String::from_utf8(screen).map_err(io::Error::other),
        status => Err(io::Error::other(format!("the child has failed: {status}"))),
    }
}

fn pipe(io_loop: &IOLoop, end: Option<OwnedFd>) -> io::Result<Async<File>> {
    Async::new(io_loop, File::from(end.ok_or(io::ErrorKind::BrokenPipe)?))
}
