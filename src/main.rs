//! The `mobilebert` command.

fn main() {}
