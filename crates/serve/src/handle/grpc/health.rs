//! The service by which Kubernetes and others ask for health.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::server::NamedService as _;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::Inference;
use crate::messages::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::state::{Phase, Server};

/// How often a watcher's answer is made anew, besides at each change of the server's phase.
const AGAIN: Duration = Duration::from_secs(1);

/// The service.
pub(super) struct Health(pub(super) Arc<Server>);

/// Returns the health of the whole server, of its service, or of a model by its name.
fn health(server: &Server, service: &str) -> ServingStatus {
    let is_whole = service.is_empty() || service == GrpcInferenceServiceServer::<Inference>::NAME;
    let is_model = server.config.models.iter().any(|model| model.name == service);
    if !is_whole && !is_model {
        return ServingStatus::ServiceUnknown;
    }
    match server.is_ready() && (!is_model || server.models().get(service).is_some()) {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match health(&self.0, &request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service")),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (server, service) = (Arc::clone(&self.0), request.into_inner().service);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let (mut phases, mut last) = (server.phases(), None);
            loop {
                // The phase is marked as seen before it is read, so no change is missed.
                let drains = *phases.borrow_and_update() == Phase::Draining;
                let now = health(&server, &service);
                if last != Some(now) {
                    last = Some(now);
                    if sender.send(Ok(HealthCheckResponse { status: now.into() })).await.is_err() {
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
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
