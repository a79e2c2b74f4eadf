//! HTTP/2 without tonic: messages of any bytes, clients that take their time, and connections whose frames are
//! written by hand.

use std::net::TcpStream;
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

/// Kinds of frames.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags of frames.
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// What a client says first on a connection, with its settings: numbers and their values.
pub(super) fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let of = |(number, value): &(u16, u32)| [&number.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings: Vec<u8> = settings.iter().flat_map(of).collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &settings)].concat()
}

/// The setting by which the server may send so many bytes of an answer before the client has read some.
pub(super) fn window(bytes: u32) -> (u16, u32) {
    (4, bytes)
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call in the form of its frame, without any table.
pub(super) fn call(path: &str) -> Vec<u8> {
    [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", path),
        literal(":authority", "localhost"),
        literal("content-type", "application/grpc"),
    ]
    .concat()
}

/// One field of a head. Its parts are shorter than 127 bytes.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// Opens a connection on which nothing is said yet.
pub(super) fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.running.grpc_address().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}
