//! Arrays in, arrays out: every string type, NULLs, dictionaries, layouts, and the bits of direct calls.

mod counting;
mod plans;
mod results;
mod support;
