//! Compiles what is written in C, where its libraries are installed: the peers, each a program of
//! its own, and the clock of a program that is counted.

include!("compile.rs");

const PEERS: [(&str, &[&str]); 3] = [
    ("libuv", &["-luv"]),
    ("libevent", &["-levent_core", "-levent_pthreads"]),
    ("slow_clock", &["-shared", "-fPIC", "-ldl"]),
];

fn main() {
    for (name, flags) in PEERS {
        compile(name, &[flags.iter().map(|flag| (*flag).to_owned()).collect()]);
    }
}
