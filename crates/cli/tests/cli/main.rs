//! The `mobilebert` command, run as users run it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper is a failing test")]

mod answer;
mod batch_files;
mod classify;
mod external;
mod finetune;
mod hostile;
mod inputs;
mod interrupt;
mod limits;
mod long_texts;
mod manual;
mod models;
mod pipes;
mod support;
mod tokens;
mod usage;
mod vectors;
