//! Without the feature `inspect`, in place of what a loop shows.

#[derive(Default)]
pub(crate) struct Shown {}

impl Shown {
    pub(crate) fn set_closing(&self, _: bool) {}
}
