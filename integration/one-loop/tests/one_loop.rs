//! The program beside real servers, and without one of them.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use testkit::server::{postgres, redis};

const FILES: usize = 30;

/// Serves the path of each request as its body, until the program has all of them.
fn web(listener: TcpListener) -> io::Result<()> {
    for _ in 0..FILES {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        let path =
            String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
        let length = path.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{path}"
        )?;
    }
    Ok(())
}

fn run(socket: &Path, directory: &Path, urls: &[String]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_one-loop"));
    let output = program.arg(socket).arg(directory).args(urls).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn four_libraries_on_one_loop() {
    let (Some(mut redis), Some(postgres)) =
        (redis::Server::start_or_skip(), postgres::Server::start_or_skip())
    else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || web(listener));
    let urls: Vec<_> = (0..FILES).map(|file| format!("http://{address}/{file}")).collect();
    let said = run(&redis.socket(), postgres.directory(), &urls);
    serving.join().unwrap().unwrap();
    for (file, url) in urls.iter().enumerate() {
        let length = format!("/{file}").len();
        assert!(said.contains(&format!("{url}: {length} bytes")), "{said}");
    }
    for line in
        ["\"localhost: [", "\"127.0.0.1: [127.0.0.1]\"", "\"Redis: Ada\"", "\"PostgreSQL: 42\""]
    {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!said.contains("error"), "{said}");

    // Without one of them the others go on, and the error names it.
    redis.kill().unwrap();
    let said = run(&redis.socket(), postgres.directory(), &[]);
    assert!(said.contains("error: Redis: ") && said.contains("\"PostgreSQL: 42\""), "{said}");
}

#[test]
fn it_is_as_short_as_it_is_said_to_be() {
    let program = include_str!("../src/main.rs");
    let lines = program.lines().filter(|line| !line.is_empty() && !line.starts_with("//!"));
    assert!(lines.count() < 60);
}
