//! The messages of gRPC, generated from `proto/inference.proto`.

#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the code is generated, and the client in it is for tests only"
)]
#[rustfmt::skip]
mod inference;

pub(crate) use inference::*;
