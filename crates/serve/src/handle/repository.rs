//! Administrators load and unload models.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderMap;

use super::head::key_of;
use crate::call::Reply;
use crate::dialect::oip::repository;
use crate::error::{Kind, Refusal, Result};
use crate::route::Change;
use crate::state::Server;

/// Checks that whoever asks has a key of an administrator.
///
/// # Errors
/// [`Kind::NotFound`] if the server has no administrators, [`Kind::Unauthorized`].
pub(super) fn check_admin(server: &Server, headers: &HeaderMap) -> Result<()> {
    match server.admins() {
        Some(admins) => key_of(&admins, headers).map(drop),
        None => {
            let message =
                "models are loaded and unloaded only if the server was started with --admin-key-file";
            Err(Refusal::new(Kind::NotFound, "not_found", message).closing())
        }
    }
}

/// Does what was asked for, on a thread of its own where that takes long.
pub(super) async fn change(
    server: &Arc<Server>,
    change: Change,
    name: Option<String>,
    body: Bytes,
) -> Result<Reply> {
    let name = name.unwrap_or_default();
    match change {
        Change::Index => repository::index(&body, &server.index()),
        Change::Load => {
            repository::check_change(&body)?;
            let loading = {
                let (server, name) = (Arc::clone(server), name.clone());
                tokio::task::spawn_blocking(move || server.load_model(&name))
            };
            match loading.await {
                Ok(Some(Ok(()))) => Ok(repository::changed()),
                Ok(Some(Err(problem))) => Err(Refusal::new(Kind::Invalid, "not_loaded", problem)),
                Ok(None) => Err(repository::unknown(&name, &server.index())),
                Err(_) => Err(Refusal::internal("loading the model panicked; please report it")),
            }
        }
        Change::Unload => {
            repository::check_change(&body)?;
            match server.unload_model(&name) {
                true => Ok(repository::changed()),
                false => Err(repository::unknown(&name, &server.index())),
            }
        }
    }
}
