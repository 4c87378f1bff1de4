//! Without the feature `inspect`, in place of what a loop shows.

#[derive(Default)]
pub(crate) struct Shown {}
