//! A terminal view of the loops of a running process.

mod ask;
mod model;
mod picture;
mod screen;
mod socket;
mod view;
mod widths;

use std::error::Error;
use std::process::ExitCode;

use crate::ask::{Options, Wish};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match ask::wish().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ioloop-inspect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(wish: Wish) -> Result {
    match wish {
        Wish::Tell(text) => println!("{text}"),
        Wish::List => print!("{}", socket::list()?),
        Wish::Show(Options { target, once: true, width }) => {
            let pictures = socket::connect(&target)?;
            print!("{}", screen::once(&pictures, width, screen::PATIENCE)?);
        }
        Wish::Show(Options { target, .. }) => screen::show(&socket::connect(&target)?)?,
    }
    Ok(())
}
