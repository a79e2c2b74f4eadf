//! The methods of the Open Inference Protocol: a message in, a message out.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message;

use super::super::run::run;
use super::super::{Seen, repository};
use super::{Asked, framed, no_headers};
use crate::budget::Part;
use crate::call::{Call, Step};
use crate::dialect::oip::{self, grpc};
use crate::error::{Kind, Refusal, Result};
use crate::messages::{
    ModelInferRequest, ModelMetadataRequest, ModelReadyRequest, ModelReadyResponse, RepositoryIndexRequest,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerReadyRequest, ServerReadyResponse,
};
use crate::models::{Models, Served};
use crate::route::Change;
use crate::state::Server;

/// Reads a message.
///
/// # Errors
/// [`Kind::Malformed`].
pub(super) fn decoded<M: Message + Default>(message: Bytes) -> Result<M> {
    M::decode(message).map_err(|error| Refusal::malformed(format!("the message cannot be read: {error}")))
}

/// Makes a request as dialects see it, for a model in any version or in this one.
fn call(server: &Server, models: Arc<Models>, name: &str, version: &str) -> Call {
    let mut params = vec![("model", name.to_owned())];
    if !version.is_empty() {
        params.push(("version", version.to_owned()));
    }
    Call { headers: no_headers(), body: Bytes::new(), params, models, config: Arc::clone(&server.config) }
}

pub(super) fn server_live(message: Bytes) -> Result<Bytes> {
    let ServerLiveRequest {} = decoded(message)?;
    framed(&ServerLiveResponse { live: true })
}

pub(super) fn server_ready(server: &Server, message: Bytes) -> Result<Bytes> {
    let ServerReadyRequest {} = decoded(message)?;
    framed(&ServerReadyResponse { ready: server.is_ready() })
}

pub(super) fn server_metadata(server: &Server, message: Bytes) -> Result<Bytes> {
    let ServerMetadataRequest {} = decoded(message)?;
    framed(&grpc::server(&server.config))
}

pub(super) fn model_ready(server: &Server, message: Bytes, seen: &mut Seen) -> Result<Bytes> {
    let ModelReadyRequest { name, version } = decoded(message)?;
    let call = call(server, server.models(), &name, &version);
    seen.model = call.models.get(&name).cloned();
    // One that is not there is not ready, which is no error in this protocol.
    match grpc::ready(&call) {
        Err(refusal) if refusal.kind != Kind::NoModel => Err(refusal),
        found => framed(&ModelReadyResponse { ready: found.is_ok() }),
    }
}

pub(super) fn model_metadata(server: &Server, message: Bytes, seen: &mut Seen) -> Result<Bytes> {
    let ModelMetadataRequest { name, version } = decoded(message)?;
    let call = call(server, server.models(), &name, &version);
    seen.model = call.models.get(&name).cloned();
    framed(&grpc::model(&call)?)
}

/// Computes. A long message is read, and a long answer written, on one of the threads for long bodies: what
/// they become takes more memory than their bytes.
pub(super) async fn model_infer(
    server: &Arc<Server>,
    message: Bytes,
    asked: Asked,
    counted: &Arc<Part>,
    seen: &mut Seen,
) -> Result<Bytes> {
    let found = Arc::new(OnceLock::<Arc<Served>>::new());
    let read = {
        let (server, found) = (Arc::clone(server), Arc::clone(&found));
        move || -> Result<Step<(Bytes, usize)>> {
            grpc::check_size(&message, server.config.max_inputs)?;
            let request: ModelInferRequest = decoded(message)?;
            let call = call(&server, server.models(), &request.model_name, &request.model_version);
            if let Some(model) = call.models.get(&request.model_name) {
                found.get_or_init(|| Arc::clone(model));
            }
            let run = grpc::infer(&call, request)?;
            Ok(Step::Run(run.map(|(response, truncated)| Ok((framed(&response)?, truncated)))))
        }
    };
    let result = run(server, asked, counted, read, seen).await;
    if seen.model.is_none() {
        seen.model = found.get().cloned();
    }
    let (message, truncated) = result?;
    seen.took.truncated = truncated;
    Ok(message)
}

pub(super) fn repository_index(server: &Server, message: Bytes) -> Result<Bytes> {
    let request: RepositoryIndexRequest = decoded(message)?;
    framed(&grpc::index(request.ready, server.index()))
}

pub(super) async fn repository_model_load(
    server: &Arc<Server>,
    message: Bytes,
    asked: Asked,
) -> Result<Bytes> {
    let RepositoryModelLoadRequest { repository_name, model_name, parameters } = decoded(message)?;
    oip::repository::check_parameters(parameters.keys())?;
    let model_name = change(server, asked, Change::Load, (repository_name, model_name)).await?;
    framed(&RepositoryModelLoadResponse { model_name, is_loaded: true })
}

pub(super) async fn repository_model_unload(
    server: &Arc<Server>,
    message: Bytes,
    asked: Asked,
) -> Result<Bytes> {
    // Triton's clients say whether models that this one is made of go too; none is.
    let RepositoryModelUnloadRequest { repository_name, model_name, .. } = decoded(message)?;
    let model_name = change(server, asked, Change::Unload, (repository_name, model_name)).await?;
    framed(&RepositoryModelUnloadResponse { model_name, is_unloaded: true })
}

/// Loads or unloads a model. KServe's clients name it in the field that is the repository's for others.
async fn change(
    server: &Arc<Server>,
    asked: Asked,
    change: Change,
    (repository, name): (String, String),
) -> Result<String> {
    let name = if name.is_empty() { repository } else { name };
    repository::apply(server, change, &name, asked.began + asked.deadline).await?;
    Ok(name)
}
