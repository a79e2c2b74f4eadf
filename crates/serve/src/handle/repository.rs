//! Administrators load and unload models.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::HeaderMap;

use super::head::key_of;
use super::run::late;
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

/// Answers a request over HTTP.
pub(super) async fn change(
    server: &Arc<Server>,
    change: Change,
    (name, body): (Option<String>, Bytes),
    deadline: Instant,
) -> Result<Reply> {
    let name = name.unwrap_or_default();
    if change == Change::Index {
        return repository::index(&body, &server.index());
    }
    repository::check_change(&body)?;
    apply(server, change, &name, deadline).await?;
    Ok(repository::changed())
}

/// Loads or unloads a model. Loading takes long, and unloading waits for it, so both run on another thread,
/// one at a time: those that wait for their turn take no thread.
pub(super) async fn apply(server: &Arc<Server>, change: Change, name: &str, deadline: Instant) -> Result<()> {
    let turn = tokio::time::timeout_at(deadline.into(), Arc::clone(&server.changes).acquire_owned());
    let turn = turn.await.map_err(|_| late())?;
    let work = {
        let (server, name) = (Arc::clone(server), name.to_owned());
        tokio::task::spawn_blocking(move || {
            // The turn ends with the work, also if nobody waits for it any more.
            let _turn = turn;
            match change {
                Change::Load => server.load_model(&name),
                _ => server.unload_model(&name).then_some(Ok(())),
            }
        })
    };
    match work.await {
        Ok(Some(Ok(()))) => Ok(()),
        Ok(Some(Err(problem))) => Err(Refusal::new(Kind::Invalid, "not_loaded", problem)),
        Ok(None) => Err(repository::unknown(name, &server.index())),
        Err(_) => Err(Refusal::internal("loading the model panicked; please report it")),
    }
}
