//! Contenders that are programs of their own: in C, compiled by a build script, or a script in
//! Python.
//!
//! Such a program is called with a workload, the operations of the warm-up and of the sample, and
//! the workload's parameters. It prints a value for each column.

use std::process::{Command, Stdio};

use crate::count;
use crate::harness::Contender;

/// A library, and how to get at it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The library's.
    pub name: &'static str,
    kind: Kind,
    /// What brings the library.
    install: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    C { path: &'static str },
    Python { script: &'static str, module: &'static str },
}

/// What a loop in Python takes ten times as long for, it does a tenth as often.
const PYTHON_DOES: u64 = 10;

impl Program {
    /// The path of one in C is empty where its library was missing when this was built.
    pub const fn in_c(name: &'static str, path: &'static str, install: &'static str) -> Self {
        Program { name, kind: Kind::C { path }, install }
    }

    /// A script is called with the module in front of all else.
    pub const fn in_python(
        name: &'static str,
        script: &'static str,
        module: &'static str,
        install: &'static str,
    ) -> Self {
        Program { name, kind: Kind::Python { script, module }, install }
    }

    /// What has to be installed first.
    pub fn missing(&self) -> Option<&'static str> {
        let there = match self.kind {
            Kind::C { path } => !path.is_empty(),
            Kind::Python { module, .. } => {
                let mut command = Command::new("python3");
                command.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            }
        };
        (!there).then_some(self.install)
    }

    /// How many operations it does where a loop does that many.
    pub fn share(&self, operations: u64) -> u64 {
        match self.kind {
            Kind::C { .. } => operations,
            Kind::Python { .. } => operations / PYTHON_DOES,
        }
    }

    /// Runs it, for the values that it prints.
    ///
    /// # Panics
    ///
    /// It fails.
    pub fn run(&self, work: &str, warm_up: u64, operations: u64, parameters: &[u64]) -> Vec<f64> {
        let output = self.command(work, warm_up, operations, parameters).output();
        let output = output.unwrap_or_else(|error| panic!("running {}: {error}", self.name));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} failed at {work}: {errors}", self.name);
        values(&output.stdout)
    }

    /// That of its library.
    pub fn version(&self) -> Option<String> {
        let output = self.command("version", 0, 0, &[]).output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(version).filter(|_| output.status.success())
    }

    /// The command that [`run`](Self::run) runs.
    pub fn command(
        &self,
        work: &str,
        warm_up: u64,
        operations: u64,
        parameters: &[u64],
    ) -> Command {
        let mut command = match self.kind {
            Kind::C { path } => count::under_the_tool(path),
            Kind::Python { script, module } => {
                let mut python = count::under_the_tool(interpreter());
                python.args([script, module]);
                python
            }
        };
        command.arg(work).args([warm_up, operations].map(|n| n.to_string()));
        command.args(parameters.iter().map(u64::to_string));
        command
    }
}

/// Python itself: `python3` may be a script that runs it in its own place, and the tool that counts lets
/// go of what does that.
fn interpreter() -> String {
    let ask = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let said = ask.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    said.ok().filter(|path| !path.is_empty()).unwrap_or_else(|| "python3".to_owned())
}

/// Reads what a sample has printed.
///
/// # Panics
///
/// It is not numbers.
pub fn values(output: &[u8]) -> Vec<f64> {
    let text = String::from_utf8_lossy(output);
    text.split_whitespace().map(|value| value.parse().expect("a number")).collect()
}

/// These programs at a workload that they know.
pub fn contenders(programs: &[Program], work: &'static str, parameters: &[u64]) -> Vec<Contender> {
    let contender = |program: &Program| {
        let parameters = parameters.to_vec();
        Contender::program(*program, move |program, warm_up, operations| {
            let [warm_up, operations] = [warm_up, operations].map(|n| program.share(n));
            program.run(work, warm_up, operations, &parameters)
        })
    };
    programs.iter().map(contender).collect()
}
