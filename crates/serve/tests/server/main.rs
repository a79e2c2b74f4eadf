//! The server as its clients meet it, over sockets on loopback.

mod access;
mod docs;
mod endurance;
#[cfg(feature = "testing")]
mod grpc;
mod hf;
mod invariance;
mod life;
mod limits;
mod native;
mod oip;
mod openai;
mod openapi;
mod support;
mod tei;
#[cfg(feature = "testing")]
mod tls;
mod traces;
