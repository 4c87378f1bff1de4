//! The guide: text only.

pub mod coming_from;
