//! Queries over files: the bits of direct calls, each text computed once, cheap filters first, and the shell.

mod counts;
mod files;
mod functions;
mod shell;
mod support;
