//! `examples/echo.c` with its clients, under valgrind where that is installed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::commands::{cc, made, succeed, valgrind};
use crate::programs::shared;

struct Server {
    process: Child,
    says: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(patience: &str) -> Option<Server> {
        // Two tests may compile it at once.
        let program = made(&format!("echo-{patience}"));
        let mut cc = cc("c11");
        cc.args(["-Iinclude", "examples/echo.c", "-o"]).arg(&program).arg(shared());
        succeed(&mut cc)?;
        let arguments = ["0", patience];
        let mut watched = match succeed(Command::new("valgrind").arg("--version")) {
            Some(_) => {
                let mut valgrind = valgrind();
                valgrind.arg(program);
                valgrind
            }
            None => Command::new(program),
        };
        let started = watched.args(arguments).stdout(Stdio::piped()).spawn();
        let mut process = started.unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        let mut server = Server { process, says, port: 0 };
        server.port = server.line().rsplit(' ').next().unwrap().parse().unwrap();
        Some(server)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap()
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        succeed(Command::new("kill").args(["-s", name, &process])).unwrap();
    }

    /// The connections that it says it has, once these are so many.
    fn wait_for(&mut self, connections: usize) {
        let awaited = format!("{connections} connections");
        loop {
            self.signal("USR1");
            if self.line() == awaited {
                return;
            }
        }
    }

    fn end(mut self) {
        self.signal("TERM");
        assert_eq!(self.line(), "signal 15: good bye");
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn a_server_in_c_with_timers_and_signals() {
    let Some(mut server) = Server::start("60") else { return };
    let mut clients: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
    for (client, letter) in clients.iter_mut().zip("abcde".bytes()) {
        client.write_all(&[letter; 3]).unwrap();
        let mut back = [0; 3];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, [letter; 3]);
    }
    server.wait_for(5);
    clients.truncate(2);
    server.wait_for(2);

    // More than the buffers of both sockets hold: the server has to wait until it can write.
    let sent: Vec<u8> = (0..4_000_000_u32).map(|number| number as u8).collect();
    let mut writer = clients[0].try_clone().unwrap();
    let all = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&all).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    clients[0].read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == sent);
    server.wait_for(1);
    server.end(); // One is still connected.
}

#[test]
fn it_has_no_patience_with_a_client_that_says_nothing() {
    let Some(mut server) = Server::start("0.01") else { return };
    let mut client = server.connect();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.line(), "time is over");
    server.wait_for(0);
    server.end();
}
