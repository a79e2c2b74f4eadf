//! One class for each task.

pub(crate) mod answer;
pub(crate) mod classify;
pub(crate) mod embed;
pub(crate) mod fill;
pub(crate) mod tag;
