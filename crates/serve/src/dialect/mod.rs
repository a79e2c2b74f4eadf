//! BODIES -> JOBS, RESULTS -> BODIES: the shapes that each kind of client sends and expects.

pub(crate) mod hf;
pub(crate) mod native;
pub(crate) mod oip;
pub(crate) mod openai;
pub(crate) mod shape;
pub(crate) mod tei;

use crate::call::Reply;
use crate::config::Dialect;
use crate::error::Refusal;

/// Writes a refusal in the form of a dialect.
pub(crate) fn refuse(dialect: Dialect, refusal: &Refusal) -> Reply {
    match dialect {
        Dialect::Native => native::refuse(refusal),
        Dialect::OpenAi => openai::refuse(refusal),
        Dialect::Tei => tei::refuse(refusal),
        Dialect::Hf => hf::refuse(refusal),
        Dialect::Oip => oip::refuse(refusal),
    }
}
