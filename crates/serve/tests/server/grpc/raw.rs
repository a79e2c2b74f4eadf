//! HTTP/2 without tonic: messages of any bytes, and clients that take their time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::Server;

pub(super) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Connects. Windows are how much the server may send before the client has read something.
pub(super) async fn connect(server: &Server, stream: u32, connection: u32) -> SendRequest<Full<Bytes>> {
    let address = server.running.grpc_address().unwrap();
    let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(stream).initial_connection_window_size(connection);
    let (sender, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Makes a request of a message.
pub(super) fn post(path: &str, message: &[u8]) -> Request<Full<Bytes>> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = Bytes::from([&[0], &length[..], message].concat());
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body))
        .unwrap()
}

/// Returns the status and the name of the refusal in the head of an answer.
pub(super) fn head(response: &Response<Incoming>) -> (String, String) {
    let text = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (text("grpc-status"), text("x-error-code"))
}

/// Reads an answer to its end, or to where it breaks off, and rests before each piece. The result is the
/// number of bytes and the status in the trailers.
pub(super) async fn read(
    response: Response<Incoming>,
    pause: impl Fn() -> Duration,
) -> (usize, Result<String, hyper::Error>) {
    let (mut body, mut bytes, mut status) = (response.into_body(), 0, String::new());
    loop {
        tokio::time::sleep(pause()).await;
        match body.frame().await {
            None => return (bytes, Ok(status)),
            Some(Err(error)) => return (bytes, Err(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => bytes += data.len(),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    status = trailers["grpc-status"].to_str().unwrap().to_owned();
                }
            },
        }
    }
}
