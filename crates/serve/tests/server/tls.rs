//! TLS: HTTP and gRPC over it, the certificate that is read again, and clients that do not know what they
//! want.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::grpc::inference::ServerLiveRequest;
use crate::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::support::{Server, root, tiny, wait_until};

const GOOD: (&str, &str) = ("/api/v1/tiny-classify/classify", r#"{"inputs":"a good film"}"#);

fn certificate(name: &str) -> String {
    root(&format!("crates/serve/tests/certificates/{name}"))
}

/// Copies a certificate and its key to where the server reads them.
fn install(folder: &Path, name: &str) -> [String; 2] {
    ["pem", "key"].map(|kind| {
        let path = folder.join(format!("server.{kind}"));
        std::fs::copy(certificate(&format!("{name}.{kind}")), &path).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

fn start(flags: &[&str]) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = install(folder.path(), "one");
    let server = Server::start(&tiny(), &[&["--tls-cert", &cert, "--tls-key", &key], flags].concat());
    (server, folder)
}

/// A client that trusts the authority of the tests.
fn config(protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate("authority.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: &str, protocols: &[&str]) -> std::io::Result<Secured> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(config(protocols), name).unwrap();
    connection.complete_io(&mut stream)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Asks and returns the status and the body.
fn ask(stream: &mut Secured, (path, body): (&str, &str)) -> (u16, String) {
    let length = body.len();
    let method = if body.is_empty() { "GET" } else { "POST" };
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

/// Returns the certificate that the server shows.
fn shown(stream: &Secured) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

fn of_file(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(certificate(name)).unwrap()
}

#[test]
fn answers_over_tls_are_those_without() {
    let plain = Server::start(&tiny(), &[]);
    let (server, _folder) = start(&["--health-listen", "127.0.0.1:0"]);
    let address = server.running.address();
    let mut stream = connect(address, &["h2", "http/1.1"]).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(shown(&stream), of_file("one.pem"));
    let expected = plain.post(GOOD.0, GOOD.1).ok();
    for _ in 0..3 {
        let (status, body) = ask(&mut stream, GOOD);
        assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, expected.clone()));
    }
    // A long body and a long answer.
    let long = serde_json::json!({"inputs": "a b c d ".repeat(20_000)}).to_string();
    let (status, body) = ask(&mut stream, ("/api/v1/tiny-classify/tokenize", &long));
    let expected = plain.post("/api/v1/tiny-classify/tokenize", &long);
    assert!(status == 200 && body == expected.text() && body.len() > 1_000_000, "{}", body.len());
    // Clients that name no protocol are answered, and those that want another one are not.
    assert_eq!(ask(&mut connect(address, &[]).unwrap(), ("/live", "")).0, 200);
    assert!(connect(address, &["h2"]).is_err());
    // Health is plain on its own address.
    let mut health = crate::support::Client::new(server.running.health_address().unwrap());
    assert_eq!(health.send("GET", "/ready", &[], b"").unwrap().status, 200);
}

#[test]
fn whoever_speaks_no_tls_is_not_answered() {
    let (server, _folder) = start(&["--header-timeout-ms", "400"]);
    let address = server.running.address().to_owned();
    let open = || {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut plain = open();
    plain.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // One that says nothing, and one that begins and goes on with nothing.
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00"] {
        let mut silent = open();
        silent.write_all(begin).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(silent.read(&mut [0; 64]).unwrap_or(0), 0);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let mut good = connect(&address, &["http/1.1"]).unwrap();
    let metrics = ask(&mut good, ("/metrics", "")).1;
    assert!(metrics.contains("\nmb_tls_failures_total 3\n"), "{metrics}");
    drop(good);
    wait_until("the others are closed", || {
        ask(&mut connect(&address, &[]).unwrap(), ("/metrics", "")).1.contains("\nmb_connections 1\n")
    });
}

/// A client that takes nothing of its answer is closed, although TLS took the answer.
#[test]
fn whoever_does_not_read_is_closed() {
    let (server, _folder) = start(&["--body-timeout-ms", "1000"]);
    let address = server.running.address().to_owned();
    let mut deaf = connect(&address, &[]).unwrap();
    let long = serde_json::json!({"inputs": "a b c d ".repeat(120_000)}).to_string();
    let length = long.len();
    let path = "/api/v1/tiny-classify/tokenize";
    write!(deaf, "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{long}")
        .unwrap();
    deaf.flush().unwrap();
    let metrics = || ask(&mut connect(&address, &[]).unwrap(), ("/metrics", "")).1;
    wait_until("its answer is being written", || !metrics().contains("\nmb_body_bytes 0\n"));
    wait_until("it is closed", || {
        let metrics = metrics();
        metrics.contains("\nmb_body_bytes 0\n") && metrics.contains("\nmb_connections 1\n")
    });
}

#[test]
fn the_certificate_is_read_again_and_one_that_cannot_be_used_changes_nothing() {
    let (server, folder) = start(&[]);
    let address = server.running.address();
    let mut before = connect(address, &[]).unwrap();
    install(folder.path(), "two");
    assert!(server.running.reload());
    assert_eq!(shown(&connect(address, &[]).unwrap()), of_file("two.pem"));
    // Connections that are open keep what they began with.
    assert_eq!((ask(&mut before, GOOD).0, shown(&before)), (200, of_file("one.pem")));
    // A key of another certificate.
    std::fs::copy(certificate("one.key"), folder.path().join("server.key")).unwrap();
    assert!(!server.running.reload());
    assert!(server.log.text().contains("server.key"), "{}", server.log.text());
    assert_eq!(shown(&connect(address, &[]).unwrap()), of_file("two.pem"));
    assert_eq!(ask(&mut before, GOOD).0, 200);
}

#[test]
fn files_that_hold_no_certificate_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (certificate("one.pem"), certificate("one.key"));
    let (empty, broken) = (file("empty", ""), file("broken", "-----BEGIN CERTIFICATE-----\n!\n"));
    let start = |cert: &str, key: &str| {
        let arguments = ["mobilebert-serve", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
        let config = mobilebert_serve::Config::from_args(arguments.map(Into::into)).unwrap();
        mobilebert_serve::Running::start(config, Box::new(std::io::sink())).map(drop)
    };
    assert_eq!(start(&cert, &key), Ok(()));
    for (cert, key, expected) in [
        (&empty, &key, "empty: it holds no certificate"),
        (&broken, &key, "broken: expected certificates"),
        (&cert, &empty, "empty: expected a private key"),
        (&cert, &cert, "one.pem: expected a private key"),
        (&cert, &certificate("two.key"), "two.key"),
        (&file("gone", "").replace("gone", "nothing"), &key, "nothing: "),
    ] {
        let problem = start(cert, key).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
    for (flag, other) in [("--tls-cert", "--tls-key"), ("--tls-key", "--tls-cert")] {
        let arguments = ["mobilebert-serve", flag, &cert].map(std::ffi::OsString::from);
        let problem = mobilebert_serve::Config::from_args(arguments).unwrap_err().to_string();
        assert!(problem.contains(flag) && problem.contains(other), "{problem}");
    }
}

#[test]
fn grpc_is_spoken_over_tls_too() {
    let (server, _folder) = start(&["--grpc-listen", "127.0.0.1:0"]);
    let address = server.running.grpc_address().unwrap().to_owned();
    assert!(connect(&address, &["http/1.1"]).is_err());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_static("https://localhost");
        let channel = endpoint.connect_with_connector(Connector(address)).await.unwrap();
        let mut client = GrpcInferenceServiceClient::new(channel);
        assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    });
}

/// Connects over TLS, as far as tonic's client is concerned.
struct Connector(String);

impl tonic::codegen::Service<hyper::Uri> for Connector {
    type Response = hyper_util::rt::TokioIo<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        let address = self.0.clone();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let stream = tokio_rustls::TlsConnector::from(config(&["h2"])).connect(name, stream).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            Ok(hyper_util::rt::TokioIo::new(stream))
        })
    }
}
