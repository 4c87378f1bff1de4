//! Without the feature `inspect`: nobody asks.

use crate::engine::Engine;
use crate::engine::shown::Shown;

impl Engine {
    pub(super) fn show(&self) {
        let Shown {} = self.shown;
    }
}
