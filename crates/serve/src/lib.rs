//! A server for the models of [`mobilebert`]: one program that speaks the HTTP dialects of several clients,
//! puts the texts of all of them into common passes, and never changes a result by that.
//!
//! The rooms follow a request:
//!
//! 1. `connect` accepts connections and reads bodies within limits; `handle` leads a request from there to
//!    its answer, by the table in `route`.
//! 2. `dialect` turns a body into jobs of the library's pipelines, and their results into the shapes that
//!    each kind of client expects. It knows no sockets and runs no model.
//! 3. `schedule` puts the sequences of all jobs into passes. It knows no HTTP.
//! 4. `life` binds, loads, reloads and drains; `state` is what all of that shares.

// The lints are here and not in Cargo.toml because tests may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod access;
mod budget;
mod call;
pub mod config;
mod connect;
mod dialect;
mod error;
mod handle;
mod life;
mod log;
#[cfg(feature = "grpc")]
mod messages;
mod metrics;
mod models;
mod route;
mod schedule;
mod state;
#[cfg(feature = "tls")]
mod tls;
mod trace;
mod work;

pub use config::Config;
pub use life::{Loader, Running, Signal, Signals};
pub use log::{LogThread, Sink};
