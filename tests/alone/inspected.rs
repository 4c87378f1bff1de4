//! The feature `inspect`: the path that a program gets without a choice, and a forked child.
// To set a variable is unsafe.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use ioloop::IOLoop;
use ioloop::backends::BackendKind;
use ioloop::inspect::{Inspector, open, open_at};
use rustix::process::geteuid;
use testkit::alone::{alone, end_at_first_panic};
use testkit::ways::every_way;

use super::fork::{fork, wait_for};

/// A folder of a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("{name}-{}", process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn picture(inspector: &Inspector) -> String {
    let stream = UnixStream::connect(inspector.path()).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.take_while(|line| !line.starts_with("end ")).collect::<Vec<_>>().join("\n")
}

fn named(name: &str) -> IOLoop {
    IOLoop::builder().backend(BackendKind::Bare).name(name).build().unwrap()
}

#[test]
fn a_child_leaves_the_socket_to_its_parent_and_may_have_its_own() {
    alone(module_path!(), "a_child_leaves_the_socket_to_its_parent_and_may_have_its_own", || {
        end_at_first_panic();
        let folder = Folder::new("inspected-fork");
        let inspector = open_at(folder.0.join("parent")).unwrap();
        let _parent = named("parent");
        assert!(picture(&inspector).contains("name=parent "));
        let inspector = RefCell::new(Some(inspector));
        wait_for(fork(|| {
            drop(inspector.take());
            let inspector = open_at(folder.0.join("child")).unwrap();
            let _child = named("child");
            let picture = picture(&inspector);
            assert!(picture.contains("name=child "), "{picture}");
            assert!(!picture.contains("name=parent "), "{picture}");
        }));
        let picture = picture(inspector.borrow().as_ref().unwrap());
        assert!(picture.contains("name=parent ") && !picture.contains("name=child "), "{picture}");
    });
}

#[test]
fn a_question_of_those_who_inspect_was_something_left_to_do() {
    alone(module_path!(), "a_question_of_those_who_inspect_was_something_left_to_do", || {
        end_at_first_panic();
        let folder = Folder::new("inspected-empty");
        let inspector = open_at(folder.0.join("socket")).unwrap();
        every_way(|way| {
            let io_loop = way.io_loop();
            // It is asked, and answers in a turn that nobody makes.
            assert!(picture(&inspector).contains(" state=left "));
            assert!(io_loop.is_empty());
            assert_eq!(io_loop.metrics().queued, 0);
            // An answer is no callback.
            way.run(&io_loop, async {});
            assert!(io_loop.is_empty());
            assert_eq!(io_loop.metrics().callbacks, 0);
        });
    });
}

/// Opens without a path, with these variables.
fn open_with(folder: &Path, run: &str) -> std::io::Result<Inspector> {
    // SAFETY: no other thread of this process reads or writes its variables.
    unsafe {
        env::set_var("TMPDIR", folder);
        env::set_var("XDG_RUNTIME_DIR", run);
    }
    open()
}

#[test]
fn without_a_path_it_is_that_of_the_user_and_the_process() {
    alone(module_path!(), "without_a_path_it_is_that_of_the_user_and_the_process", || {
        end_at_first_panic();
        let folder = Folder::new("inspected-path");
        let name = format!("ioloop-{}.sock", process::id());
        let inspector = open_with(&folder.0, folder.0.to_str().unwrap()).unwrap();
        assert_eq!(inspector.path(), folder.0.join(&name));
        drop(inspector);
        // A system without such a folder.
        let own = folder.0.join(format!("ioloop-{}", geteuid().as_raw()));
        let inspector = open_with(&folder.0, "").unwrap();
        assert_eq!(inspector.path(), own.join(&name));
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        drop(inspector);
        // One that others may enter may be another user's.
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = open_with(&folder.0, "").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    });
}
