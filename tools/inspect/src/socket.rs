//! The sockets of processes: where they are, and what they say.

use std::fmt::Write;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::io::ioctl_fionbio;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket};

use crate::Result;
use crate::picture::{Builder, Picture, shown};
use crate::screen::PATIENCE;

/// No line of a process is as long.
const LONGEST_LINE: u64 = 64 * 1024;

/// The pictures of a process, as they come. It ends when the process has.
pub(crate) type Pictures = Receiver<Picture>;

/// Connects to the process with that number, or to the socket with that path.
pub(crate) fn connect(target: &str) -> Result<Pictures> {
    let path = match target.parse::<u32>() {
        Ok(pid) => of_process(pid)?,
        Err(_) => PathBuf::from(target),
    };
    let socket = connect_within(&path, PATIENCE)
        .map_err(|error| format!("cannot connect to {}: {error}", path.display()))?;
    // What is not taken for a while is not kept: the process leaves pictures out then.
    let (sender, pictures) = sync_channel(1);
    thread::spawn(move || {
        let (mut lines, mut builder) = (BufReader::new(socket), Builder::default());
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let picture = builder.add(&String::from_utf8_lossy(&line));
            if picture.is_some_and(|picture| sender.send(picture).is_err()) {
                return;
            }
        }
    });
    Ok(pictures)
}

/// Connects without a wait. A process that is stopped accepts nobody, and what waits to be accepted
/// is kept up to some number.
fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    ioctl_fionbio(&socket, false)?;
    Ok(socket.into())
}

/// Connects as soon as there is room for it.
fn connect_within(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match connect_at_once(path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            connected => return connected,
        }
        if begun.elapsed() >= patience {
            let text = format!(
                "its process has accepted nobody for {} s: it is stopped, or has no time for it",
                patience.as_secs()
            );
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        thread::sleep(patience / 100);
    }
}

/// The folders in which processes open their sockets by themselves.
fn folders() -> Vec<PathBuf> {
    let run = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    // Without it they stand among the temporary files, in a folder with the user's number.
    let user = rustix::process::geteuid().as_raw();
    let temporary = env::temp_dir().join(format!("ioloop-{user}"));
    run.map(PathBuf::from).into_iter().chain([temporary]).collect()
}

fn of_process(pid: u32) -> Result<PathBuf> {
    let folders = folders();
    let paths = folders.iter().map(|folder| folder.join(format!("ioloop-{pid}.sock")));
    if let Some(found) = paths.into_iter().find(|path| path.exists()) {
        return Ok(found);
    }
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let named = match env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => format!("XDG_RUNTIME_DIR is {}", folder.display()),
        None => "XDG_RUNTIME_DIR is not set".into(),
    };
    Err(format!(
        "process {pid} has opened no socket in {}, where they are looked for ({named} here); does \
         it call `ioloop::inspect::open`, and are you the same user, with the same \
         XDG_RUNTIME_DIR? If not, give the path of its socket",
        folders.join(" or "),
    )
    .into())
}

/// The processes that can be seen, a line for each. Sockets that nobody listens to are removed.
pub(crate) fn list() -> Result<String> {
    let mut lines = Vec::new();
    for folder in folders() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| {
                name.strip_prefix("ioloop-")?.strip_suffix(".sock")?.parse::<u32>().ok()
            });
            let Some(pid) = pid else { continue };
            let path = entry.path();
            match connect_at_once(&path).map_err(|error| error.kind()) {
                Ok(_) | Err(ErrorKind::WouldBlock) => lines.push((pid, path)),
                Err(ErrorKind::ConnectionRefused) => {
                    let _ = fs::remove_file(&path);
                }
                Err(_) => {}
            }
        }
    }
    if lines.is_empty() {
        return Ok("no process that you may see has opened a socket: call \
                   `ioloop::inspect::open` in one\n"
            .into());
    }
    lines.sort();
    let mut text = format!("{:>8}  {:<16}  {}\n", "PID", "PROGRAM", "SOCKET");
    for (pid, path) in lines {
        writeln!(text, "{pid:>8}  {:<16}  {}", program(pid), path.display())?;
    }
    Ok(text)
}

fn program(pid: u32) -> String {
    let name = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"));
    name.map(|name| name.trim_end().chars().map(shown).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_accepted_nobody_was_waited_for_without_end() {
        let path = env::temp_dir().join(format!("ioloop-full-{}", std::process::id()));
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut connected = Vec::new();
        let error = loop {
            match connect_within(&path, Duration::from_millis(1)) {
                Ok(peer) => connected.push(peer),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("it is stopped, or has no time for it"), "{error}");
        assert!(!connected.is_empty());
        fs::remove_file(&path).unwrap();
        let error = connect_within(&path, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
