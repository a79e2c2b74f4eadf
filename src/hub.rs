//! Models by hub id: `org/name` or `org/name@revision`.

use std::path::PathBuf;

use crate::error::{ErrorKind, Result};

/// The folder of a hub model.
///
/// # Errors
/// [`ErrorKind::UnknownModel`].
pub(crate) fn resolve(source: &str) -> Result<PathBuf> {
    Err(ErrorKind::UnknownModel {
        source_name: source.to_owned(),
        reason: "no such folder".to_owned(),
        hint: "pass a folder".to_owned(),
    }
    .into())
}
