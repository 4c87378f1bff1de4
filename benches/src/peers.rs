//! The peers that are programs of their own, under `peers/`: a source in C for each library,
//! compiled by `build.rs`, and a script in Python.

pub(crate) use ioloop_benches::program::{Program, contenders};

pub(crate) const LIBUV: Program = Program::in_c(
    "libuv",
    env!("PEER_LIBUV"),
    "a C compiler and Debian's libuv1-dev, and build again",
);
pub(crate) const LIBEVENT: Program = Program::in_c(
    "libevent",
    env!("PEER_LIBEVENT"),
    "a C compiler and Debian's libevent-dev, and build again",
);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/loops.py");
const ASYNCIO: Program = Program::in_python("asyncio", SCRIPT, "asyncio", "python3");
const UVLOOP: Program =
    Program::in_python("uvloop", SCRIPT, "uvloop", "python3, and `pip install uvloop`");
const TORNADO: Program =
    Program::in_python("Tornado", SCRIPT, "tornado", "python3, and `pip install tornado`");

/// The libraries in C.
pub(crate) const C: [Program; 2] = [LIBUV, LIBEVENT];

/// The loops in Python.
pub(crate) const PYTHON: [Program; 3] = [ASYNCIO, UVLOOP, TORNADO];

/// Those of them with asyncio's protocols.
pub(crate) const PROTOCOLS: [Program; 2] = [ASYNCIO, UVLOOP];
