//! What `make install` puts on a system, and the README's programs and commands on it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::commands::{lines, made, succeed, text};
use crate::header::functions;

/// Where the system begins that things are installed on, if there is a `make`.
fn root() -> Option<&'static Path> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let root = made("root");
        let _ = fs::remove_dir_all(&root);
        make(&["all", "install"], &root).map(|()| root)
    });
    root.as_deref()
}

fn make(goals: &[&str], root: &Path) -> Option<()> {
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR")).args(goals).arg("PREFIX=/usr");
    make.arg(format!("DESTDIR={}", root.display()));
    make.arg(format!("BUILD={}", made("build").display()));
    succeed(&mut make).map(|_| ())
}

/// All files under a folder, with what the links among them lead to.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => {
                found.extend(files(&entry.path()).iter().map(|file| format!("{name}/{file}")));
            }
            kind if kind.is_symlink() => {
                let target = fs::read_link(entry.path()).unwrap();
                found.insert(format!("{name} -> {}", target.display()));
            }
            _ => drop(found.insert(name)),
        }
    }
    found
}

#[test]
fn make_install_and_uninstall() {
    let Some(root) = root() else { return };
    let version = env!("CARGO_PKG_VERSION");
    let mut expected = BTreeSet::from([
        "usr/include/ioloop.h".to_owned(),
        "usr/lib/libioloop.a".to_owned(),
        "usr/lib/libioloop.so -> libioloop.so.0".to_owned(),
        format!("usr/lib/libioloop.so.0 -> libioloop.so.{version}"),
        format!("usr/lib/libioloop.so.{version}"),
        "usr/lib/pkgconfig/ioloop.pc".to_owned(),
        "usr/share/man/man3/ioloop.3".to_owned(),
    ]);
    for function in functions(&text("include/ioloop.h")) {
        expected.insert(format!("usr/share/man/man3/{function}.3 -> ioloop.3"));
    }
    assert_eq!(files(root), expected);

    let other = made("other-root");
    let _ = fs::remove_dir_all(&other);
    // As by root, who has no cargo.
    make(&["install", "CARGO=false"], &other).unwrap();
    make(&["uninstall"], &other).unwrap();
    assert_eq!(files(&other), BTreeSet::new());
}

#[test]
fn the_libraries_export_the_functions_of_the_header_and_are_small() {
    let Some(root) = root() else { return };
    let declared = functions(&text("include/ioloop.h"));
    for (library, options, limit) in [
        ("libioloop.so", ["-D", "--defined-only", "-j"].as_slice(), 1 << 20),
        ("libioloop.a", ["-g", "--defined-only", "-j"].as_slice(), 3 << 20),
    ] {
        let library = root.join("usr/lib").join(library);
        let Some(exported) = lines(Command::new("nm").args(options).arg(&library)) else { return };
        let names = exported.into_iter().filter(|line| !line.is_empty() && !line.ends_with(':'));
        assert_eq!(names.collect::<BTreeSet<_>>(), declared, "{}", library.display());
        let size = fs::metadata(&library).unwrap().len();
        assert!(size < limit, "{} has {size} bytes", library.display());
    }
    let library = root.join("usr/lib/libioloop.so");
    let Some(dynamic) = lines(Command::new("readelf").arg("-d").arg(library)) else { return };
    let soname = dynamic.iter().find(|line| line.contains("SONAME")).unwrap();
    assert!(soname.ends_with("[libioloop.so.0]"), "{soname}");
}

/// The blocks of the README in a language.
fn blocks(language: &str) -> Vec<String> {
    let (readme, fence) = (text("README.md"), format!("```{language}\n"));
    let blocks = readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// Runs a command of the README where its program is, with what is installed.
fn shell(command: &str, folder: &Path) -> Option<()> {
    let root = root()?;
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).current_dir(folder);
    // In the place of those of the system that this runs on.
    shell.env("PKG_CONFIG_LIBDIR", root.join("usr/lib/pkgconfig"));
    shell.env("PKG_CONFIG_SYSROOT_DIR", root);
    // As if the folder were none of the linker's own, which pkg-config leaves out.
    shell.env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1").env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1");
    succeed(Command::new("pkg-config").arg("--version"))?;
    succeed(&mut shell).map(|_| ())
}

fn start(program: &Path) -> Child {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", root().unwrap().join("usr/lib"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn the_readmes_program_is_built_in_each_of_its_ways_and_runs() {
    let folder = made("readme");
    fs::create_dir_all(&folder).unwrap();
    let [program] = blocks("c").try_into().unwrap();
    fs::write(folder.join("hello.c"), program).unwrap();
    let commands = blocks("sh");
    assert_eq!(commands.len(), 3);
    for command in commands {
        let Some(()) = shell(&command, &folder) else { return };
        let mut process = start(&folder.join("hello"));
        let mut stdin = process.stdin.take().unwrap();
        let mut says = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        stdin.write_all(b"hello\n").unwrap();
        let first = says.find(|line| !line.ends_with("seconds"));
        assert_eq!(first.as_deref(), Some("you wrote 6 bytes"), "{command}");
        let number = process.id().to_string();
        succeed(Command::new("kill").args(["-s", "INT", &number])).unwrap();
        let last = says.find(|line| !line.ends_with("seconds"));
        assert_eq!(last.as_deref(), Some("good bye"), "{command}");
        assert!(process.wait().unwrap().success(), "{command}");
    }
}

/// The command of the manual, too.
#[test]
fn the_manuals_program_compiles() {
    let manual = text("ioloop.3");
    let program = manual.split(".Bd -literal -offset indent\n").nth(1).unwrap();
    let program = program.split(".Ed\n").next().unwrap().replace("\\e", "\\");
    let folder = made("manual");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("tick.c"), program).unwrap();
    let command = manual.lines().find_map(|line| line.strip_prefix(".Dl ")).unwrap();
    let Some(()) = shell(&format!("{command} -Wall -Wextra -pedantic -Werror"), &folder) else {
        return;
    };
    assert!(folder.join("a.out").exists());
}
