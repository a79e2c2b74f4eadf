//! The service by which Kubernetes and others ask for health.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::service::decoded;
use super::{SERVICE, framed};
use crate::connect::Content;
use crate::error::{Kind, Refusal, Result};
use crate::state::{Phase, Server};

/// How often a watcher's answer is made anew, besides at each change of the server's phase.
const AGAIN: Duration = Duration::from_secs(1);

/// Returns the health of the whole server, of its service, or of a model by its name.
fn health(server: &Server, service: &str) -> ServingStatus {
    let is_whole = service.is_empty() || service == SERVICE;
    let is_model = server.config.models.iter().any(|model| model.name == service);
    if !is_whole && !is_model {
        return ServingStatus::ServiceUnknown;
    }
    match server.is_ready() && (!is_model || server.models().get(service).is_some()) {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

fn told(status: ServingStatus) -> Result<Bytes> {
    framed(&HealthCheckResponse { status: status.into() })
}

pub(super) fn check(server: &Server, message: Bytes) -> Result<Bytes> {
    let HealthCheckRequest { service } = decoded(message)?;
    match health(server, &service) {
        ServingStatus::ServiceUnknown => {
            Err(Refusal::new(Kind::NotFound, "unknown_service", "there is no such service"))
        }
        status => told(status),
    }
}

/// Tells the health at once and whenever it changes, until the watcher goes or the server stops.
///
/// # Errors
/// [`Kind::Overloaded`] if there are too many watchers: anyone may be one, for as long as he likes.
pub(super) fn watch(server: &Arc<Server>, message: Bytes) -> Result<Content> {
    let HealthCheckRequest { service } = decoded(message)?;
    let Ok(place) = Arc::clone(&server.watchers).try_acquire_owned() else {
        let message = "too many watch the health already; ask for it by Check";
        let refusal = Refusal::new(Kind::Overloaded, "overloaded", message);
        return Err(Refusal { retry_after: Some(AGAIN), ..refusal });
    };
    let (sender, receiver) = mpsc::channel(1);
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let (mut phases, mut last) = (server.phases(), None);
        loop {
            // The phase is marked as seen before it is read, so no change is missed.
            let drains = *phases.borrow_and_update() == Phase::Draining;
            let now = health(&server, &service);
            if last != Some(now) {
                last = Some(now);
                let Ok(message) = told(now) else { return };
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            if drains {
                return;
            }
            tokio::select! {
                _ = phases.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
                // The watcher has gone.
                () = sender.closed() => return,
            }
        }
    });
    Ok(Content::watch(receiver).keeping(place))
}
