//! Every example of README and of the documentation of `ioloop`, as a function.
#![allow(unsafe_code, missing_docs, reason = "as in the examples")]

include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// What an example's `main` may return.
trait Outcome {
    fn expect(self);
}

impl Outcome for () {
    fn expect(self) {}
}

impl<E: std::fmt::Debug> Outcome for Result<(), E> {
    fn expect(self) {
        self.unwrap();
    }
}
