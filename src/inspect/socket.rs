//! The socket: made so that nobody else can open it, found again, and removed.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, path, thread};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::peer;

/// Milliseconds, which is far longer than anybody needs it who opens a socket.
const LOCK_TRIES: u32 = 1_000;

/// A socket in the file system, which is removed with this.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Which file it is: another process may have put its own there.
    file: (u64, u64),
    process: u32,
}

impl Socket {
    /// Binds a socket, which only this user can open as soon as it has its path.
    pub(super) fn open(path: &Path) -> io::Result<(UnixListener, Socket)> {
        let path = path::absolute(path)?;
        let in_way = |error: io::Error| {
            let text = format!("cannot open {} to inspect the process: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        Self::bind(&path).map_err(in_way)
    }

    fn bind(path: &Path) -> io::Result<(UnixListener, Socket)> {
        // It is bound elsewhere, by a shorter one, but peers connect by this.
        SocketAddr::from_pathname(path).map_err(|error| {
            let text = format!("no peer could connect to that path: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let _lock = Lock::of(path);
        clear(path)?;
        let folder = Folder::beside(path)?;
        let hidden = folder.0.join("s");
        let listener = UnixListener::bind(&hidden)?;
        let bound = Hidden(&hidden);
        fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let file = identity(&fs::symlink_metadata(&hidden)?);
        // Fails if there is something meanwhile, as a rename would not. What that is says `clear`.
        while let Err(error) = fs::hard_link(&hidden, path) {
            match error.kind() {
                io::ErrorKind::AlreadyExists => clear(path)?,
                _ => return Err(error),
            }
        }
        drop(bound);
        Ok((listener, Socket { path: path.to_owned(), file, process: process::id() }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_of_this_process(&self) -> bool {
        self.process == process::id()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            return;
        }
        let _lock = Lock::of(&self.path);
        let is_ours = |file: Metadata| identity(&file) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Removes the socket of a process that has ended.
fn clear(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if !file.file_type().is_socket() {
        let text = "there is something else than a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match peer::connect(path).map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound) => Ok(()),
        Err(io::ErrorKind::ConnectionRefused) => fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "a process listens there")),
    }
}

/// Held while the file at a path is replaced or removed, so nobody takes away what another has
/// put there meanwhile.
struct Lock {
    _folder: Option<File>,
}

impl Lock {
    /// That of the folder. Whoever may read it may keep the lock, so it is not waited for without
    /// end.
    fn of(path: &Path) -> Lock {
        let folder = path.parent().and_then(|folder| File::open(folder).ok());
        if let Some(folder) = &folder {
            for _ in 0..LOCK_TRIES {
                match flock(folder, FlockOperation::NonBlockingLockExclusive) {
                    Err(Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(1)),
                    _ => break,
                }
            }
        }
        Lock { _folder: folder }
    }
}

/// A folder that only this user can enter, and its name is short: so is that of a socket.
struct Folder(PathBuf);

impl Folder {
    fn beside(path: &Path) -> io::Result<Folder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = path.parent().unwrap_or(Path::new("/"));
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = parent.join(format!(".{}-{number}", process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                // Of a process that had the same number, and was killed at work.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Folder(folder)),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The path under which a socket is bound, removed with this.
struct Hidden<'a>(&'a Path);

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

/// The path that `ioloop-inspect` looks for.
pub(super) fn default_path() -> io::Result<PathBuf> {
    let folder = match env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => own_folder()?,
    };
    Ok(folder.join(format!("ioloop-{}.sock", process::id())))
}

/// A folder among the temporary files that is this user's alone.
fn own_folder() -> io::Result<PathBuf> {
    let user = geteuid().as_raw();
    let folder = env::temp_dir().join(format!("ioloop-{user}"));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder)?;
    if found.is_dir() && found.uid() == user && found.mode() & 0o077 == 0 {
        return Ok(folder);
    }
    let text = format!("{} is not this user's alone", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}
