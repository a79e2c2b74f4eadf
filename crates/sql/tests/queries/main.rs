//! Queries over files: the bits of direct calls, each text computed once, cheap filters first, and the shell.

#[cfg(feature = "object-stores")]
mod bucket;
mod counts;
mod files;
mod functions;
mod shell;
mod stores;
mod support;
#[path = "../common/texts.rs"]
mod texts;
