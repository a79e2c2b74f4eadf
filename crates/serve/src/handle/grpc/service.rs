//! The methods of the Open Inference Protocol.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::super::run::run;
use super::super::{Seen, repository};
use super::{Context, no_headers};
use crate::call::Call;
use crate::dialect::oip::{self, grpc};
use crate::error::{Kind, Result};
use crate::messages::grpc_inference_service_server::GrpcInferenceService;
use crate::messages::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use crate::route::Change;
use crate::state::Server;

/// The service.
pub(super) struct Inference(pub(super) Arc<Server>);

/// Takes a request apart.
fn open<M>(request: Request<M>) -> Result<(Arc<Context>, M), Status> {
    let (_, mut extensions, message) = request.into_parts();
    match extensions.remove::<Arc<Context>>() {
        Some(context) => Ok((context, message)),
        None => Err(Status::internal("the request has no context; please report it")),
    }
}

impl Inference {
    /// Makes a request as dialects see it, for a model in any version or in this one.
    fn call(&self, seen: &mut Seen, name: &str, version: &str) -> Call {
        let mut params = vec![("model", name.to_owned())];
        if !version.is_empty() {
            params.push(("version", version.to_owned()));
        }
        let (models, config) = (self.0.models(), Arc::clone(&self.0.config));
        seen.model = models.get(name).cloned();
        Call { headers: no_headers(), body: Bytes::new(), params, models, config }
    }

    /// Loads or unloads a model. KServe's clients name it in the field that is the repository's for others.
    async fn change<'p>(
        &self,
        context: &Context,
        change: Change,
        (repository, name): (String, String),
        parameters: impl Iterator<Item = &'p String>,
    ) -> Result<String> {
        let name = if name.is_empty() { repository } else { name };
        oip::repository::check_parameters(parameters)?;
        let deadline = context.asked.began + context.asked.deadline;
        repository::apply(&self.0, change, &name, deadline).await?;
        Ok(name)
    }
}

type Parameters = std::collections::HashMap<String, ModelRepositoryParameter>;

fn keys(parameters: &Parameters) -> impl Iterator<Item = &String> {
    parameters.keys()
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        request: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        let (context, _) = open(request)?;
        context.answer(Seen::default(), Ok(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        request: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let (context, _) = open(request)?;
        context.answer(Seen::default(), Ok(ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let (context, message) = open(request)?;
        let mut seen = Seen::default();
        let call = self.call(&mut seen, &message.name, &message.version);
        // One that is not there is not ready, which is no error in this protocol.
        let ready = match grpc::ready(&call) {
            Err(refusal) if refusal.kind != Kind::NoModel => Err(refusal),
            found => Ok(ModelReadyResponse { ready: found.is_ok() }),
        };
        context.answer(seen, ready)
    }

    async fn server_metadata(
        &self,
        request: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        let (context, _) = open(request)?;
        context.answer(Seen::default(), Ok(grpc::server(&self.0.config)))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let (context, message) = open(request)?;
        let mut seen = Seen::default();
        let call = self.call(&mut seen, &message.name, &message.version);
        context.answer(seen, grpc::model(&call))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let (context, message) = open(request)?;
        let mut seen = Seen { bytes: prost::Message::encoded_len(&message), ..Seen::default() };
        let call = self.call(&mut seen, &message.model_name, &message.model_version);
        let read = move || grpc::infer(&call, message);
        let result = run(&self.0, context.asked, &context.counted, read, &mut seen).await;
        let result = result.map(|(response, truncated)| {
            seen.took.truncated = truncated;
            response
        });
        context.answer(seen, result)
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let (context, message) = open(request)?;
        context.answer(Seen::default(), Ok(grpc::index(message.ready, self.0.index())))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let (context, message) = open(request)?;
        let names = (message.repository_name, message.model_name);
        let changed = self.change(&context, Change::Load, names, keys(&message.parameters)).await;
        let answer = |model_name| RepositoryModelLoadResponse { model_name, is_loaded: true };
        context.answer(Seen::default(), changed.map(answer))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let (context, message) = open(request)?;
        // Triton's clients say whether models that this one is made of go too; none is.
        let names = (message.repository_name, message.model_name);
        let changed = self.change(&context, Change::Unload, names, std::iter::empty()).await;
        let answer = |model_name| RepositoryModelUnloadResponse { model_name, is_unloaded: true };
        context.answer(Seen::default(), changed.map(answer))
    }
}
