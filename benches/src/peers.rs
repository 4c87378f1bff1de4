//! The peers that are programs of their own, under `peers/`: a source in C for each library,
//! compiled by `build.rs`, and a script in Python.
//!
//! Such a program is called with a workload, the operations of the warm-up and of the sample, and
//! the workload's parameters. It prints a value for each column.

use std::process::{Command, Stdio};

use crate::harness::Contender;

/// A library, and how to get at it.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    kind: Kind,
    /// What brings the library.
    install: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The path is empty where the library was missing.
    C {
        path: &'static str,
    },
    Python {
        module: &'static str,
    },
}

pub(crate) const LIBUV: Program = Program {
    name: "libuv",
    kind: Kind::C { path: env!("PEER_LIBUV") },
    install: "a C compiler and Debian's libuv1-dev, and build again",
};
pub(crate) const LIBEVENT: Program = Program {
    name: "libevent",
    kind: Kind::C { path: env!("PEER_LIBEVENT") },
    install: "a C compiler and Debian's libevent-dev, and build again",
};
const ASYNCIO: Program =
    Program { name: "asyncio", kind: Kind::Python { module: "asyncio" }, install: "python3" };
const UVLOOP: Program = Program {
    name: "uvloop",
    kind: Kind::Python { module: "uvloop" },
    install: "python3, and `pip install uvloop`",
};
const TORNADO: Program = Program {
    name: "Tornado",
    kind: Kind::Python { module: "tornado" },
    install: "python3, and `pip install tornado`",
};

/// What a loop in Python takes ten times as long for, it does a tenth as often.
const PYTHON_DOES: u64 = 10;

impl Program {
    /// What has to be installed first.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        let there = match self.kind {
            Kind::C { path } => !path.is_empty(),
            Kind::Python { module } => {
                let mut command = Command::new("python3");
                command.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            }
        };
        (!there).then_some(self.install)
    }

    /// How many operations it does where a loop does that many.
    pub(crate) fn share(&self, operations: u64) -> u64 {
        match self.kind {
            Kind::C { .. } => operations,
            Kind::Python { .. } => operations / PYTHON_DOES,
        }
    }

    /// Runs it, for the values that it prints.
    pub(crate) fn run(
        &self,
        work: &str,
        warm_up: u64,
        operations: u64,
        parameters: &[u64],
    ) -> Vec<f64> {
        let output = self.command(work, warm_up, operations, parameters).output();
        let output = output.unwrap_or_else(|error| panic!("running {}: {error}", self.name));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} failed at {work}: {errors}", self.name);
        values(&output.stdout)
    }

    /// That of its library.
    pub(crate) fn version(&self) -> Option<String> {
        let output = self.command("version", 0, 0, &[]).output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(version).filter(|_| output.status.success())
    }

    fn command(&self, work: &str, warm_up: u64, operations: u64, parameters: &[u64]) -> Command {
        let mut command = match self.kind {
            Kind::C { path } => Command::new(path),
            Kind::Python { module } => {
                let mut python = Command::new("python3");
                python.args([concat!(env!("CARGO_MANIFEST_DIR"), "/peers/loops.py"), module]);
                python
            }
        };
        command.arg(work).args([warm_up, operations].map(|n| n.to_string()));
        command.args(parameters.iter().map(u64::to_string));
        command
    }
}

/// Reads what a sample has printed.
pub(crate) fn values(output: &[u8]) -> Vec<f64> {
    let text = String::from_utf8_lossy(output);
    text.split_whitespace().map(|value| value.parse().expect("a number")).collect()
}

/// The libraries in C.
pub(crate) const C: [Program; 2] = [LIBUV, LIBEVENT];

/// The loops in Python.
pub(crate) const PYTHON: [Program; 3] = [ASYNCIO, UVLOOP, TORNADO];

/// Those of them with asyncio's protocols.
pub(crate) const PROTOCOLS: [Program; 2] = [ASYNCIO, UVLOOP];

/// These programs at a workload that they know.
pub(crate) fn contenders(
    programs: &[Program],
    work: &'static str,
    parameters: &[u64],
) -> Vec<Contender> {
    let contender = |program: &Program| {
        let parameters = parameters.to_vec();
        Contender::program(*program, move |program, warm_up, operations| {
            let [warm_up, operations] = [warm_up, operations].map(|n| program.share(n));
            program.run(work, warm_up, operations, &parameters)
        })
    };
    programs.iter().map(contender).collect()
}
